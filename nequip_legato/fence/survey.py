"""Which distances occur in the training frames, for each pair of types."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from nequip_legato.trained.frames import Frame

__all__ = ["Survey", "Visited"]

_BIN = 0.01  # Angstrom; the ends of gaps are exact all the same


@dataclass(frozen=True)
class Visited:
    """Intervals of distances of one pair of types in ascending order, with gaps between them.

    Attributes:
        lowest: (m,) shortest distance of each interval, Angstrom.
        highest: (m,) longest distance of each interval, Angstrom.
        pairs: (m,) number of pairs of atoms seen.
        force: (m,) largest force on an atom of such a pair, eV/Angstrom; nan without labels.
    """

    lowest: torch.Tensor
    highest: torch.Tensor
    pairs: torch.Tensor
    force: torch.Tensor


class Survey:
    """A histogram over distances per (center type, neighbor type), filled frame by frame.

    Args:
        cutoffs: (T, T) cutoff of each (center type, neighbor type), Angstrom; longer distances are
            no edges and do not count.

    Attributes:
        n_frames: number of frames seen.
    """

    def __init__(self, cutoffs: torch.Tensor) -> None:
        self.cutoffs = cutoffs
        self.n_frames = 0
        n_types = len(cutoffs)
        self._n_bins = int(float(cutoffs.max()) / _BIN) + 1
        size = n_types * n_types * self._n_bins
        self._count = torch.zeros(size, dtype=torch.int64)
        self._low = torch.full((size,), float("inf"), dtype=torch.float64)
        self._high = torch.full((size,), -float("inf"), dtype=torch.float64)
        self._force = torch.full((size,), float("-inf"), dtype=torch.float64)

    def add(self, frame: "Frame") -> None:
        """Count the distances of one frame."""
        self.n_frames += 1
        center, neighbor = frame.edge_index
        pair = frame.types[center] * len(self.cutoffs) + frame.types[neighbor]
        distance = frame.edge_vectors().norm(dim=1)
        within = distance < self.cutoffs.view(-1)[pair]
        center, pair, distance = center[within], pair[within], distance[within]
        place = pair * self._n_bins + (distance / _BIN).long()
        self._count.index_add_(0, place, torch.ones_like(place))
        self._low.scatter_reduce_(0, place, distance, "amin")
        self._high.scatter_reduce_(0, place, distance, "amax")
        if frame.forces is not None:
            force = frame.forces.norm(dim=1)[center]
            self._force.scatter_reduce_(0, place, force, "amax")

    def watching(self, frames: Iterable["Frame"]) -> Iterator["Frame"]:
        """The same frames, each counted as it passes."""
        for frame in frames:
            self.add(frame)
            yield frame

    def visited(self, first: int, second: int) -> Visited:
        """What was seen of a pair of types, whichever of the two was the center."""
        n_types = len(self.cutoffs)
        both = [self._of(first * n_types + second), self._of(second * n_types + first)]
        count = torch.maximum(both[0][0], both[1][0])  # one direction may have a shorter cutoff
        if first == second:
            count = (count + 1) // 2  # each pair is two edges
        low = torch.minimum(both[0][1], both[1][1])
        high = torch.maximum(both[0][2], both[1][2])
        force = torch.maximum(both[0][3], both[1][3])
        seen = count > 0
        force = torch.where(force == float("-inf"), torch.nan, force)
        return Visited(low[seen], high[seen], count[seen], force[seen])

    def _of(self, pair: int) -> list[torch.Tensor]:
        rows = slice(pair * self._n_bins, (pair + 1) * self._n_bins)
        return [x[rows] for x in (self._count, self._low, self._high, self._force)]
