// SPDX-License-Identifier: MIT
// Energies, forces and virials of a system from a deployed model, block by block.
#pragma once

#include "device.h"
#include "evaluator.h"
#include "system.h"

#include <memory>
#include <optional>
#include <string>

namespace legato {

struct EngineOptions {
  int threads = 1;             // blocks evaluated side by side
  std::optional<int> block;    // largest number of centers in a block; 64, on a GPU what fits
  DeviceWish device = DeviceWish::cpu;
  NodeProcess process;                              // decides which GPU
  std::shared_ptr<PackageFiles> files = nullptr;    // of the model, where unpacked already
};

class Engine {
 public:
  // Loads a deployed file. Throws Error if it cannot be used.
  Engine(const std::string &path, const EngineOptions &options);
  ~Engine();

  const Evaluator &evaluator() const;
  const EngineOptions &options() const;

  // Adds energies, forces and virials of the system's centers to `output`.
  //
  // With t = dE_i/dr of the edge r = x_j - x_i: F_i += t, F_j -= t, virial -= r (x) t.
  // The centroid virial of an edge belongs to its neighbor j: with E_i kept at the center i, that
  // makes sum_j W_j v_j the exact potential part of the heat flux (Fan et al., Phys. Rev. B 92,
  // 094301 (2015), eq. 16; Surblys et al., Phys. Rev. E 99, 051301 (2019)).
  //
  // Results are added in block order, so they do not depend on which thread was faster.
  // Without forces the model is not differentiated, and virials must not be asked for.
  //
  // A block for which the device has too little memory is evaluated again in halves, and so are all
  // later ones; nothing is added twice. Throws Error if not even one center fits.
  void compute(const System &system, Output &output);

  // Processor time spent inside the model since the engine was made, over all threads.
  double model_seconds() const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}    // namespace legato
