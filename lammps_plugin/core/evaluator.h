// SPDX-License-Identifier: MIT
// A model with all that it takes to run it: threads, size of blocks, memory of the device.
#pragma once

#include "block_size.h"
#include "device.h"
#include "device_memory.h"
#include "model.h"
#include "pair_limits.h"
#include "worker_pool.h"

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace legato {

struct EvaluatorOptions {
  int threads = 1;             // that evaluate blocks side by side
  std::optional<int> block;    // largest number of centers in a block; 64, on a GPU what fits
  std::shared_ptr<PackageFiles> files = nullptr;    // of the model, where unpacked already
};

// Where a model runs, and how many processes share that device.
struct Placement {
  Device device;
  int sharers = 1;
};

class Evaluator {
 public:
  // `place` is called on a thread of its own, because it may ask torch. Throws Error if the file
  // cannot be used.
  Evaluator(const std::string &path, const EvaluatorOptions &options,
            const std::function<Placement()> &place);

  const Metadata &metadata() const { return model_->metadata(); }
  const Device &device() const { return model_->device(); }
  const PairLimits &limits() const { return *limits_; }
  const BlockSize &block_size() const { return *size_; }
  int threads() const { return pool_.size(); }

  // Calls job(worker) on every thread and waits. Rethrows the first exception.
  void run(const std::function<void(int)> &job) { pool_.run(job); }
  // To be called by these threads.
  Model &model() { return *model_; }

  // Before and after the blocks of a step, of which up to `at_once` centers were evaluated side by
  // side: the size of blocks follows the memory.
  void begin_step();
  void end_step(int at_once);

  // Largest number of centers in a block now. Threads may ask while others find that theirs does
  // not fit.
  int limit() const;
  // A block of `n_centers` did not fit: the limit is lower from now on. Throws Error with the
  // reason if not even one center fits.
  void does_not_fit(int n_centers, const std::string &reason);

 private:
  mutable std::mutex size_mutex_;
  std::optional<BlockSize> size_;
  std::optional<DeviceMemory> memory_;
  std::optional<PairLimits> limits_;
  std::unique_ptr<Model> model_;
  WorkerPool pool_;    // torch never runs on the caller's thread; ends before the rest goes
};

}    // namespace legato
