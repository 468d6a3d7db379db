/* ----------------------------------------------------------------------
   nequip-legato: what LAMMPS takes out of neighbor lists.
   SPDX-License-Identifier: GPL-2.0-only
------------------------------------------------------------------------- */

#include "pair_allegro_legato_lists.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "group.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "pair.h"

#include <cstring>

using namespace LAMMPS_NS;

namespace {

constexpr int kAll = 0;    // LAMMPS' index of group all

// The groups of atoms that fix gcmc, widom, charge/regulation and gemc try to delete are named
// Fix...:..._exclusion_group:ID. 'neigh_modify exclude none' ends the exclusion; the group stays.
bool is_of_monte_carlo(const char *group)
{
  return strncmp(group, "Fix", 3) == 0 && strstr(group, "exclusion_group:");
}

// The group of comm_modify group, which LAMMPS shows to classes derived from Comm alone.
class BorderGroup : private Comm {
 public:
  static int of(const Comm *comm) { return comm->*&BorderGroup::bordergroup; }
};

}    // namespace

bool LegatoListCheck::due() const
{
  return started_ || neighbor->ago == 0;
}

// Exclusion number `m`: a group against all.
bool LegatoListCheck::is_absent_group(const int m) const
{
  return (neighbor->ex1_group[m] == kAll) != (neighbor->ex2_group[m] == kAll);
}

int LegatoListCheck::absent_bits() const
{
  int bits = 0;
  for (int m = 0; m < neighbor->nex_group; ++m)
    if (is_absent_group(m))
      bits |= group->bitmask[MAX(neighbor->ex1_group[m], neighbor->ex2_group[m])];
  for (int g = 1; g < Group::MAX_GROUP; ++g)
    if (group->names[g] && is_of_monte_carlo(group->names[g])) bits |= group->bitmask[g];
  return bits;
}

// LAMMPS drops neighbors of a kind (1-2, 1-3, 1-4) whose factors are zero, unless a Coulomb style
// has to see them.
bool LegatoListCheck::drops_bonded() const
{
  if (atom->molecular == Atom::ATOMIC) return false;
  const int *flag = neighbor->special_flag;
  return flag[1] == 0 || flag[2] == 0 || flag[3] == 0;
}

bool LegatoListCheck::reads_atoms() const
{
  return neighbor->nex_group > 0 || neighbor->nex_mol > 0 || neighbor->includegroup ||
         BorderGroup::of(comm) || drops_bonded();
}

// On all ranks, the present atoms of the model that meet a condition.
template <class Condition>
bigint LegatoListCheck::count(const std::vector<int> &types, const Condition &condition) const
{
  const int absent = absent_bits();
  bigint mine = 0, all = 0;
  for (int i = 0; i < atom->nlocal; ++i)
    if (types[atom->type[i]] >= 0 && !(atom->mask[i] & absent) && condition(i)) ++mine;
  MPI_Allreduce(&mine, &all, 1, MPI_LMP_BIGINT, MPI_SUM, world);
  return all;
}

void LegatoListCheck::stop(const std::string &setting, const std::string &remedy) const
{
  error->all(FLERR,
             "Pair style allegro_legato needs every neighbor within its cutoff, but {} takes some "
             "from its neighbor list; {}",
             setting, remedy);
}

void LegatoListCheck::check(const Pair *pair, const NeighList *list, const std::vector<int> &types)
{
  check_hybrid(list, types);
  check_exclusions(types);
  check_ghosts(types);
  check_bonded(pair, types);
  if (started_) tell_of_absent(types);
  started_ = false;
}

void LegatoListCheck::check_hybrid(const NeighList *list, const std::vector<int> &types) const
{
  if (!list->ijskip) return;
  for (int i = 1; i <= atom->ntypes; ++i)
    for (int j = i; j <= atom->ntypes; ++j)
      if (types[i] >= 0 && types[j] >= 0 && list->ijskip[i][j])
        stop(fmt::format("a pair_coeff of another style, or none, for atom types {} {}", i, j),
             "use 'pair_style hybrid/overlay' to add a style to the model, or NULL in the model's "
             "pair_coeff for a type that is not the model's");
}

void LegatoListCheck::check_exclusions(const std::vector<int> &types) const
{
  const std::string remedy = "remove it ('neigh_modify exclude none' removes all); atoms are held "
                             "in place by leaving them "
                             "out of the integration or by fix setforce";
  for (int m = 0; m < neighbor->nex_type; ++m) {
    const int i = neighbor->ex1_type[m], j = neighbor->ex2_type[m];
    if (types[i] >= 0 && types[j] >= 0)
      stop(fmt::format("'neigh_modify exclude type {} {}'", i, j), remedy);
  }
  const int *mask = atom->mask;
  for (int m = 0; m < neighbor->nex_group; ++m) {
    if (is_absent_group(m)) continue;
    const int one = neighbor->ex1_group[m], two = neighbor->ex2_group[m];
    const auto in = [&](const int g) {
      return count(types, [&](const int i) { return mask[i] & group->bitmask[g]; });
    };
    if (in(one) > 0 && in(two) > 0)
      stop(fmt::format("'neigh_modify exclude group {} {}'", group->names[one], group->names[two]),
           remedy);
  }
  for (int m = 0; m < neighbor->nex_mol; ++m) {
    const int g = neighbor->ex_mol_group[m];
    if (count(types, [&](const int i) { return mask[i] & group->bitmask[g]; }) > 0)
      stop(fmt::format("'neigh_modify exclude molecule/{} {}'",
                       neighbor->ex_mol_intra[m] ? "intra" : "inter", group->names[g]),
           remedy);
  }
}

void LegatoListCheck::check_ghosts(const std::vector<int> &types) const
{
  const auto need = [&](const int g, const std::string &setting, const char *remedy) {
    if (!g) return;
    if (count(types, [&](const int i) { return !(atom->mask[i] & group->bitmask[g]); }) > 0)
      stop(fmt::format("'{} {}'", setting, group->names[g]), remedy);
  };
  const char *remedy = "remove it, or put all atoms of the model into that group";
  need(neighbor->includegroup, "neigh_modify include", remedy);
  need(BorderGroup::of(comm), "comm_modify group", remedy);
}

// Whether the lists lack a neighbor of the atom because it is bonded to it.
bool LegatoListCheck::is_bonded_within(const int i, const std::vector<int> &types) const
{
  if (atom->molecular == Atom::TEMPLATE) return atom->molindex[i] >= 0;    // has bonds as a rule
  const int *end = atom->nspecial[i];
  for (int kind = 1, k = 0; kind <= 3; ++kind)
    for (; k < end[kind - 1]; ++k) {
      if (neighbor->special_flag[kind] != 0) continue;
      const int j = atom->map(atom->special[i][k]);
      if (j >= 0 && types[atom->type[j]] >= 0) return true;
    }
  return false;
}

void LegatoListCheck::check_bonded(const Pair *pair, const std::vector<int> &types) const
{
  if (!drops_bonded()) return;
  if (count(types, [&](const int i) { return is_bonded_within(i, types); }) == 0) return;
  const bool alone = force->pair == pair;
  stop("special_bonds with factors of zero, for bonded atoms,",
       alone ? "use 'special_bonds lj/coul 1.0 1.0 1.0'"
             : "use 'special_bonds lj/coul 1e-50 1e-50 1e-50', which keeps them for the model and "
               "leaves no energy of the other styles between them, such as that of charges");
}

void LegatoListCheck::tell_of_absent(const std::vector<int> &types) const
{
  for (int m = 0; m < neighbor->nex_group; ++m) {
    if (!is_absent_group(m)) continue;
    const int g = MAX(neighbor->ex1_group[m], neighbor->ex2_group[m]);
    if (is_of_monte_carlo(group->names[g])) continue;
    bigint mine = 0, all = 0;
    for (int i = 0; i < atom->nlocal; ++i)
      if (types[atom->type[i]] >= 0 && atom->mask[i] & group->bitmask[g]) ++mine;
    MPI_Allreduce(&mine, &all, 1, MPI_LMP_BIGINT, MPI_SUM, world);
    if (all > 0 && comm->me == 0)
      error->warning(FLERR,
                     "Pair style allegro_legato: {} atoms are absent for the model, without "
                     "neighbors and without an energy of their own, because of 'neigh_modify "
                     "exclude group {} all'",
                     all, group->names[g]);
  }
}

void LegatoListCheck::check_centers(const int n_centers, const int n_atoms)
{
  bigint mine = n_atoms - n_centers, all = 0;
  MPI_Allreduce(&mine, &all, 1, MPI_LMP_BIGINT, MPI_SUM, world);
  if (all != 0)
    error->all(
        FLERR,
        "Pair style allegro_legato: {} atoms of the model are missing in its neighbor list; "
        "a fix that turns atoms of another pair style into atoms of the model (types that are "
        "NULL and types that are not) cannot be used with it",
        all);
}
