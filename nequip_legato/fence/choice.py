"""Choosing a fence from the distances in the training frames."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from ase.units import kB

from nequip_legato.fence.profile import Fence, Gap, Wall
from nequip_legato.fence.settings import FenceSettings
from nequip_legato.fence.survey import Survey, Visited

__all__ = ["choose_fence"]

_CURVATURE = 4.8  # largest second derivative of (1 - z^2)^3
_DEEPEST = 0.5  # beyond, where 1 / r takes over, a wall gets stiffer again
_STEP = 0.005


def choose_fence(
    survey: Survey,
    settings: FenceSettings,
    *,
    type_names: Sequence[str],
    unlabeled_force: Callable[[], float],
) -> Fence:
    """Choose walls, and bumps if the settings ask for them.

    At (1 - p) r0 a wall has the energy ``barrier kB T`` (thermal motion) and repels at least with
    F, the largest force in training on atoms at such distances; p is the penetration, or more where
    the wall would be too stiff for the time step. The height of a bump is ``barrier kB T + F w``; w
    is half of its width, or the penetration times its middle if that is less. It is lower where the
    bump would be too stiff.

    Args:
        survey: of all training frames.
        settings: how to choose.
        type_names: the model's.
        unlabeled_force: gives F, eV/Angstrom, where training frames have no force labels.

    Returns:
        The fence, with notes on what it forbids and where data are missing.
    """
    walls: list[Wall] = []
    gaps: list[Gap] = []
    notes: list[str] = []
    for i, j in itertools.combinations_with_replacement(range(len(type_names)), 2):
        types = (type_names[i], type_names[j])
        visited = survey.visited(i, j)
        if len(visited.pairs) == 0:
            notes.append(
                f"{types[0]}-{types[1]} has no wall: no training frame has such a pair within the "
                "cutoff"
            )
            continue
        wall = _wall(types, visited, settings, unlabeled_force)
        walls.append(wall)
        if wall.pairs < settings.gap_pairs:
            notes.append(
                f"the wall of {types[0]}-{types[1]} rests on only {wall.pairs} pairs in training; "
                "it may stand where such pairs belong"
            )
        if settings.kind == "gaps":
            gaps += _gaps(types, visited, settings, unlabeled_force)
    notes += [_forbids(gap) for gap in gaps]
    if gaps:
        notes.append(
            "bumps in gaps are for systems that do not react: bonds of these types can neither "
            "break nor form"
        )
    elif settings.kind == "gaps":
        notes.append(
            f"no gap of the training distances leaves room for a bump of {settings.gap_width:g} A "
            f"with {settings.gap_pairs} pairs on either side; there are walls only"
        )
    return Fence(settings, survey.n_frames, tuple(walls), tuple(gaps), tuple(notes))


def _forbids(gap: Gap) -> str:
    return (
        f"a bump of {gap.height:.2g} eV forbids {gap.types[0]}-{gap.types[1]} between "
        f"{gap.begin:.3f} and {gap.end:.3f} A (no training frame has one between "
        f"{gap.seen[0]:.3f} and {gap.seen[1]:.3f} A)"
    )


def _wall(
    types: tuple[str, str],
    visited: Visited,
    settings: FenceSettings,
    unlabeled_force: Callable[[], float],
) -> Wall:
    shortest = float(visited.lowest[0])
    begin = (1.0 - settings.margin) * shortest
    force = _force(visited, shortest, shortest * (1.0 + settings.penetration), unlabeled_force)
    shape = Wall(types, shortest, begin, 1.0, force, int(visited.pairs.sum()))
    depth = settings.penetration
    wall = _strong_enough(shape, depth, settings)
    while wall.curvature((1.0 - depth) * begin) > settings.stiffness and depth < _DEEPEST:
        depth += _STEP
        wall = _strong_enough(shape, depth, settings)
    return wall


def _strong_enough(shape: Wall, depth: float, settings: FenceSettings) -> Wall:
    """The weakest wall that holds atoms back at the fraction ``depth`` below its beginning."""
    distance = (1.0 - depth) * shape.begin
    thermal = settings.barrier * kB * settings.temperature / shape.energy(distance)
    return replace(shape, strength=max(thermal, shape.force / shape.repulsion(distance)))


def _gaps(
    types: tuple[str, str],
    visited: Visited,
    settings: FenceSettings,
    unlabeled_force: Callable[[], float],
) -> Iterator[Gap]:
    below = torch.cumsum(visited.pairs, 0)
    above = int(below[-1]) - below
    for k in range(len(below) - 1):
        low, high = float(visited.highest[k]), float(visited.lowest[k + 1])
        begin, end = (1.0 + settings.gap_margin) * low, (1.0 - settings.gap_margin) * high
        pairs = (int(below[k]), int(above[k]))
        if end - begin < settings.gap_width or min(pairs) < settings.gap_pairs:
            continue
        depth = settings.penetration
        force = max(
            _force(visited, low * (1.0 - depth), low, unlabeled_force),
            _force(visited, high, high * (1.0 + depth), unlabeled_force),
        )
        way = min(0.5 * (end - begin), depth * 0.5 * (begin + end))
        height = settings.barrier * kB * settings.temperature + force * way
        height = min(height, settings.stiffness * (0.5 * (end - begin)) ** 2 / _CURVATURE)
        yield Gap(types, (low, high), begin, end, height, force, pairs)


def _force(
    visited: Visited, low: float, high: float, unlabeled_force: Callable[[], float]
) -> float:
    """Largest force on an atom of a pair at a distance between these two."""
    there = (visited.highest >= low) & (visited.lowest <= high)
    labeled = [f for f in visited.force[there].tolist() if math.isfinite(f)]
    return max(labeled) if labeled else unlabeled_force()
