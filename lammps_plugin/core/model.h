// SPDX-License-Identifier: MIT
// A deployed model, whatever its format. No torch header is needed to use it.
#pragma once

#include "block.h"
#include "block_view.h"
#include "metadata.h"

#include <memory>
#include <string>

namespace legato {

class PackageFiles;

class Model {
 public:
  virtual ~Model() = default;

  // Loads OUT.nequip.pth (TorchScript) or OUT.nequip.pt2 (AOTInductor).
  // `workers` is the number of threads that will call evaluate at the same time.
  // `files`: those of the file that are unpacked already; null if none are.
  // Throws Error for every file that cannot be used, or not on that device.
  static std::unique_ptr<Model> load(const std::string &path, int workers,
                                     const Device &device = {}, PackageFiles *files = nullptr);

  // The kind of device that a file was compiled for, cpu or cuda; empty if it runs on either.
  // Throws Error as load does.
  static std::string device_of(const std::string &path);

  // Energies and edge forces of one block, whose arrays are copied to a GPU and back.
  // Safe to call from several threads. Throws OutOfMemory if the device has too little of it.
  virtual void evaluate(Block &block, BlockResult &result) = 0;
  // Energies of one block, and no edge forces. Without a backward pass where the file
  // can do so: TorchScript always, AOTInductor if it was deployed with a second, energy-only model.
  virtual void evaluate_energy(Block &block, BlockResult &result) = 0;

  // The same two for arrays of the caller on the device, which are not copied.
  virtual void evaluate_view(const BlockView &block, BlockViewResult &result) = 0;
  virtual void evaluate_view_energy(const BlockView &block, BlockViewResult &result) = 0;

  const Metadata &metadata() const { return metadata_; }
  const Device &device() const { return device_; }

 protected:
  Metadata metadata_;
  Device device_;
};

// To be called once by each thread that calls Model::load or Model::evaluate: the model then runs
// on that thread alone. Blocks are evaluated side by side instead, which scales better than threads
// inside one small block.
void use_single_thread();

// Gives back the thread count that the process had before use_single_thread.
// The calling thread must end soon after: its own count is changed.
void restore_thread_count();

}    // namespace legato
