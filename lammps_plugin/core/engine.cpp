// SPDX-License-Identifier: MIT
#include "engine.h"

#include "allocator.h"
#include "device_memory.h"
#include "edges.h"
#include "error.h"
#include "model.h"
#include "worker_pool.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <numeric>
#include <optional>

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

// xx yy zz xy xz yz yx zx zy, the order of LAMMPS' per-atom virials.
constexpr int kRow[9] = {0, 1, 2, 0, 0, 1, 1, 2, 2};
constexpr int kColumn[9] = {0, 1, 2, 1, 2, 2, 0, 0, 1};

// The larger of two numbers; NaN if either is, so that it does not hide.
double larger(double a, double b)
{
  return a > b || std::isnan(a) ? a : b;
}

void add_energies(const Block &block, const BlockResult &result, Output &output)
{
  for (std::int64_t centre = 0; centre < block.n_centres; ++centre) {
    const double energy = output.energy_unit * result.atomic_energy[centre];
    output.energy += energy;
    if (output.atomic_energy) output.atomic_energy[block.atoms[centre]] += energy;
  }
}

void add_forces(const Block &block, const BlockResult &result, Output &output)
{
  const double unit = output.energy_unit;
  double largest_squared = 0.0;
  const std::int64_t *centres = block.edge_index.data();
  for (std::int64_t edge = 0; edge < block.n_real_edges;) {
    const std::int64_t centre = centres[edge];
    double sum[3] = {0.0, 0.0, 0.0};    // edges of a centre follow each other
    for (; edge < block.n_real_edges && centres[edge] == centre; ++edge) {
      const double *dE_dr = result.edge_forces + 3 * edge;
      const double t[3] = {unit * dE_dr[0], unit * dE_dr[1], unit * dE_dr[2]};
      double *fj = output.forces + 3 * static_cast<std::size_t>(block.neighbours[edge]);
      for (int k = 0; k < 3; ++k) {
        sum[k] += t[k];
        fj[k] -= t[k];
      }
      largest_squared = larger(largest_squared, t[0] * t[0] + t[1] * t[1] + t[2] * t[2]);
    }
    double *fi = output.forces + 3 * static_cast<std::size_t>(block.atoms[centre]);
    for (int k = 0; k < 3; ++k) fi[k] += sum[k];
  }
  output.largest_edge_force = larger(output.largest_edge_force, std::sqrt(largest_squared));
}

void add_virials(const Block &block, const BlockResult &result, Output &output)
{
  double virial[6] = {0.0, 0.0, 0.0, 0.0, 0.0, 0.0};
  for (std::int64_t edge = 0; edge < block.n_real_edges; ++edge) {
    const std::size_t i = block.atoms[block.edge_index[edge]];
    const std::size_t j = block.neighbours[edge];
    const double *r = &block.edge_vectors[3 * edge];
    double t[3];
    for (int k = 0; k < 3; ++k) t[k] = output.energy_unit * result.edge_forces[3 * edge + k];
    for (int k = 0; k < 6; ++k) {
      const double w = -r[kRow[k]] * t[kColumn[k]];
      virial[k] += w;
      if (output.atomic_virial) {
        output.atomic_virial[6 * i + k] += 0.5 * w;
        output.atomic_virial[6 * j + k] += 0.5 * w;
      }
    }
    if (output.centroid_virial)
      for (int k = 0; k < 9; ++k) output.centroid_virial[9 * j + k] -= r[kRow[k]] * t[kColumn[k]];
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
  Device device;
  std::unique_ptr<Model> model;
  std::optional<DeviceMemory> memory;
  std::optional<BlockSize> size;
  std::mutex size_mutex;
  std::vector<Block> blocks;           // one a thread
  std::vector<BlockResult> results;    // one a thread
  std::vector<double> seconds;         // one a thread, inside the model
  std::unique_ptr<WorkerPool> pool;    // last: its threads end before the rest goes

  Parts(const std::string &path, const EngineOptions &wanted) : options(wanted)
  {
    check_block_and_threads(options.block, options.threads);
    keep_freed_memory();
    pool = std::make_unique<WorkerPool>(options.threads, use_single_thread);
    WorkerPool{1, restore_thread_count};    // a thread that starts, and ends
    pool->run_one([&] {
      device = choose_device(path, options);
      model = Model::load(path, options.threads, device, options.files.get());
      options.files.reset();
    });
    memory.emplace(device, processes_per_gpu(options.process, count_gpus()));
    size.emplace(options.block, !device.is_cpu());
    blocks.resize(options.threads);
    results.resize(options.threads);
    seconds.resize(options.threads, 0.0);
  }

  static Device choose_device(const std::string &path, const EngineOptions &options)
  {
    const int n_gpus = options.device == DeviceWish::cpu ? 0 : count_gpus();
    bool on_gpu = options.device == DeviceWish::gpu;
    if (options.device == DeviceWish::automatic) {
      const std::string compiled_for = Model::device_of(path);
      on_gpu = compiled_for.empty() ? n_gpus > 0 : compiled_for != "cpu";
    }
    if (!on_gpu) return {};
    return {"cuda", std::max(0, gpu_of_process(options.process, n_gpus)), nullptr};
  }

  // The blocks of a step are over, of which `at_once` centres were evaluated side by side.
  void end_step(int at_once)
  {
    if (device.is_cpu()) return;
    if (size->to_measure())
      size->measured(memory->peak(), at_once, memory->available(), options.threads);
    memory->trim();
  }

  int limit()
  {
    const std::lock_guard<std::mutex> lock(size_mutex);
    return size->limit();
  }

  // Evaluates the worker's block, made of `n_centres` of the list. False if it did not fit into the
  // memory: the limit is lower then, and nothing has been added to any result.
  bool evaluate(int worker, int n_centres, bool with_forces)
  {
    Block &block = blocks[worker];
    BlockResult &result = results[worker];
    try {
      if (with_forces)
        model->evaluate(block, result);
      else
        model->evaluate_energy(block, result);
    } catch (const OutOfMemory &problem) {
      const std::lock_guard<std::mutex> lock(size_mutex);
      size->does_not_fit(n_centres, problem.what());
      memory->give_back_cache();
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

const Metadata &Engine::metadata() const
{
  return parts_->model->metadata();
}

const EngineOptions &Engine::options() const
{
  return parts_->options;
}

const Device &Engine::device() const
{
  return parts_->device;
}

const BlockSize &Engine::block_size() const
{
  return *parts_->size;
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
  if (system.n_centres == 0) return;
  const bool with_forces = output.forces != nullptr;
  if (!with_forces && (output.virial || output.atomic_virial || output.centroid_virial))
    throw Error("virials cannot be had without forces; ask for both");

  Parts &parts = *parts_;
  const int threads = parts.options.threads;
  const int size = centres_per_block(system.n_centres, parts.size->limit(), threads);
  const int n_blocks = (system.n_centres - 1) / size + 1;
  double smallest_squared = std::numeric_limits<double>::infinity();
  std::atomic<int> next_block{0};
  Turnstile turnstile;

  if (parts.size->to_measure()) parts.memory->begin_measuring();
  parts.pool->run([&](int worker) {
    Block &block = parts.blocks[worker];
    const BlockResult &result = parts.results[worker];
    for (int b = next_block++; b < n_blocks; b = next_block++) {
      try {
        bool entered = false;
        const int end = std::min((b + 1) * size, system.n_centres);
        for (int begin = b * size; begin < end;) {
          // less than the block if one of this step did not fit into the memory
          const int n_centres = std::min(end - begin, parts.limit());
          const Closeness closeness =
              gather_block(system, metadata(), begin, begin + n_centres, block);
          if (block.n_centres > 0 && !parts.evaluate(worker, n_centres, with_forces)) continue;
          if (!entered && !turnstile.enter(b)) return;
          entered = true;
          if (block.n_centres > 0) add_block(block, result, output);
          smallest_squared = std::min(smallest_squared, closeness.smallest_ratio_squared);
          output.n_outside += closeness.n_outside;
          output.n_fenced += closeness.n_fenced;
          output.fence_energy += output.energy_unit * closeness.fence_energy;
          begin += n_centres;
        }
        turnstile.leave();
      } catch (...) {
        turnstile.fail();
        throw;
      }
    }
  });
  parts.end_step(std::min(system.n_centres, threads * size));
  output.smallest_distance_ratio = std::sqrt(smallest_squared);
}

}    // namespace legato
