// SPDX-License-Identifier: MIT
// The atoms that the engine works on, as views of the caller's arrays.
#pragma once

#include <cstdint>

namespace legato {

// Positions in Angstrom. Atoms are the caller's own followed by their periodic or remote images
// ("ghosts"), in any order; an atom whose model type is negative is invisible to the model.
struct System {
  std::int64_t n_atoms = 0;
  const double *positions = nullptr;    // (n_atoms, 3)
  const int *types = nullptr;           // (n_atoms) the caller's types
  const int *type_map = nullptr;        // caller's type -> model type, or -1

  int n_centers = 0;                        // atoms whose energy is wanted
  const int *centers = nullptr;             // (n_centers) atom indices
  const int *n_neighbors = nullptr;         // (n_atoms) indexed by atom
  const int *const *neighbors = nullptr;    // (n_atoms) -> (n_neighbors) candidates of a full list
  int neighbor_mask = ~0;                   // bits of a neighbor entry that hold the atom index

  int model_type(int atom) const { return type_map[types[atom]]; }
};

// What to compute beyond energy and forces. Null pointers are not computed.
// Everything is added to what the arrays hold; energies are multiplied by `energy_unit` first.
struct Output {
  double energy_unit = 1.0;    // the caller's energy unit per eV

  double energy = 0.0;
  double *forces = nullptr;             // (n_atoms, 3); null: energies alone, much cheaper
  double *atomic_energy = nullptr;      // (n_atoms)
  double *virial = nullptr;             // (6) xx yy zz xy xz yz, sum of r_a F_b
  double *atomic_virial = nullptr;      // (n_atoms, 6), shared equally by both ends of an edge
  double *centroid_virial = nullptr;    // (n_atoms, 9) xx yy zz xy xz yz yx zx zy, see engine.h

  // How the distances and forces compare with the training data.
  double smallest_distance_ratio;     // min over edges of distance / shortest in training
  std::int64_t n_outside = 0;         // centers with a neighbor closer than any in training
  double largest_edge_force = 0.0;    // largest |dE/d(edge vector)|

  // How the model's fence acts, if it has one. The energy is part of the whole.
  std::int64_t n_fenced = 0;    // edges
  double fence_energy = 0.0;
};

}    // namespace legato
