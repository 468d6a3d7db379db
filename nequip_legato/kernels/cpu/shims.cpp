// SPDX-License-Identifier: MIT
// What AOTInductor calls for the operators of nequip_legato/kernels/cpu_operators.py, which says
// what they compute.
//
// nequip_legato/deploy/cpu_library.py compiles this file for the sizes of one model and puts it
// into the model's library:
//   LEGATO_REAL      float or double
//   LEGATO_PRODUCTS  DO(channels, components before, components after) for each product
//   LEGATO_CHANNELS  DO(channels, components, irreps) for each kind of weighted channels
//   LEGATO_BESSELS   DO(functions) for each number of Bessel functions
//
// Channels are the last dimension of all arrays, so that loops over them use whole registers.
// Edges of one center should lie side by side; in another order it is slower.

#include "activation.h"
#include "channels.h"
#include "products.h"
#include "radial.h"
#include "walls_and_bumps.h"

using namespace legato_edges;

#define SHIM extern "C" __attribute__((visibility("hidden"))) AOTITorchError
#define RETURN(done) return (done) ? 0 : kFailed

namespace {
constexpr AOTITorchError kFailed = 1;
}

SHIM aoti_torch_cpu_edge_product(AtenTensorHandle x, AtenTensorHandle m, AtenTensorHandle centers,
                                 AtenTensorHandle *out)
{
#define DO(U, I, K)                                                                                \
  if (Product<LEGATO_REAL, U, I, K>::fits(m))                                                      \
    RETURN((Product<LEGATO_REAL, U, I, K>::forward(x, m, centers, out)));
  LEGATO_PRODUCTS
#undef DO
  return kFailed;
}

SHIM aoti_torch_cpu_edge_product_backward(AtenTensorHandle g, AtenTensorHandle x,
                                          AtenTensorHandle m, AtenTensorHandle centers,
                                          AtenTensorHandle *by_x, AtenTensorHandle *by_m)
{
#define DO(U, I, K)                                                                                \
  if (Product<LEGATO_REAL, U, I, K>::fits(m))                                                      \
    RETURN((Product<LEGATO_REAL, U, I, K>::backward(g, x, m, centers, by_x, by_m)));
  LEGATO_PRODUCTS
#undef DO
  return kFailed;
}

SHIM aoti_torch_cpu_edge_channels(AtenTensorHandle y, AtenTensorHandle w, const int64_t *irreps,
                                  int64_t n_irreps, AtenTensorHandle *out)
{
#define DO(U, I, R)                                                                                \
  if (Channels<LEGATO_REAL, U, I, R>::fits(y, w, n_irreps))                                        \
    RETURN((Channels<LEGATO_REAL, U, I, R>(irreps).forward(y, w, out)));
  LEGATO_CHANNELS
#undef DO
  return kFailed;
}

SHIM aoti_torch_cpu_edge_channels_sum(AtenTensorHandle y, AtenTensorHandle w,
                                      AtenTensorHandle centers, int64_t n_nodes,
                                      const int64_t *irreps, int64_t n_irreps,
                                      AtenTensorHandle *out)
{
#define DO(U, I, R)                                                                                \
  if (Channels<LEGATO_REAL, U, I, R>::fits(y, w, n_irreps))                                        \
    RETURN((Channels<LEGATO_REAL, U, I, R>(irreps).sum(y, w, centers, n_nodes, out)));
  LEGATO_CHANNELS
#undef DO
  return kFailed;
}

SHIM aoti_torch_cpu_edge_channels_sum_backward(AtenTensorHandle g, AtenTensorHandle y,
                                               AtenTensorHandle w, AtenTensorHandle centers,
                                               const int64_t *irreps, int64_t n_irreps,
                                               AtenTensorHandle *by_y, AtenTensorHandle *by_w)
{
#define DO(U, I, R)                                                                                \
  if (Channels<LEGATO_REAL, U, I, R>::fits(y, w, n_irreps))                                        \
    RETURN((Channels<LEGATO_REAL, U, I, R>(irreps).backward(g, y, w, centers, by_y, by_w)));
  LEGATO_CHANNELS
#undef DO
  return kFailed;
}

SHIM aoti_torch_cpu_edge_channels_backward(AtenTensorHandle g, AtenTensorHandle y,
                                           AtenTensorHandle w, const int64_t *irreps,
                                           int64_t n_irreps, AtenTensorHandle *by_y,
                                           AtenTensorHandle *by_w)
{
  return aoti_torch_cpu_edge_channels_sum_backward(g, y, w, nullptr, irreps, n_irreps, by_y, by_w);
}

SHIM aoti_torch_cpu_edge_silu(AtenTensorHandle x, AtenTensorHandle *out, AtenTensorHandle *slope)
{
  RETURN(silu(x, out, slope));
}

SHIM aoti_torch_cpu_edge_fence(AtenTensorHandle squared, AtenTensorHandle pair,
                               AtenTensorHandle table, AtenTensorHandle *energy,
                               AtenTensorHandle *slope)
{
  RETURN(fence<LEGATO_REAL>(squared, pair, table, energy, slope));
}

SHIM aoti_torch_cpu_edge_bessel(AtenTensorHandle x, int64_t count, int32_t /*dtype*/,
                                AtenTensorHandle *out)
{
#define DO(N)                                                                                      \
  if (count == (N)) RETURN((Bessel<LEGATO_REAL, N>::forward(x, out)));
  LEGATO_BESSELS
#undef DO
  return kFailed;
}

SHIM aoti_torch_cpu_edge_bessel_backward(AtenTensorHandle g, AtenTensorHandle x,
                                         AtenTensorHandle *out)
{
  Rows<const LEGATO_REAL> rows;
  if (!read(g, rows)) return kFailed;
#define DO(N)                                                                                      \
  if (rows.sizes[1] == (N)) RETURN((Bessel<LEGATO_REAL, N>::backward(g, x, out)));
  LEGATO_BESSELS
#undef DO
  return kFailed;
}
