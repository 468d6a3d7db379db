"""Small networks on edges in one pass; hidden layers are never written to memory."""

from typing import Any

import torch
import triton
import triton.language as tl
from torch.library import triton_op

from nequip_legato.kernels.launch import launch, power_of_two

__all__ = ["edge_network"]

_ROWS = [
    triton.Config({"ROWS": 128}, num_warps=8, num_stages=1),
    triton.Config({"ROWS": 64}, num_warps=4, num_stages=1),
]


@triton.jit
def _network_kernel(
    x,
    w1,
    w2,
    y,
    n_edges,
    K: tl.constexpr,
    H: tl.constexpr,
    O: tl.constexpr,
    KC: tl.constexpr,
    HC: tl.constexpr,
    OA: tl.constexpr,
    OB: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
):
    row = (tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS))[:, None]
    here = row < n_edges
    oa = tl.arange(0, OA)[None, :]
    ya = tl.zeros([ROWS, OA], dtype=tl.float32)
    if OB > 0:
        ob = OA + tl.arange(0, OB)[None, :]
        yb = tl.zeros([ROWS, OB], dtype=tl.float32)
    for h0 in range(0, H, HC):
        z = tl.zeros([ROWS, HC], dtype=tl.float32)
        h = h0 + tl.arange(0, HC)[None, :]
        for k0 in range(0, K, KC):
            k = k0 + tl.arange(0, KC)[None, :]
            a = tl.load(x + row * K + k, mask=here & (k < K), other=0.0)
            k = k0 + tl.arange(0, KC)[:, None]
            w = tl.load(w1 + k * H + h, mask=(k < K) & (h < H), other=0.0)
            z = tl.dot(a, w, z, input_precision=PRECISION)
        z = z * tl.sigmoid(z)
        h = h0 + tl.arange(0, HC)[:, None]
        w = tl.load(w2 + h * O + oa, mask=(h < H) & (oa < O), other=0.0)
        ya = tl.dot(z, w, ya, input_precision=PRECISION)
        if OB > 0:
            w = tl.load(w2 + h * O + ob, mask=(h < H) & (ob < O), other=0.0)
            yb = tl.dot(z, w, yb, input_precision=PRECISION)
    tl.store(y + row * O + oa, ya, mask=here & (oa < O))
    if OB > 0:
        tl.store(y + row * O + ob, yb, mask=here & (ob < O))


@triton.jit
def _network_backward_kernel(
    x,
    gy,
    w1,
    w2,
    gx,
    n_edges,
    K: tl.constexpr,
    H: tl.constexpr,
    O: tl.constexpr,
    KC: tl.constexpr,
    HC: tl.constexpr,
    OC: tl.constexpr,
    KA: tl.constexpr,
    KB: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
):
    row = (tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS))[:, None]
    here = row < n_edges
    ka = tl.arange(0, KA)[None, :]
    ga = tl.zeros([ROWS, KA], dtype=tl.float32)
    if KB > 0:
        kb = KA + tl.arange(0, KB)[None, :]
        gb = tl.zeros([ROWS, KB], dtype=tl.float32)
    for h0 in range(0, H, HC):
        h = h0 + tl.arange(0, HC)[None, :]
        z = tl.zeros([ROWS, HC], dtype=tl.float32)
        for k0 in range(0, K, KC):
            k = k0 + tl.arange(0, KC)[None, :]
            a = tl.load(x + row * K + k, mask=here & (k < K), other=0.0)
            k = k0 + tl.arange(0, KC)[:, None]
            w = tl.load(w1 + k * H + h, mask=(k < K) & (h < H), other=0.0)
            z = tl.dot(a, w, z, input_precision=PRECISION)
        gz = tl.zeros([ROWS, HC], dtype=tl.float32)
        for o0 in range(0, O, OC):
            o = o0 + tl.arange(0, OC)[None, :]
            b = tl.load(gy + row * O + o, mask=here & (o < O), other=0.0)
            o = o0 + tl.arange(0, OC)[:, None]
            w = tl.load(w2 + h * O + o, mask=(h < H) & (o < O), other=0.0)
            gz = tl.dot(b, w, gz, input_precision=PRECISION)
        s = tl.sigmoid(z)
        gz = gz * s * (1 + z * (1 - s))
        h = h0 + tl.arange(0, HC)[:, None]
        w = tl.load(w1 + ka * H + h, mask=(ka < K) & (h < H), other=0.0)
        ga = tl.dot(gz, w, ga, input_precision=PRECISION)
        if KB > 0:
            w = tl.load(w1 + kb * H + h, mask=(kb < K) & (h < H), other=0.0)
            gb = tl.dot(gz, w, gb, input_precision=PRECISION)
    tl.store(gx + row * K + ka, ga, mask=here & (ka < K))
    if KB > 0:
        tl.store(gx + row * K + kb, gb, mask=here & (kb < K))


def _rows_grid(n_edges: Any) -> Any:
    return lambda meta: (triton.cdiv(n_edges, meta["ROWS"]),)


def _split(width: int) -> tuple[int, int]:
    """A width as two powers of two, with little padding."""
    whole = max(16, power_of_two(width))
    half = whole // 2
    rest = max(16, power_of_two(width - half)) if width > half else 0
    return (half, rest) if half >= 16 and half + rest < whole else (whole, 0)


def _chunk(width: int) -> int:
    return 16 if 0 < width % 32 <= 16 else 32


def _sizes(k: int, h: int, o: int) -> dict[str, int]:
    # a part of the hidden layer at a time, so that everything stays in registers
    most = 64 if max(k, o) <= 96 else 32
    return {"K": k, "H": h, "O": o, "KC": _chunk(k), "HC": min(most, max(16, power_of_two(h)))}


@triton_op("nequip_legato::network", mutates_args={})
def _network(x: torch.Tensor, w1: torch.Tensor, w2: torch.Tensor, precision: str) -> torch.Tensor:
    x, w1, w2 = x.contiguous(), w1.contiguous(), w2.contiguous()
    y = torch.empty(x.shape[0], w2.shape[1], dtype=x.dtype, device=x.device)
    n_edges, (k, h), o = x.shape[0], w1.shape, w2.shape[1]
    oa, ob = _split(o)
    sizes = _sizes(k, h, o) | {"OA": oa, "OB": ob, "PRECISION": precision}
    launch(_network_kernel, _rows_grid(n_edges), _ROWS, x, w1, w2, y, n_edges, **sizes)
    return y


@triton_op("nequip_legato::network_backward", mutates_args={})
def _network_backward(
    gy: torch.Tensor, x: torch.Tensor, w1: torch.Tensor, w2: torch.Tensor, precision: str
) -> torch.Tensor:
    gy, x, w1, w2 = gy.contiguous(), x.contiguous(), w1.contiguous(), w2.contiguous()
    gx = torch.empty_like(x)
    n_edges, (k, h), o = x.shape[0], w1.shape, w2.shape[1]
    ka, kb = _split(k)
    sizes = _sizes(k, h, o) | {"OC": _chunk(o), "KA": ka, "KB": kb, "PRECISION": precision}
    launch(
        _network_backward_kernel, _rows_grid(n_edges), _ROWS, x, gy, w1, w2, gx, n_edges, **sizes
    )
    return gx


class _EdgeNetwork(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any, w1: Any, w2: Any, precision: Any) -> Any:
        ctx.save_for_backward(x, w1, w2)
        ctx.precision = precision
        return _network(x, w1, w2, precision)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        x, w1, w2 = ctx.saved_tensors
        return _network_backward(gradients[0], x, w1, w2, ctx.precision), None, None, None


def edge_network(
    x: torch.Tensor, w1: torch.Tensor, w2: torch.Tensor, precision: str = "tf32x3"
) -> torch.Tensor:
    """silu(x w1) w2 in one pass, with its derivative by x; the hidden layer is never written.

    Args:
        x: (E, k) float32.
        w1: (k, h).
        w2: (h, o).
        precision: of the products, as in ``tl.dot``: ``tf32x3`` (three products of TF32 numbers,
            as accurate as float32), ``ieee``, or ``tf32`` (three digits).

    Returns:
        (E, o).
    """
    result: torch.Tensor = _EdgeNetwork.apply(x, w1, w2, precision)
    return result
