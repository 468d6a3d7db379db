// SPDX-License-Identifier: MIT
// A block whose arrays lie in the caller's memory, on the device that the model runs on.
#pragma once

#include "device.h"
#include "error.h"

#include <cstdint>
#include <memory>

namespace legato {

// As Block, see block.h: two edges or more. The arrays are read and not copied; they must stay
// until the result is done with.
struct BlockView {
  std::int64_t n_centers = 0;
  std::int64_t n_nodes = 0;                    // centers, then one node per type
  std::int64_t n_edges = 0;                    // with padding
  const std::int64_t *atom_types = nullptr;    // (n_nodes)
  const std::int64_t *edge_index = nullptr;    // (2, n_edges)
  const double *edge_vectors = nullptr;        // (n_edges, 3), Angstrom
};

// On the same device, valid as long as `owner`. On a GPU the numbers are there once all earlier
// work of the stream is done.
struct BlockViewResult {
  const double *atomic_energy = nullptr;    // (n_centers) and more, eV
  const double *edge_forces = nullptr;      // (n_edges, 3), eV/Angstrom; null for energies alone
  std::shared_ptr<void> owner;
};

// The device has too little memory for a block; a smaller one may fit.
class OutOfMemory : public Error {
 public:
  using Error::Error;
};

}    // namespace legato
