"""Means and standard errors of correlated series, by block averages."""

from dataclasses import dataclass

import numpy as np

__all__ = ["BLOCKS", "Mean", "block_edges", "block_means", "mean_of"]

BLOCKS = 10  # of a run


@dataclass(frozen=True)
class Mean:
    """A mean with its standard error, which is NaN for fewer than two blocks."""

    value: float
    error: float

    def __sub__(self, other: "Mean") -> "Mean":
        return Mean(self.value - other.value, float(np.hypot(self.error, other.error)))

    def scaled(self, factor: float) -> "Mean":
        """The mean times a factor, as for another unit."""
        return Mean(self.value * factor, abs(self.error * factor))


def block_edges(frames: int, blocks: int = BLOCKS) -> np.ndarray:
    """First frame of each block, and the end: (blocks + 1,). Fewer blocks if frames are few."""
    return np.linspace(0, frames, min(blocks, max(frames, 1)) + 1).round().astype(int)


def block_means(series: np.ndarray, blocks: int = BLOCKS) -> np.ndarray:
    """Means over successive parts of a series: (frames, ...) -> (blocks, ...)."""
    edges = block_edges(len(series), blocks)
    return np.add.reduceat(series, edges[:-1], axis=0) / np.diff(edges).reshape(
        -1, *[1] * (series.ndim - 1)
    )


def mean_of(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error over blocks that are taken as independent.

    After Flyvbjerg and Petersen, J. Chem. Phys. 91, 461 (1989), doi:10.1063/1.457480.

    Args:
        blocks: (blocks, ...).

    Returns:
        Mean and standard error, both without the first dimension.
    """
    mean = blocks.mean(axis=0)
    if len(blocks) < 2:
        return mean, np.full_like(mean, np.nan)
    return mean, blocks.std(axis=0, ddof=1) / np.sqrt(len(blocks))
