/* -*- c++ -*- ----------------------------------------------------------
   nequip-legato: what LAMMPS takes out of neighbor lists.
   SPDX-License-Identifier: GPL-2.0-only
------------------------------------------------------------------------- */

#ifndef LMP_PAIR_ALLEGRO_LEGATO_LISTS_H
#define LMP_PAIR_ALLEGRO_LEGATO_LISTS_H

#include "pointers.h"

#include <string>
#include <vector>

namespace LAMMPS_NS {

// A model needs every neighbor within its cutoff: with some of them missing, its energies and
// forces are others, and nobody sees it. LAMMPS has many ways to leave pairs out. Each of them is
// looked at whenever lists are new, because fixes add exclusions after a pair style's init_style,
// and bonds and atoms during a run.
//
// There is one exception with a right answer. Atoms of a group that is excluded against the group
// all are absent: they have no energy of their own and are nobody's neighbors. Monte Carlo fixes
// exclude in this way the atoms that they try to delete.
class LegatoListCheck : protected Pointers {
 public:
  explicit LegatoListCheck(class LAMMPS *lmp) : Pointers(lmp) {}

  // A run begins: the next lists are looked at, whenever they were built.
  void start() { started_ = true; }
  // Whether lists have to be looked at now.
  bool due() const;

  // Bits of the groups whose atoms are absent.
  int absent_bits() const;
  // Whether `check` reads per-atom arrays on the host.
  bool reads_atoms() const;

  // Stops all ranks with an error if the list of a pair style lacks pairs of its types.
  // `types`: LAMMPS type -> model type, negative for those that it leaves to other styles.
  void check(const class Pair *pair, const class NeighList *list, const std::vector<int> &types);
  // The same if this rank's list has fewer centers than the rank has atoms of the model.
  void check_centers(int n_centers, int n_atoms);

 private:
  bool started_ = true;

  bool is_absent_group(int exclusion) const;
  bool drops_bonded() const;
  void check_hybrid(const class NeighList *list, const std::vector<int> &types) const;
  void check_exclusions(const std::vector<int> &types) const;
  void check_ghosts(const std::vector<int> &types) const;
  void check_bonded(const class Pair *pair, const std::vector<int> &types) const;
  void tell_of_absent(const std::vector<int> &types) const;
  bool is_bonded_within(int atom, const std::vector<int> &types) const;
  template <class Condition>
  bigint count(const std::vector<int> &types, const Condition &condition) const;
  [[noreturn]] void stop(const std::string &setting, const std::string &remedy) const;
};

}    // namespace LAMMPS_NS

#endif
