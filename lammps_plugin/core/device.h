// SPDX-License-Identifier: MIT
// Where a model runs.
#pragma once

#include <string>

namespace legato {

struct Device {
  std::string kind = "cpu";    // cpu or cuda, which is also what torch calls AMD's devices
  int index = -1;
  // The cudaStream_t or hipStream_t on which the caller writes a block and reads its result. The
  // model is queued on it too, so that neither side waits for the other. Null: the default stream.
  void *stream = nullptr;

  bool is_cpu() const { return kind == "cpu"; }
};

// What the user asks for. Automatic: what the file was compiled for; a TorchScript file, which runs
// anywhere, takes a GPU if there is one.
enum class DeviceWish { automatic, cpu, gpu };

// One of the processes of a node, which share its GPUs.
struct NodeProcess {
  int number = 0;    // among them: 0, 1, ...
  int count = 1;     // how many there are
};

// GPU of a process: processes take GPUs in turn, and share them if there are fewer GPUs.
// -1 where there is no GPU.
constexpr int gpu_of_process(const NodeProcess &process, int n_gpus)
{
  return n_gpus > 0 ? process.number % n_gpus : -1;
}

// The largest number of processes that share a GPU then.
constexpr int processes_per_gpu(const NodeProcess &process, int n_gpus)
{
  return n_gpus > 0 ? (process.count + n_gpus - 1) / n_gpus : 1;
}

// Number of GPUs that torch can use; 0 with a torch without GPUs.
int count_gpus();

// Throws Error, with the reason, if torch has no GPU for `device`.
void require_device(const Device &device);

}    // namespace legato
