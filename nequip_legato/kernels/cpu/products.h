// SPDX-License-Identifier: MIT
// Products of the features of each edge with a matrix of its center.
#pragma once

#include "rows.h"

namespace legato_edges {

// U channels, I components before and K after.
template <typename Real, int U, int I, int K> struct Product {
  static bool fits(AtenTensorHandle matrices)
  {
    Rows<const Real> m;
    return read(matrices, m) && m.sizes[1] == I && m.sizes[2] == K && m.sizes[3] == U;
  }

  static bool forward(AtenTensorHandle x_, AtenTensorHandle matrices, AtenTensorHandle centers_,
                      AtenTensorHandle *made)
  {
    Rows<const Real> x, m;
    Rows<const int64_t> centers;
    Rows<Real> out;
    if (!read(x_, x) || !read(matrices, m) || !read(centers_, centers) ||
        !make({x.count(), K, U}, made, out))
      return false;
    return by_center(centers, m.count(), [&](int64_t c, int64_t first, int64_t last) {
      for (int64_t e = first; e < last; ++e) multiply(x[e], m[c], out[e]);
    });
  }

  static bool backward(AtenTensorHandle g_, AtenTensorHandle x_, AtenTensorHandle matrices,
                       AtenTensorHandle centers_, AtenTensorHandle *made_x,
                       AtenTensorHandle *made_m)
  {
    Rows<const Real> g, x, m;
    Rows<const int64_t> centers;
    Rows<Real> by_x, by_m;
    if (!read(g_, g) || !read(x_, x) || !read(matrices, m) || !read(centers_, centers) ||
        !make({x.count(), I, U}, made_x, by_x) || !make({m.count(), I, K, U}, made_m, by_m))
      return false;
    clear(by_m);
    return by_center(centers, m.count(), [&](int64_t c, int64_t first, int64_t last) {
      for (int64_t e = first; e < last; ++e) derive(g[e], x[e], m[c], by_x[e], by_m[c]);
    });
  }

 private:
  static void multiply(const Real *__restrict x, const Real *__restrict m, Real *__restrict out)
  {
    for (int k = 0; k < K; ++k) {
      Real sum[U] = {};
      for (int i = 0; i < I; ++i)
        for (int u = 0; u < U; ++u) sum[u] += x[i * U + u] * m[(i * K + k) * U + u];
      for (int u = 0; u < U; ++u) out[k * U + u] = sum[u];
    }
  }

  static void derive(const Real *__restrict g, const Real *__restrict x, const Real *__restrict m,
                     Real *__restrict by_x, Real *__restrict by_m)
  {
    for (int i = 0; i < I; ++i) {
      Real sum[U] = {};
      for (int k = 0; k < K; ++k)
        for (int u = 0; u < U; ++u) {
          sum[u] += g[k * U + u] * m[(i * K + k) * U + u];
          by_m[(i * K + k) * U + u] += x[i * U + u] * g[k * U + u];
        }
      for (int u = 0; u < U; ++u) by_x[i * U + u] = sum[u];
    }
  }
};

}    // namespace legato_edges
