"""Operators on the edges of deployed models on a CPU; ``cpu/shims.cpp`` computes them there.

Here they are made of torch's own operations: for tracing a model, and to compare with. Channels u
are the last dimension of all arrays.
"""

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

__all__ = [
    "SHIMS",
    "edge_bessel",
    "edge_channels",
    "edge_channels_sum",
    "edge_channels_sum_backward",
    "edge_fence",
    "edge_product",
    "edge_silu",
]


@custom_op("nequip_legato::edge_product", mutates_args=())
def edge_product(x: Tensor, m: Tensor, centers: Tensor) -> Tensor:
    """sum_i x_eiu m_c(e)iku, with its derivatives by ``x`` and ``m``.

    Args:
        x: (E, i, u), features of the edges.
        m: (n, i, k, u), matrices of the nodes.
        centers: (E,), the node of each edge.

    Returns:
        (E, k, u).
    """
    return torch.einsum("eiu,eiku->eku", x, m[centers]).contiguous()


@edge_product.register_fake
def _(x: Tensor, m: Tensor, centers: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], m.shape[2], m.shape[3])


@custom_op("nequip_legato::edge_product_backward", mutates_args=())
def _edge_product_backward(
    g: Tensor, x: Tensor, m: Tensor, centers: Tensor
) -> tuple[Tensor, Tensor]:
    by_x = torch.einsum("eku,eiku->eiu", g, m[centers]).contiguous()
    outer = torch.einsum("eiu,eku->eiku", x, g)
    return by_x, torch.zeros_like(m).index_add_(0, centers, outer)


@_edge_product_backward.register_fake
def _(g: Tensor, x: Tensor, m: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), m.new_empty(m.shape)


def _keep_product(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _product_gradients(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, None]:
    return *_edge_product_backward(g.contiguous(), *ctx.saved_tensors), None


edge_product.register_autograd(_product_gradients, setup_context=_keep_product)


def _repeated(w: Tensor, irreps: list[int]) -> Tensor:
    """Weights for each component: (E, u * r) -> (E, i, u)."""
    of_irreps = w.unflatten(1, (-1, len(irreps))).transpose(1, 2)
    return of_irreps.repeat_interleave(torch.tensor(irreps), dim=1)


@custom_op("nequip_legato::edge_channels", mutates_args=())
def edge_channels(y: Tensor, w: Tensor, irreps: list[int]) -> Tensor:
    """y_ei w_eur for the components i of each irrep r, with its derivatives.

    Args:
        y: (E, i), components of the edges.
        w: (E, u * r), weights.
        irreps: number of components of each irrep, in order.

    Returns:
        (E, i, u).
    """
    return (y.unsqueeze(2) * _repeated(w, irreps)).contiguous()


@edge_channels.register_fake
def _(y: Tensor, w: Tensor, irreps: list[int]) -> Tensor:
    return y.new_empty(y.shape[0], y.shape[1], w.shape[1] // len(irreps))


def _channels_gradients(
    g: Tensor, y: Tensor, w: Tensor, irreps: list[int]
) -> tuple[Tensor, Tensor]:
    by_y = (g * _repeated(w, irreps)).sum(2)
    parts = (g * y.unsqueeze(2)).split(irreps, dim=1)
    return by_y, torch.stack([part.sum(1) for part in parts], dim=2).flatten(1)


@custom_op("nequip_legato::edge_channels_backward", mutates_args=())
def _edge_channels_backward(
    g: Tensor, y: Tensor, w: Tensor, irreps: list[int]
) -> tuple[Tensor, Tensor]:
    return _channels_gradients(g, y, w, irreps)


@_edge_channels_backward.register_fake
def _(g: Tensor, y: Tensor, w: Tensor, irreps: list[int]) -> tuple[Tensor, Tensor]:
    return y.new_empty(y.shape), w.new_empty(w.shape)


def _keep_channels(ctx: Any, inputs: tuple[Tensor, Tensor, list[int]], output: Tensor) -> None:
    y, w, ctx.irreps = inputs
    ctx.save_for_backward(y, w)


def _channels_backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, None]:
    return *_edge_channels_backward(g.contiguous(), *ctx.saved_tensors, ctx.irreps), None


edge_channels.register_autograd(_channels_backward, setup_context=_keep_channels)


@custom_op("nequip_legato::edge_channels_sum", mutates_args=())
def edge_channels_sum(
    y: Tensor, w: Tensor, centers: Tensor, n_nodes: int, irreps: list[int]
) -> Tensor:
    """:func:`edge_channels` summed over the edges of each node: (n, i, u).

    Args:
        y: (E, i).
        w: (E, u * r).
        centers: (E,), the node of each edge.
        n_nodes: number of nodes n.
        irreps: number of components of each irrep, in order.
    """
    product = y.unsqueeze(2) * _repeated(w, irreps)
    return product.new_zeros(n_nodes, *product.shape[1:]).index_add_(0, centers, product)


@edge_channels_sum.register_fake
def _(y: Tensor, w: Tensor, centers: Tensor, n_nodes: int, irreps: list[int]) -> Tensor:
    return y.new_empty(n_nodes, y.shape[1], w.shape[1] // len(irreps))


@custom_op("nequip_legato::edge_channels_sum_backward", mutates_args=())
def edge_channels_sum_backward(
    g: Tensor, y: Tensor, w: Tensor, centers: Tensor, irreps: list[int]
) -> tuple[Tensor, Tensor]:
    """Derivatives of :func:`edge_channels_sum` by ``y`` (E, i) and ``w`` (E, u * r).

    Args:
        g: (n, i, u), derivative by the sums.
        y: (E, i).
        w: (E, u * r).
        centers: (E,), the node of each edge.
        irreps: number of components of each irrep, in order.
    """
    return _channels_gradients(g[centers], y, w, irreps)


@edge_channels_sum_backward.register_fake
def _(g: Tensor, y: Tensor, w: Tensor, centers: Tensor, irreps: list[int]) -> tuple[Tensor, Tensor]:
    return y.new_empty(y.shape), w.new_empty(w.shape)


@custom_op("nequip_legato::edge_silu", mutates_args=())
def edge_silu(x: Tensor) -> tuple[Tensor, Tensor]:
    """``x sigmoid(x)`` and its slope, which serves for its derivative: both (E, f) float32."""
    s = torch.sigmoid(x)
    return x * s, s * (1 + x * (1 - s))


@edge_silu.register_fake
def _(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape)


def _keep_slope(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1])


def _silu_gradient(ctx: Any, g: Tensor, _: Tensor) -> Tensor:
    (slope,) = ctx.saved_tensors
    return g * slope


edge_silu.register_autograd(_silu_gradient, setup_context=_keep_slope)


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0])


@custom_op("nequip_legato::edge_bessel", mutates_args=())
def edge_bessel(x: Tensor, count: int, dtype: torch.dtype) -> Tensor:
    """sin(n pi x) / (pi x) for n = 1, ..., ``count``, with its derivative.

    Args:
        x: (E, 1) float64, distances in units of the cutoff.
        count: number of functions.
        dtype: of the result.

    Returns:
        (E, count).
    """
    n = torch.arange(1, count + 1, dtype=x.dtype)
    return (torch.sinc(x * n) * n).to(dtype)


@edge_bessel.register_fake
def _(x: Tensor, count: int, dtype: torch.dtype) -> Tensor:
    return x.new_empty(x.shape[0], count, dtype=dtype)


@custom_op("nequip_legato::edge_bessel_backward", mutates_args=())
def _edge_bessel_backward(g: Tensor, x: Tensor) -> Tensor:
    n = torch.arange(1, g.shape[1] + 1, dtype=x.dtype)
    slope = torch.where(x == 0, 0.0, (n * torch.cos(torch.pi * n * x) - torch.sinc(x * n) * n) / x)
    return (g * slope).sum(1, keepdim=True)


@_edge_bessel_backward.register_fake
def _(g: Tensor, x: Tensor) -> Tensor:
    return x.new_empty(x.shape)


def _bessel_gradient(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
    return _edge_bessel_backward(g.contiguous(), *ctx.saved_tensors), None, None


edge_bessel.register_autograd(_bessel_gradient, setup_context=_keep)


@custom_op("nequip_legato::edge_fence", mutates_args=())
def edge_fence(squared: Tensor, pair: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """Energies of a fence, and their slopes, which serve for their derivatives: both (E,).

    As :class:`nequip_legato.fence.module.FenceProfile`.

    Args:
        squared: (E,) squared distances.
        pair: (E,) rows of the table.
        table: (T * T, 2 + 3 m): 1 / r0^2 and height of the wall, middle, inverse half width and
            height of each bump.
    """
    rows = table[pair]
    ratio = squared * rows[:, 0]
    depth = (1.0 - ratio).clamp(min=0.0)
    energy = rows[:, 1] * depth**3 * ratio.rsqrt()
    slope = -rows[:, 0] * rows[:, 1] * depth**2 * ratio.rsqrt() * (3.0 + 0.5 * depth / ratio)
    for k in range(2, table.shape[1], 3):
        z = (squared - rows[:, k]) * rows[:, k + 1]
        depth = (1.0 - z * z).clamp(min=0.0)
        energy = energy + rows[:, k + 2] * depth**3
        slope = slope - 6.0 * rows[:, k + 2] * depth**2 * z * rows[:, k + 1]
    return energy, slope


@edge_fence.register_fake
def _(squared: Tensor, pair: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    return squared.new_empty(squared.shape), squared.new_empty(squared.shape)


def _fence_gradient(ctx: Any, g: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
    (slope,) = ctx.saved_tensors
    return g * slope, None, None


edge_fence.register_autograd(_fence_gradient, setup_context=_keep_slope)


_IN, _OUT, _IRREPS = "AtenTensorHandle", "AtenTensorHandle*", "const int64_t*, int64_t"
_ARGUMENTS = {
    "edge_product": [_IN, _IN, _IN, _OUT],
    "edge_product_backward": [_IN, _IN, _IN, _IN, _OUT, _OUT],
    "edge_channels": [_IN, _IN, _IRREPS, _OUT],
    "edge_channels_backward": [_IN, _IN, _IN, _IRREPS, _OUT, _OUT],
    "edge_channels_sum": [_IN, _IN, _IN, "int64_t", _IRREPS, _OUT],
    "edge_channels_sum_backward": [_IN, _IN, _IN, _IN, _IRREPS, _OUT, _OUT],
    "edge_fence": [_IN, _IN, _IN, _OUT, _OUT],
    "edge_silu": [_IN, _OUT, _OUT],
    "edge_bessel": [_IN, "int64_t", "int32_t", _OUT],
    "edge_bessel_backward": [_IN, _IN, _OUT],
}
SHIMS = {
    getattr(torch.ops.nequip_legato, name).default: [
        f"AOTITorchError aoti_torch_cpu_{name}({', '.join(arguments)})"
    ]
    for name, arguments in _ARGUMENTS.items()
}
"""Each operator's C function in ``cpu/shims.cpp``, as AOTInductor declares it."""
