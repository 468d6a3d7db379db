// SPDX-License-Identifier: MIT
// Weighted channels of the components of each edge, and their sums over the edges of each center.
#pragma once

#include "rows.h"

namespace legato_edges {

// U channels of I components, which belong to R irreps, one after the other.
template <typename Real, int U, int I, int R> struct Channels {
  static bool fits(AtenTensorHandle y_, AtenTensorHandle w_, int64_t n_irreps)
  {
    Rows<const Real> y, w;
    return read(y_, y) && read(w_, w) && y.sizes[1] == I && w.sizes[1] == U * R && n_irreps == R;
  }

  // `irreps`: number of components of each.
  explicit Channels(const int64_t *irreps)
  {
    for (int r = 0, end = 0; r < R; ++r) ends_[r] = end += static_cast<int>(irreps[r]);
  }

  bool forward(AtenTensorHandle y_, AtenTensorHandle w_, AtenTensorHandle *made) const
  {
    Rows<const Real> y, w;
    Rows<Real> out;
    if (!read(y_, y) || !read(w_, w) || !make({y.count(), I, U}, made, out)) return false;
    for (int64_t e = 0; e < y.count(); ++e) weigh<false>(y[e], w[e], out[e]);
    return true;
  }

  bool sum(AtenTensorHandle y_, AtenTensorHandle w_, AtenTensorHandle centers_, int64_t n_nodes,
           AtenTensorHandle *made) const
  {
    Rows<const Real> y, w;
    Rows<const int64_t> centers;
    Rows<Real> out;
    if (!read(y_, y) || !read(w_, w) || !read(centers_, centers) ||
        !make({n_nodes, I, U}, made, out))
      return false;
    clear(out);
    return by_center(centers, n_nodes, [&](int64_t c, int64_t first, int64_t last) {
      for (int64_t e = first; e < last; ++e) weigh<true>(y[e], w[e], out[c]);
    });
  }

  // `g` has a row for each edge, or for each node if there are centers.
  bool backward(AtenTensorHandle g_, AtenTensorHandle y_, AtenTensorHandle w_,
                AtenTensorHandle centers_, AtenTensorHandle *made_y, AtenTensorHandle *made_w) const
  {
    Rows<const Real> g, y, w;
    Rows<const int64_t> centers;
    Rows<Real> by_y, by_w;
    if (!read(g_, g) || !read(y_, y) || !read(w_, w) || !make({y.count(), I}, made_y, by_y) ||
        !make({y.count(), U * R}, made_w, by_w))
      return false;
    if (!centers_) {
      for (int64_t e = 0; e < y.count(); ++e) derive(g[e], y[e], w[e], by_y[e], by_w[e]);
      return true;
    }
    return read(centers_, centers) &&
           by_center(centers, g.count(), [&](int64_t c, int64_t first, int64_t last) {
             for (int64_t e = first; e < last; ++e) derive(g[c], y[e], w[e], by_y[e], by_w[e]);
           });
  }

 private:
  int ends_[R];    // behind the last component of each irrep

  static void sort(const Real *__restrict w, Real *__restrict by_irrep)
  {
    for (int r = 0; r < R; ++r)
      for (int u = 0; u < U; ++u) by_irrep[r * U + u] = w[u * R + r];
  }

  template <bool ADD>
  void weigh(const Real *__restrict y, const Real *__restrict w, Real *__restrict out) const
  {
    Real by_irrep[R * U];
    sort(w, by_irrep);
    for (int r = 0, i = 0; r < R; ++r)
      for (; i < ends_[r]; ++i)
        for (int u = 0; u < U; ++u) {
          const Real product = y[i] * by_irrep[r * U + u];
          out[i * U + u] = ADD ? out[i * U + u] + product : product;
        }
  }

  void derive(const Real *__restrict g, const Real *__restrict y, const Real *__restrict w,
              Real *__restrict by_y, Real *__restrict by_w) const
  {
    Real by_irrep[R * U], result[R * U] = {};
    sort(w, by_irrep);
    for (int r = 0, i = 0; r < R; ++r)
      for (; i < ends_[r]; ++i) {
        Real total = 0;
#pragma omp simd reduction(+ : total)
        for (int u = 0; u < U; ++u) {
          total += g[i * U + u] * by_irrep[r * U + u];
          result[r * U + u] += y[i] * g[i * U + u];
        }
        by_y[i] = total;
      }
    for (int u = 0; u < U; ++u)
      for (int r = 0; r < R; ++r) by_w[u * R + r] = result[r * U + u];
  }
};

}    // namespace legato_edges
