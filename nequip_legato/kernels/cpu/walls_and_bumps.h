// SPDX-License-Identifier: MIT
// The energy of a fence and its slope by the squared distance (nequip_legato/fence/profile.py).
#pragma once

#include "rows.h"

#include <cmath>

namespace legato_edges {

// `row`: 1 / r0^2 and height of the wall; middle, inverse half width and height of each bump.
template <typename Real>
void add_fence(const Real *row, int64_t n_columns, Real squared, Real &energy, Real &slope)
{
  const Real ratio = squared * row[0];
  Real depth = 1 - ratio;
  if (!(depth <= 0)) {    // a NaN stays
    const Real scale = row[1] * depth * depth / std::sqrt(ratio);
    energy += scale * depth;
    slope -= row[0] * scale * (3 + depth / (2 * ratio));
  }
  for (int64_t k = 2; k < n_columns; k += 3) {
    const Real z = (squared - row[k]) * row[k + 1];
    depth = 1 - z * z;
    if (depth <= 0) continue;
    energy += row[k + 2] * depth * depth * depth;
    slope -= 6 * row[k + 2] * depth * depth * z * row[k + 1];
  }
}

template <typename Real>
bool fence(AtenTensorHandle squared_, AtenTensorHandle pair_, AtenTensorHandle table_,
           AtenTensorHandle *made, AtenTensorHandle *made_slope)
{
  Rows<const Real> squared, table;
  Rows<const int64_t> pair;
  Rows<Real> energy, slope;
  if (!read(squared_, squared) || !read(pair_, pair) || !read(table_, table) ||
      !make({squared.count()}, made, energy) || !make({squared.count()}, made_slope, slope))
    return false;
  for (int64_t e = 0; e < squared.count(); ++e) {
    const int64_t row = *pair[e];
    if (row < 0 || row >= table.count()) return false;
    Real sum = 0, by_squared = 0;
    add_fence(table[row], table.sizes[1], *squared[e], sum, by_squared);
    *energy[e] = sum;
    *slope[e] = by_squared;
  }
  return true;
}

}    // namespace legato_edges
