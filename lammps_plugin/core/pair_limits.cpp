// SPDX-License-Identifier: MIT
#include "pair_limits.h"

#include "metadata.h"

#include <limits>

namespace legato {

PairLimits::PairLimits(const Metadata &metadata) :
    cutoff_squared(metadata.edge_cutoffs), inverse_shortest_squared(metadata.shortest_distance)
{
  constexpr double infinity = std::numeric_limits<double>::infinity();
  for (auto &value : cutoff_squared) value *= value;
  for (auto &value : inverse_shortest_squared)
    value = value < infinity ? 1.0 / (value * value) : infinity;
}

}    // namespace legato
