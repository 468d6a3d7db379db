// SPDX-License-Identifier: MIT
// Bessel functions of the lengths of edges (Klicpera et al., ICLR 2020, equation 7).
#pragma once

#include "rows.h"

#include <cmath>

namespace legato_edges {

constexpr double kPi = 3.14159265358979323846;

// sin(pi x) and cos(pi x) by their Taylor series at the nearest integer.
inline void sine_and_cosine(double x, double &sine, double &cosine)
{
  const double n = std::floor(x + 0.5);
  const double t = kPi * (x - n), t2 = t * t;
  const double odd = n - 2.0 * std::floor(0.5 * n), sign = 1.0 - 2.0 * odd;
  double s = 1.0, c = 1.0;
  for (int k = 19; k > 1; k -= 2) s = 1.0 - s * t2 / (k * (k - 1));
  for (int k = 20; k > 0; k -= 2) c = 1.0 - c * t2 / (k * (k - 1));
  sine = sign * s * t;
  cosine = sign * c;
}

// sin(n pi x) / (pi x) for n = 1, ..., N; by a recurrence, for some edges at a time.
template <typename Real, int N> struct Bessel {
  static bool forward(AtenTensorHandle x_, AtenTensorHandle *made)
  {
    Rows<const double> x;
    Rows<Real> out;
    if (!read(x_, x) || x.stride != 1 || !make({x.count(), N}, made, out)) return false;
    for (int64_t first = 0; first < x.count(); first += kSome) {
      const Bessel at(x, first);
      for (int e = 0; e < at.count_; ++e)
        for (int n = 0; n < N; ++n) out[first + e][n] = static_cast<Real>(at.values_[n][e]);
    }
    return true;
  }

  // d/dx sin(n pi x) / (pi x) = (n cos(n pi x) - sin(n pi x) / (pi x)) / x
  static bool backward(AtenTensorHandle g_, AtenTensorHandle x_, AtenTensorHandle *made)
  {
    Rows<const Real> g;
    Rows<const double> x;
    Rows<double> out;
    if (!read(g_, g) || !read(x_, x) || x.stride != 1 || !make({x.count(), 1}, made, out))
      return false;
    for (int64_t first = 0; first < x.count(); first += kSome) {
      const Bessel at(x, first);
      double by_value[N][kSome] = {}, sum[kSome] = {};
      for (int e = 0; e < at.count_; ++e)
        for (int n = 0; n < N; ++n) by_value[n][e] = g[first + e][n];
      for (int n = 0; n < N; ++n)
#pragma omp simd
        for (int e = 0; e < kSome; ++e)
          sum[e] += by_value[n][e] * ((n + 1) * at.cosines_[n][e] - at.values_[n][e]);
      for (int e = 0; e < at.count_; ++e)
        out[first + e][0] = at.x_[e] == 0.0 ? 0.0 : sum[e] / at.x_[e];
    }
    return true;
  }

 private:
  static constexpr int kSome = 16;
  int count_;
  double x_[kSome] = {}, values_[N][kSome], cosines_[N][kSome];

  Bessel(const Rows<const double> &x, int64_t first) :
      count_(static_cast<int>(std::min<int64_t>(kSome, x.count() - first)))
  {
    std::copy_n(x[first], count_, x_);
#pragma omp simd
    for (int e = 0; e < kSome; ++e) {
      double sine, cosine;
      sine_and_cosine(x_[e], sine, cosine);
      double value = x_[e] == 0.0 ? 1.0 : sine / (kPi * x_[e]), value_before = 0.0;
      double cosine_n = cosine, cosine_before = 1.0;
      for (int n = 0; n < N; ++n) {
        values_[n][e] = value;
        cosines_[n][e] = cosine_n;
        const double next = 2.0 * cosine * value - value_before;
        const double cosine_next = 2.0 * cosine * cosine_n - cosine_before;
        value_before = value, value = next;
        cosine_before = cosine_n, cosine_n = cosine_next;
      }
    }
  }
};

}    // namespace legato_edges
