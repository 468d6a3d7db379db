// SPDX-License-Identifier: MIT
// Arrays of AOTInductor's tensors as rows of numbers that lie side by side.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <type_traits>

namespace legato_edges {

constexpr int kMostDimensions = 4;

// Along the first dimension; the others lie side by side.
template <typename Number> struct Rows {
  Number *data = nullptr;
  int64_t sizes[kMostDimensions] = {};
  int64_t stride = 0;

  int64_t count() const { return sizes[0]; }
  Number *operator[](int64_t row) const { return data + row * stride; }
};

template <typename Number> int32_t type_of()
{
  using Plain = std::remove_const_t<Number>;
  if (std::is_same_v<Plain, int64_t>) return aoti_torch_dtype_int64();
  return std::is_same_v<Plain, float> ? aoti_torch_dtype_float32() : aoti_torch_dtype_float64();
}

// False if these are other numbers, or if those of a row do not lie side by side.
template <typename Number> bool read(AtenTensorHandle tensor, Rows<Number> &rows)
{
  int32_t type = 0;
  int64_t n_dimensions = 0, *sizes = nullptr, *strides = nullptr;
  void *data = nullptr;
  if (aoti_torch_get_dtype(tensor, &type) || aoti_torch_get_dim(tensor, &n_dimensions) ||
      aoti_torch_get_sizes(tensor, &sizes) || aoti_torch_get_strides(tensor, &strides) ||
      aoti_torch_get_data_ptr(tensor, &data))
    return false;
  if (type != type_of<Number>() || n_dimensions < 1 || n_dimensions > kMostDimensions) return false;
  int64_t length = 1;
  for (int64_t d = n_dimensions - 1; d > 0; --d) {
    if (sizes[d] != 1 && strides[d] != length) return false;
    length *= sizes[d];
  }
  rows.data = static_cast<Number *>(data);
  rows.stride = strides[0];
  std::copy(sizes, sizes + n_dimensions, rows.sizes);
  return true;
}

template <typename Number>
bool make(std::initializer_list<int64_t> sizes, AtenTensorHandle *made, Rows<Number> &rows)
{
  const auto n_dimensions = static_cast<int64_t>(sizes.size());
  int64_t strides[kMostDimensions], length = 1;
  for (int64_t d = n_dimensions - 1; d >= 0; --d) {
    strides[d] = length;
    length *= sizes.begin()[d];
  }
  return !aoti_torch_empty_strided(n_dimensions, sizes.begin(), strides, type_of<Number>(),
                                   aoti_torch_device_type_cpu(), 0, made) &&
         read(*made, rows);
}

template <typename Number> void clear(const Rows<Number> &rows)
{
  std::fill_n(rows.data, rows.count() * rows.stride, Number(0));
}

// Calls work(center, first, last) for all edges that lie side by side and have the same center.
// False if there is no such node.
template <typename Work>
bool by_center(const Rows<const int64_t> &centers, int64_t n_nodes, const Work &work)
{
  for (int64_t first = 0, last; first < centers.count(); first = last) {
    const int64_t center = *centers[first];
    last = first + 1;
    while (last < centers.count() && *centers[last] == center) ++last;
    if (center < 0 || center >= n_nodes) return false;
    work(center, first, last);
  }
  return true;
}

}    // namespace legato_edges
