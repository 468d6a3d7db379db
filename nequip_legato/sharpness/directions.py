"""Directions in weight space: random ones, the same for all models, and their norms."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["filter_normalized", "gaussian", "inner", "norm", "rademacher"]


def gaussian(parameters: Sequence[Tensor], *, seed: int, index: int) -> list[Tensor]:
    """Independent standard normal numbers in the shapes of the parameters.

    Models with the same shapes get the same numbers for the same ``seed`` and ``index``.
    """
    generator = _generator(seed, index)
    return [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in parameters]


def rademacher(parameters: Sequence[Tensor], *, seed: int, index: int) -> list[Tensor]:
    """Independent signs, +1 or -1, in the shapes of the parameters."""
    generator = _generator(seed, index)
    return [
        torch.randint(0, 2, p.shape, generator=generator).to(torch.float64) * 2 - 1
        for p in parameters
    ]


def _generator(seed: int, index: int) -> torch.Generator:
    # Seeds far apart, so that no two samples share random numbers.
    return torch.Generator().manual_seed((seed * 1_000_003 + index) * 2_654_435_761 % 2**63)


def filter_normalized(direction: Sequence[Tensor], parameters: Sequence[Tensor]) -> list[Tensor]:
    """Each row of the direction scaled to the norm of the same row of the weights.

    Li et al., NeurIPS 2018 (arXiv:1712.09913), sec. 4: d_ij <- d_ij ||w_ij|| / ||d_ij||; vectors
    and scalars count as one row.
    """
    scaled = []
    for d, w in zip(direction, parameters, strict=True):
        if d.ndim < 2:
            ratio = w.detach().norm() / d.norm().clamp_min(1e-300)
        else:
            rows = tuple(range(1, d.ndim))
            size = torch.linalg.vector_norm(w.detach(), dim=rows, keepdim=True)
            ratio = size / torch.linalg.vector_norm(d, dim=rows, keepdim=True).clamp_min(1e-300)
        scaled.append(d * ratio)
    return scaled


def inner(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    """Inner product of two directions taken as vectors."""
    return math.fsum((a * b).sum().item() for a, b in zip(first, second, strict=True))


def norm(direction: Sequence[Tensor]) -> float:
    """Euclidean norm of a direction taken as one vector."""
    return math.sqrt(inner(direction, direction))
