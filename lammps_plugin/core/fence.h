// SPDX-License-Identifier: MIT
// How strongly a fence acts on an edge. The deployed model itself has the fence in its energies;
// this is only for telling users, on the CPU and in Kokkos' kernels.
#pragma once

#include "inline_function.h"

#include <math.h>    // for device code, too

namespace legato {

// A row of the fence's table begins with its wall, and each bump adds three numbers.
constexpr int kWallColumns = 2;
constexpr int kBumpColumns = 3;

// The fence's energy of one edge in eV, zero where it does not act. As
// nequip_legato/fence/module.py. `row` belongs to the edge's types: 1 / r0^2, k, and for each bump
// the middle, the inverse half width and the height, as functions of the squared distance in A^2.
LEGATO_INLINE_FUNCTION double fence_energy(const double *row, const int n_columns,
                                           const double distance_squared)
{
  double energy = 0.0;
  const double ratio = distance_squared * row[0];
  double depth = 1.0 - ratio;
  if (depth > 0.0) energy += row[1] * depth * depth * depth / sqrt(ratio);
  for (int k = kWallColumns; k < n_columns; k += kBumpColumns) {
    const double z = (distance_squared - row[k]) * row[k + 1];
    depth = 1.0 - z * z;
    if (depth > 0.0) energy += row[k + 2] * depth * depth * depth;
  }
  return energy;
}

}    // namespace legato
