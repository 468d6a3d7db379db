// SPDX-License-Identifier: MIT
// A block: some centres with their edges, in the layout that a deployed model takes.
//
// Because Allegro is strictly local, an edge (centre i, neighbour j) enters only the energy of i,
// and of j only its type matters (Musaelian et al., Nat. Commun. 14, 579 (2023), eq. 4). The nodes
// of a block are therefore its centres followed by one node per type, and a neighbour index points
// at the node of its type. Blocks are exact and hold no ghost atoms.
#pragma once

#include <cstdint>
#include <vector>

namespace legato {

// Deployed models are compiled for two edges or more: torch.export specialises the sizes 0 and 1.
constexpr std::int64_t kMinEdges = 2;

struct Block {
  std::int64_t n_centres = 0;
  std::int64_t n_edges = 0;                // with padding
  std::int64_t n_real_edges = 0;           // without padding
  std::vector<std::int64_t> atom_types;    // (n_centres + num_types)
  std::vector<std::int64_t> edge_index;    // (2, n_edges), centres then neighbours
  std::vector<double> edge_vectors;        // (n_edges, 3), x_neighbour - x_centre, Angstrom
  std::vector<int> atoms;                  // (n_centres) index of each centre in the system
  std::vector<int> neighbours;             // (n_real_edges) index of the neighbour in the system

  std::int64_t n_nodes() const { return static_cast<std::int64_t>(atom_types.size()); }
};

struct BlockResult {
  std::vector<double> atomic_energy;    // (n_centres), eV
  std::vector<double> edge_forces;      // (n_real_edges, 3), dE/d(edge vector), eV/Angstrom
  double model_seconds = 0.0;           // processor time inside the model, copies left out
};

}    // namespace legato
