// SPDX-License-Identifier: MIT
// A block: some centers with their edges, in the layout that a deployed model takes.
//
// Because Allegro is strictly local, an edge (center i, neighbor j) enters only the energy of i,
// and of j only its type matters (Musaelian et al., Nat. Commun. 14, 579 (2023), eq. 4). The nodes
// of a block are therefore its centers followed by one node per type, and a neighbor index points
// at the node of its type. Blocks are exact and hold no ghost atoms.
#pragma once

#include "aligned_array.h"

#include <cstdint>
#include <memory>

namespace legato {

// Deployed models are compiled for two edges or more: torch.export specializes the sizes 0 and 1.
constexpr std::int64_t kMinEdges = 2;

// Its arrays are kept from block to block, with room for the largest.
struct Block {
  std::int64_t n_centers = 0;
  std::int64_t n_nodes = 0;                 // centers, then one node per type
  std::int64_t n_edges = 0;                 // with padding
  std::int64_t n_real_edges = 0;            // without padding
  AlignedArray<std::int64_t> atom_types;    // (n_nodes)
  AlignedArray<std::int64_t> edge_index;    // (2, n_edges), rising centers, then neighbors
  AlignedArray<double> edge_vectors;        // (n_edges, 3), x_neighbor - x_center, Angstrom
  AlignedArray<int> atoms;                  // (n_centers) index of each center in the system
  AlignedArray<int> neighbors;              // (n_real_edges) index of the neighbor in the system
};

// Valid as long as `owner`.
struct BlockResult {
  const double *atomic_energy = nullptr;    // (n_centers), eV
  const double *edge_forces = nullptr;      // (n_real_edges, 3), dE/d(edge vector), eV/Angstrom
  std::shared_ptr<void> owner;
  double model_seconds = 0.0;    // processor time inside the model, copies left out
};

}    // namespace legato
