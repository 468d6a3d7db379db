// SPDX-License-Identifier: MIT
// How many centers are evaluated at once. Knows neither torch nor any device.
#pragma once

#include "error.h"

#include <algorithm>
#include <optional>
#include <string>

namespace legato {

constexpr int kMaxThreads = 1024;
constexpr int kCpuBlock = 64;           // arrays on its edges should stay in the second-level cache
constexpr int kFirstGpuBlock = 2048;    // until its use of memory has been seen
constexpr int kLargestGpuBlock = 32768;       // more centers make a GPU no faster
constexpr double kShareOfFreeMemory = 0.5;    // the rest is for LAMMPS, and for denser blocks

// Throws Error for numbers that are out of range.
inline void check_block_and_threads(std::optional<int> block, int threads)
{
  if (threads < 1 || threads > kMaxThreads || block.value_or(1) < 1)
    throw Error("threads must be between 1 and " + std::to_string(kMaxThreads) +
                " and block 1 or more, but they are " + std::to_string(threads) + " and " +
                (block ? std::to_string(*block) : "automatic"));
}

// Centers per block: no more than `limit`, and as even as possible over the threads.
inline int centers_per_block(int n_centers, int limit, int threads)
{
  if (n_centers < 1) return 1;
  int n_blocks = (n_centers - 1) / limit + 1;
  const int rest = n_blocks % threads;
  if (rest != 0) n_blocks += threads - rest;
  return std::max(1, (n_centers - 1) / n_blocks + 1);
}

// The largest number of centers in a block. On a GPU it follows the memory unless the user gave it.
class BlockSize {
 public:
  BlockSize(std::optional<int> wanted, bool on_gpu) :
      limit_(wanted.value_or(on_gpu ? kFirstGpuBlock : kCpuBlock)), to_measure_(!wanted && on_gpu)
  {
  }

  int limit() const { return limit_; }

  // Whether `measured` is wanted after the next blocks.
  bool to_measure() const { return to_measure_; }

  // `centers` at once took `bytes` of the `available` ones. Too few centers are not counted:
  // what a model takes at any size of the block would be mistaken for their share.
  void measured(double bytes, int centers, double available, int threads)
  {
    if (!to_measure_ || centers < kFirstGpuBlock / 4 || bytes <= 0.0) return;
    const double fitting = kShareOfFreeMemory * available * centers / bytes / threads;
    limit_ = static_cast<int>(std::clamp(fitting, 1.0, static_cast<double>(kLargestGpuBlock)));
    to_measure_ = false;
  }

  // A block of `size` centers did not fit: halves the limit, and no growth from then on.
  // Throws Error with the reason if not even one center fits.
  void does_not_fit(int size, const std::string &reason)
  {
    if (size <= 1) throw Error("not even one atom fits into the memory (" + reason + ")");
    limit_ = std::min(limit_, size / 2);
    to_measure_ = false;
    ++n_failures_;
  }

  // How often a block did not fit.
  int n_failures() const { return n_failures_; }

 private:
  int limit_;
  bool to_measure_;
  int n_failures_ = 0;
};

}    // namespace legato
