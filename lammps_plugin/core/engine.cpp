// SPDX-License-Identifier: MIT
#include "engine.h"

#include "allocator.h"
#include "edges.h"
#include "error.h"
#include "evaluator.h"
#include "virials.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <numeric>

namespace legato {

namespace {

// Lets blocks add their results one after the other, in order.
class Turnstile {
 public:
  // Waits for the turn of `block`; false if another block failed.
  bool enter(int block)
  {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return failed_ || next_ == block; });
    return !failed_;
  }
  void leave()
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++next_;
    changed_.notify_all();
  }
  void fail()
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    failed_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int next_ = 0;
  bool failed_ = false;
};

void add_energies(const Block &block, const BlockResult &result, Output &output)
{
  for (std::int64_t center = 0; center < block.n_centers; ++center) {
    const double energy = output.energy_unit * result.atomic_energy[center];
    output.energy += energy;
    if (output.atomic_energy) output.atomic_energy[block.atoms[center]] += energy;
  }
}

void add_forces(const Block &block, const BlockResult &result, Output &output)
{
  const double unit = output.energy_unit;
  double largest_squared = 0.0;
  const std::int64_t *centers = block.edge_index.data();
  for (std::int64_t edge = 0; edge < block.n_real_edges;) {
    const std::int64_t center = centers[edge];
    double sum[3] = {0.0, 0.0, 0.0};    // edges of a center follow each other
    for (; edge < block.n_real_edges && centers[edge] == center; ++edge) {
      const double *dE_dr = result.edge_forces + 3 * edge;
      const double t[3] = {unit * dE_dr[0], unit * dE_dr[1], unit * dE_dr[2]};
      double *fj = output.forces + 3 * static_cast<std::size_t>(block.neighbors[edge]);
      for (int k = 0; k < 3; ++k) {
        sum[k] += t[k];
        fj[k] -= t[k];
      }
      largest_squared = larger_or_nan(largest_squared, t[0] * t[0] + t[1] * t[1] + t[2] * t[2]);
    }
    double *fi = output.forces + 3 * static_cast<std::size_t>(block.atoms[center]);
    for (int k = 0; k < 3; ++k) fi[k] += sum[k];
  }
  output.largest_edge_force = larger_or_nan(output.largest_edge_force, std::sqrt(largest_squared));
}

void add_virials(const Block &block, const BlockResult &result, Output &output)
{
  double virial[6] = {0.0, 0.0, 0.0, 0.0, 0.0, 0.0};
  for (std::int64_t edge = 0; edge < block.n_real_edges; ++edge) {
    const std::size_t i = block.atoms[block.edge_index[edge]];
    const std::size_t j = block.neighbors[edge];
    const double *r = &block.edge_vectors[3 * edge];
    double t[3];
    for (int k = 0; k < 3; ++k) t[k] = output.energy_unit * result.edge_forces[3 * edge + k];
    for (int k = 0; k < 6; ++k) {
      const double w = -r[virial_row(k)] * t[virial_column(k)];
      virial[k] += w;
      if (output.atomic_virial) {
        output.atomic_virial[6 * i + k] += 0.5 * w;
        output.atomic_virial[6 * j + k] += 0.5 * w;
      }
    }
    if (output.centroid_virial)
      for (int k = 0; k < 9; ++k)
        output.centroid_virial[9 * j + k] -= r[virial_row(k)] * t[virial_column(k)];
  }
  if (output.virial)
    for (int k = 0; k < 6; ++k) output.virial[k] += virial[k];
}

void add_block(const Block &block, const BlockResult &result, Output &output)
{
  add_energies(block, result, output);
  if (!output.forces) return;
  add_forces(block, result, output);
  if (output.virial || output.atomic_virial || output.centroid_virial)
    add_virials(block, result, output);
}

}    // namespace

struct Engine::Parts {
  EngineOptions options;
  Evaluator evaluator;
  std::vector<Block> blocks;           // one per thread
  std::vector<BlockResult> results;    // one per thread
  std::vector<double> seconds;         // one per thread, inside the model

  Parts(const std::string &path, const EngineOptions &wanted) :
      options(checked(wanted)), evaluator(path, {options.threads, options.block, options.files},
                                          [&] { return placement(path, options); }),
      blocks(options.threads), results(options.threads), seconds(options.threads, 0.0)
  {
    options.files.reset();
  }

  static const EngineOptions &checked(const EngineOptions &options)
  {
    check_block_and_threads(options.block, options.threads);
    keep_freed_memory();
    return options;
  }

  static Placement placement(const std::string &path, const EngineOptions &options)
  {
    const int n_gpus = options.device == DeviceWish::cpu ? 0 : count_gpus();
    bool on_gpu = options.device == DeviceWish::gpu;
    if (options.device == DeviceWish::automatic) {
      const std::string compiled_for = Model::device_of(path);
      on_gpu = compiled_for.empty() ? n_gpus > 0 : compiled_for != "cpu";
    }
    if (!on_gpu) return {};
    return {{"cuda", std::max(0, gpu_of_process(options.process, n_gpus)), nullptr},
            processes_per_gpu(options.process, n_gpus)};
  }

  // Evaluates the worker's block, made of `n_centers` of the list. False if it did not fit into the
  // memory: the limit is lower then, and nothing has been added to any result.
  bool evaluate(int worker, int n_centers, bool with_forces)
  {
    Block &block = blocks[worker];
    BlockResult &result = results[worker];
    try {
      if (with_forces)
        evaluator.model().evaluate(block, result);
      else
        evaluator.model().evaluate_energy(block, result);
    } catch (const OutOfMemory &problem) {
      evaluator.does_not_fit(n_centers, problem.what());
      return false;
    }
    seconds[worker] += result.model_seconds;
    return true;
  }
};

Engine::Engine(const std::string &path, const EngineOptions &options) :
    parts_(std::make_unique<Parts>(path, options))
{
}

Engine::~Engine() = default;

const Evaluator &Engine::evaluator() const
{
  return parts_->evaluator;
}

const EngineOptions &Engine::options() const
{
  return parts_->options;
}

double Engine::model_seconds() const
{
  return std::accumulate(parts_->seconds.begin(), parts_->seconds.end(), 0.0);
}

void Engine::compute(const System &system, Output &output)
{
  output.smallest_distance_ratio = std::numeric_limits<double>::infinity();
  output.n_outside = output.n_fenced = 0;
  output.fence_energy = 0.0;
  output.largest_edge_force = 0.0;
  if (system.n_centers == 0) return;
  const bool with_forces = output.forces != nullptr;
  if (!with_forces && (output.virial || output.atomic_virial || output.centroid_virial))
    throw Error("virials are computed from forces; ask for both");

  Parts &parts = *parts_;
  Evaluator &evaluator = parts.evaluator;
  const int threads = evaluator.threads();
  const int size = centers_per_block(system.n_centers, evaluator.limit(), threads);
  const int n_blocks = (system.n_centers - 1) / size + 1;
  double smallest_squared = std::numeric_limits<double>::infinity();
  std::atomic<int> next_block{0};
  Turnstile turnstile;

  evaluator.begin_step();
  evaluator.run([&](int worker) {
    Block &block = parts.blocks[worker];
    const BlockResult &result = parts.results[worker];
    for (int b = next_block++; b < n_blocks; b = next_block++) {
      try {
        bool entered = false;
        const int end = std::min((b + 1) * size, system.n_centers);
        for (int begin = b * size; begin < end;) {
          // less than the block if one of this step did not fit into the memory
          const int n_centers = std::min(end - begin, evaluator.limit());
          const Closeness closeness = gather_block(system, evaluator.metadata(), evaluator.limits(),
                                                   begin, begin + n_centers, block);
          if (block.n_centers > 0 && !parts.evaluate(worker, n_centers, with_forces)) continue;
          if (!entered && !turnstile.enter(b)) return;
          entered = true;
          if (block.n_centers > 0) add_block(block, result, output);
          smallest_squared = std::min(smallest_squared, closeness.smallest_ratio_squared);
          output.n_outside += closeness.n_outside;
          output.n_fenced += closeness.n_fenced;
          output.fence_energy += output.energy_unit * closeness.fence_energy;
          begin += n_centers;
        }
        turnstile.leave();
      } catch (...) {
        turnstile.fail();
        throw;
      }
    }
  });
  evaluator.end_step(std::min(system.n_centers, threads * size));
  output.smallest_distance_ratio = std::sqrt(smallest_squared);
}

}    // namespace legato
