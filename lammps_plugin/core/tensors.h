// SPDX-License-Identifier: MIT
// Internal: blocks as tensors, for the model formats.
#pragma once

#include "block.h"
#include "error.h"

#include <ATen/ATen.h>

#include <cstring>

namespace legato {

// A block's arrays as tensors. They are copies: torch aligns its own memory, and vectorized sums
// over memory that is aligned by chance would differ in the last bit from thread to thread.
struct BlockTensors {
  at::Tensor pos, edge_index, atom_types, edge_vectors;

  explicit BlockTensors(Block &block)
  {
    const auto integers = at::TensorOptions().dtype(at::kLong);
    const auto reals = at::TensorOptions().dtype(at::kDouble);
    // The model takes positions only because nequip's tracer asks for them; it never reads them.
    pos = at::zeros({block.n_nodes(), 3}, reals);
    edge_index = at::from_blob(block.edge_index.data(), {2, block.n_edges}, integers).clone();
    atom_types = at::from_blob(block.atom_types.data(), {block.n_nodes()}, integers).clone();
    edge_vectors = at::from_blob(block.edge_vectors.data(), {block.n_edges, 3}, reals).clone();
  }
};

inline void read_result(const at::Tensor &atomic_energy, const at::Tensor &edge_forces,
                        const Block &block, BlockResult &result)
{
  const at::Tensor energy = atomic_energy.detach().to(at::kDouble).contiguous();
  const at::Tensor forces = edge_forces.detach().to(at::kDouble).contiguous();
  if (energy.numel() < block.n_centres || forces.numel() != 3 * block.n_edges)
    throw Error("the model returned arrays of the wrong size; deploy it again with 'nequip-deploy "
                "build'");
  result.atomic_energy.resize(block.n_centres);
  result.edge_forces.resize(3 * block.n_real_edges);
  std::memcpy(result.atomic_energy.data(), energy.data_ptr<double>(),
              sizeof(double) * result.atomic_energy.size());
  std::memcpy(result.edge_forces.data(), forces.data_ptr<double>(),
              sizeof(double) * result.edge_forces.size());
}

}    // namespace legato
