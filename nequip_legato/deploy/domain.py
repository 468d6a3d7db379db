"""The domain of a model: what training has seen."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from nequip_legato.trained.frames import Frame

__all__ = ["Domain", "domain_of"]


@dataclass(frozen=True)
class Domain:
    """What a model has seen in training.

    Attributes:
        shortest_distance: (T, T) shortest distance of each pair of types, Angstrom; inf if never
            seen within the cutoff.
        largest_force: largest norm of a force label, eV/A; nan without labels.
        n_frames: number of frames that the domain was taken from.
    """

    shortest_distance: torch.Tensor
    largest_force: float
    n_frames: int


def domain_of(frames: Iterable[Frame], *, num_types: int) -> Domain:
    """The domain of frames; ``num_types`` is the number of the model's types."""
    shortest = torch.full((num_types * num_types,), float("inf"), dtype=torch.float64)
    largest, n_frames = float("nan"), 0
    for frame in frames:
        n_frames += 1
        center, neighbor = frame.edge_index
        pair = frame.types[center] * num_types + frame.types[neighbor]
        shortest.scatter_reduce_(0, pair, frame.edge_vectors().norm(dim=1), "amin")
        if frame.forces is not None:
            norms = frame.forces.norm(dim=1)
            norms = norms[~norms.isnan()]  # NaN stands for no label
            if len(norms) > 0:
                norm = float(norms.max())
                largest = norm if not norm <= largest else largest
    shortest = shortest.view(num_types, num_types)
    return Domain(torch.minimum(shortest, shortest.T), largest, n_frames)
