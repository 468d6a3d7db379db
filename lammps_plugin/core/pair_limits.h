// SPDX-License-Identifier: MIT
// What distances are compared with, per pair of types.
#pragma once

#include <vector>

namespace legato {

struct Metadata;

// Row-major, (center type, neighbor type).
struct PairLimits {
  std::vector<double> cutoff_squared;    // A^2
  // 1/A^2. Infinite for a pair that training never saw, which makes no statement: ratio infinite.
  std::vector<double> inverse_shortest_squared;

  explicit PairLimits(const Metadata &metadata);
};

}    // namespace legato
