/* ----------------------------------------------------------------------
   nequip-legato: Allegro models in LAMMPS.
   SPDX-License-Identifier: GPL-2.0-only
------------------------------------------------------------------------- */

#include "pair_allegro_legato.h"

#include "pair_allegro_legato_lists.h"
#include "pair_allegro_legato_node.h"

#include "core/block_size.h"
#include "core/device.h"
#include "core/engine.h"
#include "core/error.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "memory.h"
#include "modify.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "universe.h"
#include "update.h"
#include "utils.h"

#include <algorithm>
#include <cmath>
#include <cstring>

using namespace LAMMPS_NS;

namespace {

constexpr int kDomainValues = 5;

// Whether the caller drops the forces: eflag & ENERGY_ONLY, which LAMMPS has since 2026.
template <class AnyPair> bool drops_forces(const AnyPair &pair)
{
  if constexpr (requires { pair.eflag_only; })
    return pair.eflag_only;
  else
    return false;
}

}    // namespace

// The core's engine, which copies what it needs from LAMMPS' arrays in the computer's memory.
struct PairAllegroLegato::EngineModel : OpenModel {
  legato::Engine engine;

  EngineModel(const std::string &path, const legato::EngineOptions &options) : engine(path, options)
  {
  }
  const legato::Evaluator &evaluator() const override { return engine.evaluator(); }
};

PairAllegroLegato::PairAllegroLegato(LAMMPS *lmp) :
    Pair(lmp), settings_{{}, comm->nthreads, legato::DeviceWish::automatic},
    lists_(std::make_unique<LegatoListCheck>(lmp))
{
  single_enable = 0;
  restartinfo = 0;
  one_coeff = 1;
  manybody_flag = 1;
  no_virial_fdotr_compute = 1;    // the virial comes from the edges, per atom too
  centroidstressflag = CENTROID_AVAIL;
  nextra = kDomainValues;
  pvector = new double[kDomainValues]();
}

PairAllegroLegato::~PairAllegroLegato()
{
  if (copymode) return;
  delete[] pvector;
  if (allocated) {
    memory->destroy(setflag);
    memory->destroy(cutsq);
  }
}

int PairAllegroLegato::default_threads() const
{
  return comm->nthreads;
}

std::unique_ptr<PairAllegroLegato::OpenModel>
PairAllegroLegato::open_model(const std::string &path, const Settings &settings,
                              const std::shared_ptr<legato::PackageFiles> &files) const
{
  const legato::EngineOptions options{settings.threads, settings.block, settings.device,
                                      node_process(), files};
  return std::make_unique<EngineModel>(path, options);
}

// The ranks of a node share its GPUs. Partitions of a run with several replicas have a communicator
// each, so counting starts where the partition does: alone on a node, they use different GPUs.
legato::NodeProcess PairAllegroLegato::node_process() const
{
  legato::NodeProcess process = process_on_node(world);
  process.number += universe->root_proc[universe->iworld];
  return process;
}

const char *PairAllegroLegato::newton_remedy() const
{
  return "'newton on'";
}

// One warning for all ranks, on the next step on which the energy is wanted.
void PairAllegroLegato::warn_of_smaller_blocks()
{
  const auto &size = evaluator().block_size();
  int mine = size.n_failures();
  int all = 0;
  MPI_Allreduce(&mine, &all, 1, MPI_INT, MPI_SUM, world);
  if (all == n_failures_) return;
  n_failures_ = all;
  int limit = size.limit();
  int smallest = limit;
  MPI_Allreduce(&limit, &smallest, 1, MPI_INT, MPI_MIN, world);
  if (comm->me == 0)
    error->warning(FLERR,
                   "Pair style allegro_legato: a block of atoms did not fit into the memory of the "
                   "{}; it was evaluated in parts, and the run goes on with blocks of up to {} "
                   "atoms ('block {}' avoids this warning)",
                   evaluator().device().is_cpu() ? "CPU" : "GPU", smallest, smallest);
}

void PairAllegroLegato::init_style()
{
  if (force->newton_pair == 0)
    error->all(FLERR, "Pair style allegro_legato requires newton pair on; use {}", newton_remedy());
  if (strcmp(update->unit_style, "metal") == 0)
    energy_unit_ = 1.0;
  else if (strcmp(update->unit_style, "real") == 0)
    energy_unit_ = utils::get_conversion_factor(utils::ENERGY, utils::METAL2REAL);
  else
    error->all(FLERR,
               "Pair style allegro_legato works in units metal and real, not in units {}; use "
               "'units metal'",
               update->unit_style);
  lists_->start();
  warn_of_exchanged_atoms();
  request_list();
}

// For single atoms LAMMPS computes exp(mu/kT), and mu has to hold the energy of the isolated atom.
// Where the factor is zero or infinite, LAMMPS rejects, or accepts, every move silently.
void PairAllegroLegato::warn_of_exchanged_atoms() const
{
  if (comm->me != 0) return;
  if (modify->get_fix_by_style("^gcmc").empty() && modify->get_fix_by_style("^widom").empty())
    return;
  constexpr double kBoltzmann = 8.617333262e-5;    // eV/K
  constexpr double kLargest = 700.0;               // exp of it is still a finite number
  constexpr double kCold = 100.0;                  // K
  const auto &metadata = evaluator().metadata();
  for (int i = 1; i <= atom->ntypes; ++i) {
    if (loaded_.types[i] < 0 || metadata.isolated_energy.empty()) continue;
    const double energy = metadata.isolated_energy[loaded_.types[i]];
    const double lowest = std::abs(energy) / (kBoltzmann * kLargest);
    if (lowest < kCold) continue;
    error->warning(
        FLERR,
        "Pair style allegro_legato: an isolated atom of type {} has an energy of {:.6g} eV, "
        "so below {:.0f} K the factor exp(mu/kT) of fix gcmc or widom for single atoms "
        "is zero or infinite, and LAMMPS accepts no move, or every one; exchange "
        "molecules of one atom with 'mol' and 'intra_energy {:.10g}' instead",
        i, energy, lowest, energy_unit_ * energy);
  }
}

void PairAllegroLegato::request_list()
{
  neighbor->add_request(this, NeighConst::REQ_FULL);
}

double PairAllegroLegato::init_one(int i, int j)
{
  if (setflag[i][j] == 0) error->all(FLERR, "All pair coeffs are not set");
  const auto &metadata = evaluator().metadata();
  const int a = loaded_.types[i], b = loaded_.types[j], n = metadata.num_types();
  return MAX(metadata.edge_cutoffs[a * n + b], metadata.edge_cutoffs[b * n + a]);
}

// Whether neither forces nor virials are wanted, which spares the model's differentiation.
bool PairAllegroLegato::energy_only() const
{
  return drops_forces(static_cast<const Pair &>(*this)) && !vflag_either;
}

// Views of LAMMPS' arrays. `types` is filled where the model must not see all atoms.
legato::System PairAllegroLegato::system(std::vector<int> &types) const
{
  legato::System system;
  system.n_atoms = static_cast<std::int64_t>(atom->nlocal) + atom->nghost;
  if (system.n_atoms > 0) system.positions = &atom->x[0][0];
  system.n_centers = list->inum;
  system.types = atom->type;
  system.type_map = loaded_.types.data();
  system.centers = list->ilist;
  system.n_neighbors = list->numneigh;
  system.neighbors = list->firstneigh;
  system.neighbor_mask = NEIGHMASK;
  if (const int absent = lists_->absent_bits()) {
    types.assign(atom->type, atom->type + system.n_atoms);
    for (std::int64_t i = 0; i < system.n_atoms; ++i)
      if (atom->mask[i] & absent) types[i] = 0;    // as NULL
    system.types = types.data();
  }
  return system;
}

void PairAllegroLegato::compute(int eflag, int vflag)
{
  ev_init(eflag, vflag);

  std::vector<int> types;
  const legato::System atoms = system(types);
  if (lists_->due()) {
    lists_->check(this, list, loaded_.types);
    const auto is_center = [&](const int i) { return atoms.model_type(i) >= 0; };
    int n_atoms = 0;
    for (int i = 0; i < atom->nlocal; ++i) n_atoms += is_center(i);
    lists_->check_centers(std::count_if(list->ilist, list->ilist + list->inum, is_center), n_atoms);
  }

  legato::Output output;
  output.energy_unit = energy_unit_;
  if (atoms.n_atoms > 0 && !energy_only()) output.forces = &atom->f[0][0];
  if (eflag_atom) output.atomic_energy = eatom;
  if (vflag_global) output.virial = virial;
  if (vflag_atom) output.atomic_virial = &vatom[0][0];
  if (cvflag_atom) output.centroid_virial = &cvatom[0][0];

  try {
    static_cast<EngineModel &>(*loaded_.model).engine.compute(atoms, output);
  } catch (const std::exception &problem) {
    error->one(FLERR, "Pair style allegro_legato: {}", problem.what());
  }

  if (eflag_global) {
    eng_vdwl += output.energy;
    warn_of_smaller_blocks();
    if (!energy_only()) {
      store_domain(output.smallest_distance_ratio, static_cast<double>(output.n_outside),
                   output.largest_edge_force);
      store_fence(static_cast<double>(output.n_fenced), output.fence_energy);
    }
  }
}

// compute pair adds these values up over ranks, so extremes are left on the first rank only.
void PairAllegroLegato::store_domain(const double smallest_ratio, const double n_outside,
                                     const double largest)
{
  double mine[2] = {-smallest_ratio, largest};
  double all[2];
  MPI_Allreduce(mine, all, 2, MPI_DOUBLE, MPI_MAX, world);
  pvector[0] = comm->me == 0 ? -all[0] : 0.0;
  pvector[1] = n_outside;
  pvector[2] = comm->me == 0 ? all[1] : 0.0;
}

void PairAllegroLegato::store_fence(const double n_edges, const double energy)
{
  pvector[3] = n_edges;
  pvector[4] = energy;
}
