"""Sums over the edges of each center, and products with a matrix of each center.

Edges are sorted by center, as the C++ core and the Kokkos style list them. So each Triton program
takes one center, sums over its edges in registers and writes the sum once: without atomic
additions, and always in the same order.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch.library import triton_op

from nequip_legato.kernels.launch import launch, power_of_two

__all__ = ["center_product", "center_starts", "sum_over_edges"]

# Elements of a program's largest tile: 16 for each of 128 threads.
_ELEMENTS = 2048


@triton.jit
def _starts_kernel(centers, starts, n_edges, n_nodes, STEPS: tl.constexpr, BLOCK: tl.constexpr):
    """First edge of each center by bisection."""
    node = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    low = tl.zeros([BLOCK], dtype=tl.int64)
    high = low + n_edges
    for _ in range(STEPS):
        middle = (low + high) // 2
        unknown = low < high
        before = tl.load(centers + middle, mask=unknown, other=0) < node
        low = tl.where(unknown & before, middle + 1, low)
        high = tl.where(unknown & (before == 0), middle, high)
    tl.store(starts + node, low, mask=node <= n_nodes)


@triton.jit
def _product_kernel(
    x,
    matrix,
    starts,
    out,
    U: tl.constexpr,
    I: tl.constexpr,
    K: tl.constexpr,
    BE: tl.constexpr,
    BU: tl.constexpr,
    BI: tl.constexpr,
    BK: tl.constexpr,
):
    center = tl.program_id(0).to(tl.int64)
    e = tl.arange(0, BE)[:, None, None]
    u = (tl.program_id(1) * BU + tl.arange(0, BU))[None, :, None]
    i = tl.arange(0, BI)[None, None, :]
    k = tl.arange(0, BK)[None, None, :]
    first = tl.load(starts + center)
    last = tl.load(starts + center + 1)
    um = (tl.program_id(1) * BU + tl.arange(0, BU))[:, None, None]
    im = tl.arange(0, BI)[None, :, None]
    where = ((center * U + um) * I + im) * K + k
    m = tl.load(matrix + where, mask=(um < U) & (im < I) & (k < K), other=0.0)
    for edge in range(first, last, BE):
        ours = (edge + e < last) & (u < U)
        a = tl.load(x + ((edge + e) * U + u) * I + i, mask=ours & (i < I), other=0.0)
        b = tl.sum(a[:, :, :, None] * m[None, :, :, :], axis=2)
        tl.store(out + ((edge + e) * U + u) * K + k, b, mask=ours & (k < K))


@triton.jit
def _product_backward_kernel(
    g,
    x,
    matrix,
    starts,
    by_x,
    by_matrix,
    U: tl.constexpr,
    I: tl.constexpr,
    K: tl.constexpr,
    BE: tl.constexpr,
    BU: tl.constexpr,
    BI: tl.constexpr,
    BK: tl.constexpr,
):
    center = tl.program_id(0).to(tl.int64)
    e = tl.arange(0, BE)[:, None, None]
    u = (tl.program_id(1) * BU + tl.arange(0, BU))[None, :, None]
    i = tl.arange(0, BI)[None, None, :]
    k = tl.arange(0, BK)[None, None, :]
    first = tl.load(starts + center)
    last = tl.load(starts + center + 1)
    um = (tl.program_id(1) * BU + tl.arange(0, BU))[:, None, None]
    im = tl.arange(0, BI)[None, :, None]
    where = ((center * U + um) * I + im) * K + k
    there = (um < U) & (im < I) & (k < K)
    m = tl.load(matrix + where, mask=there, other=0.0)
    total = tl.zeros([BE, BU, BI, BK], dtype=tl.float32)
    for edge in range(first, last, BE):
        ours = (edge + e < last) & (u < U)
        a = tl.load(x + ((edge + e) * U + u) * I + i, mask=ours & (i < I), other=0.0)
        b = tl.load(g + ((edge + e) * U + u) * K + k, mask=ours & (k < K), other=0.0)
        total += a[:, :, :, None] * b[:, :, None, :]
        a = tl.sum(b[:, :, None, :] * m[None, :, :, :], axis=3)
        tl.store(by_x + ((edge + e) * U + u) * I + i, a, mask=ours & (i < I))
    tl.store(by_matrix + where, tl.sum(total, axis=0), mask=there)


@triton.jit
def _sum_kernel(x, starts, out, F: tl.constexpr, BE: tl.constexpr, BF: tl.constexpr):
    center = tl.program_id(0).to(tl.int64)
    e = tl.arange(0, BE)[:, None]
    f = tl.program_id(1) * BF + tl.arange(0, BF)
    first = tl.load(starts + center)
    last = tl.load(starts + center + 1)
    total = tl.zeros([BE, BF], dtype=tl.float32)
    for edge in range(first, last, BE):
        ours = (edge + e < last) & (f < F)[None, :]
        total += tl.load(x + (edge + e) * F + f[None, :], mask=ours, other=0.0)
    tl.store(out + center * F + f, tl.sum(total, axis=0), mask=f < F)


@triton_op("nequip_legato::center_starts", mutates_args={})
def center_starts(centers: torch.Tensor, n_nodes: int) -> torch.Tensor:
    """First edge of each node, and the number of edges at the end.

    Args:
        centers: (E,) int64, ascending.
        n_nodes: number of nodes n.

    Returns:
        (n + 1,) int64.
    """
    starts = torch.empty(n_nodes + 1, dtype=torch.int64, device=centers.device)

    def grid(meta: Any) -> tuple[int, ...]:
        return (triton.cdiv(n_nodes + 1, meta["BLOCK"]),)

    one = [triton.Config({"BLOCK": 128}, num_warps=4)]
    launch(_starts_kernel, grid, one, centers, starts, centers.shape[0], n_nodes, STEPS=40)
    return starts


def _tile(u: int, i: int, k: int) -> dict[str, int]:
    bi, bk = power_of_two(i), power_of_two(k)
    return {"BU": max(1, min(power_of_two(u), _ELEMENTS // (bi * bk))), "BI": bi, "BK": bk}


def _by_center(tile: dict[str, int]) -> list[Any]:
    """Configurations of a kernel that reads the edges of a center, a few at a time."""
    elements = tile["BU"] * tile["BI"] * tile["BK"]
    return [
        triton.Config({"BE": edges}, num_warps=warps)
        for edges, warps in ((4, 1), (4, 4), (1, 4), (1, 1), (16, 4))
        if 32 * warps <= edges * elements <= (2048 if edges == 1 else 1024) * warps
    ] or [triton.Config({"BE": 1}, num_warps=1)]


@triton_op("nequip_legato::apply_matrices", mutates_args={})
def apply_matrices(x: torch.Tensor, matrix: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    """sum_i x_eui m_cuik for the edges e of each node c.

    Args:
        x: (E, u, i) float32.
        matrix: (n, u, i, k).
        starts: (n + 1,) of :func:`center_starts`.

    Returns:
        (E, u, k).
    """
    x, matrix = x.contiguous(), matrix.contiguous()
    n, u, i, k = matrix.shape
    out = torch.empty(x.shape[0], u, k, dtype=x.dtype, device=x.device)
    tile = _tile(u, i, k)

    def grid(meta: Any) -> tuple[int, ...]:
        return (n, triton.cdiv(u, meta["BU"]))

    launch(_product_kernel, grid, _by_center(tile), x, matrix, starts, out, U=u, I=i, K=k, **tile)
    return out


@triton_op("nequip_legato::apply_matrices_backward", mutates_args={})
def apply_matrices_backward(
    g: torch.Tensor, x: torch.Tensor, matrix: torch.Tensor, starts: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Derivatives of :func:`apply_matrices`, in one pass over the edges.

    Args:
        g: (E, u, k) float32, derivative by the result.
        x: (E, u, i).
        matrix: (n, u, i, k).
        starts: (n + 1,) of :func:`center_starts`.

    Returns:
        (E, u, i) by ``x``, sum_k g_euk m_cuik, and (n, u, i, k) by ``matrix``, sum_e x_eui g_euk.
    """
    g, x, matrix = g.contiguous(), x.contiguous(), matrix.contiguous()
    n, u, i, k = matrix.shape
    by_x, by_matrix = torch.empty_like(x), torch.empty_like(matrix)
    tile = _tile(u, i, k)

    def grid(meta: Any) -> tuple[int, ...]:
        return (n, triton.cdiv(u, meta["BU"]))

    tensors = (g, x, matrix, starts, by_x, by_matrix)
    launch(_product_backward_kernel, grid, _by_center(tile), *tensors, U=u, I=i, K=k, **tile)
    return by_x, by_matrix


class _CenterProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any, matrix: Any, starts: Any) -> Any:
        ctx.save_for_backward(x, matrix, starts)
        return apply_matrices(x, matrix, starts)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        x, matrix, starts = ctx.saved_tensors
        return *apply_matrices_backward(gradients[0], x, matrix, starts), None


def center_product(x: torch.Tensor, matrix: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    """sum_i x_eui m_c(e)uik, with its derivatives.

    Args:
        x: (E, u, i) float32, features of the edges.
        matrix: (n, u, i, k), of their centers.
        starts: (n + 1,) of :func:`center_starts`.

    Returns:
        (E, u, k).
    """
    result: torch.Tensor = _CenterProduct.apply(x, matrix, starts)
    return result


@triton_op("nequip_legato::sum_over_edges", mutates_args={})
def sum_over_edges(x: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    """Sum over the edges of each node.

    Args:
        x: (E, f) float32.
        starts: (n + 1,) of :func:`center_starts`.

    Returns:
        (n, f).
    """
    x = x.contiguous()
    n, f = starts.shape[0] - 1, x.shape[1]
    out = torch.empty(n, f, dtype=x.dtype, device=x.device)
    bf = min(power_of_two(f), 128)

    def grid(meta: Any) -> tuple[int, ...]:
        return (n, triton.cdiv(f, meta["BF"]))

    configs = _by_center({"BU": 1, "BI": bf, "BK": 1})
    launch(_sum_kernel, grid, configs, x, starts, out, F=f, BF=bf)
    return out
