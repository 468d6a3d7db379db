// SPDX-License-Identifier: MIT
// Internal: blocks as tensors, for the model formats.
#pragma once

#include "block.h"
#include "block_view.h"
#include "device.h"
#include "error.h"

#include <ATen/ATen.h>
#include <c10/core/StreamGuard.h>

#include <memory>
#include <optional>
#include <utility>

namespace legato {

inline c10::Device torch_device(const Device &device)
{
  if (device.is_cpu()) return c10::Device(at::kCPU);
  return c10::Device(at::kCUDA, static_cast<c10::DeviceIndex>(device.index));
}

// Everything that torch does on this thread goes to the device's stream while this lives.
// A stream that torch did not make is known to it by its address (c10/cuda/CUDAStream.cpp,
// StreamId), and 0 is the default one; c10/cuda's own function for that would need the CUDA
// toolkit's headers.
class StreamScope {
 public:
  explicit StreamScope(const Device &device)
  {
    if (device.is_cpu()) return;
    const auto id = static_cast<c10::StreamId>(reinterpret_cast<std::intptr_t>(device.stream));
    guard_.emplace(c10::Stream(c10::Stream::UNSAFE, torch_device(device), id));
  }

 private:
  std::optional<c10::StreamGuard> guard_;
};

// What a deployed model takes.
struct ModelInputs {
  at::Tensor pos, edge_index, atom_types, edge_vectors;
};

// A block's arrays as tensors on a device: in place on the CPU; copied for a GPU, through
// page-locked memory, which the device reads by itself.
inline ModelInputs inputs_of(Block &block, const Device &device)
{
  const auto tensor = [&device](auto &numbers, at::IntArrayRef size, at::ScalarType type) {
    const auto options = at::TensorOptions().dtype(type);
    const at::Tensor ours = at::from_blob(numbers.data(), size, options);
    if (device.is_cpu()) return ours;
    // torch keeps page-locked memory for later, and only once the copy out of it is over
    at::Tensor locked = at::empty(size, options.pinned_memory(true));
    locked.copy_(ours);
    return locked.to(torch_device(device), /*non_blocking=*/true);
  };
  ModelInputs inputs;
  // The model takes positions only because nequip's tracer asks for them; it never reads them.
  inputs.pos =
      at::zeros({block.n_nodes, 3}, at::TensorOptions(torch_device(device)).dtype(at::kDouble));
  inputs.edge_index = tensor(block.edge_index, {2, block.n_edges}, at::kLong);
  inputs.atom_types = tensor(block.atom_types, {block.n_nodes}, at::kLong);
  inputs.edge_vectors = tensor(block.edge_vectors, {block.n_edges, 3}, at::kDouble);
  return inputs;
}

// The caller's arrays themselves, which lie on the device.
inline ModelInputs viewed(const BlockView &block, const Device &device)
{
  const auto integers = at::TensorOptions(torch_device(device)).dtype(at::kLong);
  const auto reals = integers.dtype(at::kDouble);
  // from_blob takes no pointer to const; the model does not write to its inputs.
  const auto wrap = [](const auto *data, at::IntArrayRef size, const at::TensorOptions &options) {
    return at::from_blob(const_cast<void *>(static_cast<const void *>(data)), size, options);
  };
  ModelInputs inputs;
  inputs.pos = at::zeros({block.n_nodes, 3}, reals);
  inputs.edge_index = wrap(block.edge_index, {2, block.n_edges}, integers);
  inputs.atom_types = wrap(block.atom_types, {block.n_nodes}, integers);
  inputs.edge_vectors = wrap(block.edge_vectors, {block.n_edges, 3}, reals);
  return inputs;
}

inline Error wrong_size()
{
  return Error("the model returned arrays of the wrong size; deploy it again with 'nequip-deploy "
               "build'");
}

// The first `wanted` numbers of a tensor that has `size` or, if `at_least`, more, on the CPU.
inline at::Tensor numbers_of(const at::Tensor &tensor, std::int64_t size, bool at_least,
                             std::int64_t wanted)
{
  at::Tensor values = tensor.detach().to(at::kDouble).contiguous();
  if (at_least ? values.numel() < size : values.numel() != size) throw wrong_size();
  if (values.is_cpu()) return values;
  const auto options = at::TensorOptions().dtype(at::kDouble).pinned_memory(true);
  at::Tensor locked = at::empty({wanted}, options);
  locked.copy_(values.view({-1}).slice(0, 0, wanted));    // waits for the device
  return locked;
}

inline void read_energy(const at::Tensor &atomic_energy, const Block &block, BlockResult &result)
{
  auto kept = std::make_shared<at::Tensor>(
      numbers_of(atomic_energy, block.n_centers, true, block.n_centers));
  result.atomic_energy = kept->data_ptr<double>();
  result.edge_forces = nullptr;
  result.owner = std::move(kept);
}

inline void read_results(const at::Tensor &atomic_energy, const at::Tensor &edge_forces,
                         const Block &block, BlockResult &result)
{
  auto kept = std::make_shared<std::pair<at::Tensor, at::Tensor>>(
      numbers_of(atomic_energy, block.n_centers, true, block.n_centers),
      numbers_of(edge_forces, 3 * block.n_edges, false, 3 * block.n_real_edges));
  result.atomic_energy = kept->first.data_ptr<double>();
  result.edge_forces = kept->second.data_ptr<double>();
  result.owner = std::move(kept);
}

// Leaves the energies on the device.
inline void keep_energy(const at::Tensor &atomic_energy, const BlockView &block,
                        BlockViewResult &result)
{
  auto kept = std::make_shared<at::Tensor>(atomic_energy.detach().to(at::kDouble).contiguous());
  if (kept->numel() < block.n_centers) throw wrong_size();
  result.atomic_energy = kept->data_ptr<double>();
  result.edge_forces = nullptr;
  result.owner = std::move(kept);
}

// Leaves the results on the device.
inline void keep_result(const at::Tensor &atomic_energy, const at::Tensor &edge_forces,
                        const BlockView &block, BlockViewResult &result)
{
  auto kept = std::make_shared<std::pair<at::Tensor, at::Tensor>>(
      atomic_energy.detach().to(at::kDouble).contiguous(),
      edge_forces.detach().to(at::kDouble).contiguous());
  if (kept->first.numel() < block.n_centers || kept->second.numel() != 3 * block.n_edges)
    throw wrong_size();
  result.atomic_energy = kept->first.data_ptr<double>();
  result.edge_forces = kept->second.data_ptr<double>();
  result.owner = std::move(kept);
}

}    // namespace legato
