// SPDX-License-Identifier: MIT
// Order of virials, and the largest of numbers; on the CPU and in Kokkos' kernels.
#pragma once

#include "inline_function.h"

namespace legato {

// xx yy zz xy xz yz yx zx zy, the order of LAMMPS' per-atom virials. Component k is r[row]
// t[column].
LEGATO_INLINE_FUNCTION constexpr int virial_row(const int k)
{
  constexpr int rows[9] = {0, 1, 2, 0, 0, 1, 1, 2, 2};
  return rows[k];
}
LEGATO_INLINE_FUNCTION constexpr int virial_column(const int k)
{
  constexpr int columns[9] = {0, 1, 2, 1, 2, 2, 0, 0, 1};
  return columns[k];
}

// The larger of two numbers; NaN if either is, so that it does not hide.
LEGATO_INLINE_FUNCTION constexpr double larger_or_nan(const double a, const double b)
{
  return a > b || a != a ? a : b;
}

}    // namespace legato
