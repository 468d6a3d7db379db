// SPDX-License-Identifier: MIT
// silu(x) = x sigmoid(x), and its slope, in float32.
#pragma once

#include "rows.h"

#include <cstring>

namespace legato_edges {

template <typename To, typename From> inline To same_bits(From from)
{
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

// 2^x for |x| <= 100 within 2 units in the last place: Cephes' polynomial for exp2f.
inline float power_of_two(float x)
{
  const float shift = 12582912.0f;    // 1.5 * 2^23: the last bits of the sum are an integer
  const float shifted = x + shift, t = x - (shifted - shift);
  float p = 1.535336188319500e-4f;
  p = p * t + 1.339887440266574e-3f;
  p = p * t + 9.618437357674640e-3f;
  p = p * t + 5.550332471162809e-2f;
  p = p * t + 2.402264791363012e-1f;
  p = p * t + 6.931472028550421e-1f;
  p = p * t + 1.0f;
  const uint32_t exponent = same_bits<uint32_t>(shifted) << 23;
  return same_bits<float>(same_bits<uint32_t>(p) + exponent);
}

// 1 / x for x from 1 to 1e27 without a division: a guess from the bits, which is off by 12 % at
// most, and two steps by which that becomes its third power.
inline float reciprocal(float x)
{
  const float guess = same_bits<float>(0x7ef311c7 - same_bits<int32_t>(x));
  const float off = 1.0f - x * guess;
  const float better = guess + guess * (off + off * off);
  const float rest = 1.0f - x * better;
  return better + better * (rest + rest * rest);
}

inline float sigmoid(float x)
{
  // Beyond, it is less than 1e-26, and its products would become denormal, which is slow.
  const int32_t limit = same_bits<int32_t>(60.0f), sign = INT32_MIN;
  const int32_t bits = same_bits<int32_t>(x);
  const int32_t size = (bits & ~sign) < limit ? (bits & ~sign) : limit;
  return reciprocal(1.0f + power_of_two(-1.44269504f * same_bits<float>(size | (bits & sign))));
}

inline bool silu(AtenTensorHandle x_, AtenTensorHandle *made, AtenTensorHandle *made_slope)
{
  Rows<const float> x;
  Rows<float> out, slope;
  if (!read(x_, x) || x.stride != x.sizes[1] || !make({x.count(), x.sizes[1]}, made, out) ||
      !make({x.count(), x.sizes[1]}, made_slope, slope))
    return false;
  const float *__restrict from = x.data;
  float *__restrict to = out.data, *__restrict by_x = slope.data;
#pragma omp simd
  for (int64_t n = 0; n < x.count() * x.stride; ++n) {
    const float s = sigmoid(from[n]), y = from[n] * s;    // a NaN stays
    to[n] = y;
    by_x[n] = s + y * (1.0f - s);
  }
  return true;
}

}    // namespace legato_edges
