"""Other training frames than those of examples/nh3: a few of them, or contacts beside them.

Contacts are what molecular dynamics of failing models visits. One molecule of a training frame is
moved, rigidly, toward another one, until two of their atoms have a given distance; GFN1-xTB labels
the result. Units: eV, Angstrom.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.geometry import get_distances
from training import HERE, TRAINING_FRAMES, Training

from nequip_legato.files import replacing
from nequip_legato.improve.knowledge import errors_of, open_origin

sys.path.insert(0, str(HERE.parents[1] / "examples" / "nh3"))
from nh3_labels import has_good_label, label_all, measure

__all__ = ["contact", "few_frames", "training_error", "with_contacts"]

_FARTHEST = 1.0  # that a molecule is moved
_TRIES = 2000


def few_frames(path: Path, count: int) -> Path:
    """Write so many training frames, evenly spread over the temperatures.

    Each is written as often as an epoch stays as long as with all frames.

    Returns:
        The same path.
    """
    if not path.is_file():
        frames = ase.io.read(TRAINING_FRAMES, ":")
        places = (np.arange(count) + 0.5) * len(frames) / count
        chosen = [frames[int(k)] for k in places]
        _write(path, chosen * (len(frames) // count))
    return path


def training_error(training: Training) -> float:
    """Root mean square error of forces on the frames of a training, meV/Angstrom."""
    different = {a.positions.tobytes(): a for a in ase.io.read(training.frames, ":")}
    origin = open_origin(training.checkpoint)
    error = errors_of(training.checkpoint, list(different.values()), origin)
    return round(1000 * error.force_rmse, 4)


def with_contacts(path: Path, settings: Mapping[str, Any], *, workers: int) -> Path:
    """Write the training frames and, after them, the contacts; nothing is done a second time.

    Args:
        path: an extxyz file.
        settings: ``seed``, ``temperature`` (K) of the training frames that are changed, ``pairs``:
            per pair of elements the number of frames and the range of distances.
        workers: labels at the same time.

    Returns:
        The same path.
    """
    if path.is_file():
        return path
    old = ase.io.read(TRAINING_FRAMES, ":")
    rng = np.random.default_rng(settings["seed"])
    usable = [a for a in old if a.info["temperature"] == settings["temperature"]]
    distances = [measure(a) for a in usable]
    shortest = {pair: min(found[pair] for found in distances) for pair in settings["pairs"]}
    made = [
        contact(usable, pair, rng.uniform(*chosen["distances"]), shortest, rng)
        for pair, chosen in settings["pairs"].items()
        for _ in range(chosen["frames"])
    ]
    labeled = label_all(path.with_suffix(""), made, workers, "contacts")
    good = [frame for frame in labeled if has_good_label(frame)]
    print(f"{len(good)} of {len(labeled)} contacts have good labels", flush=True)
    _write(path, [*old, *good])
    return path


def _write(path: Path, frames: list[Atoms]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as hidden:
        ase.io.write(hidden, frames, format="extxyz")


def contact(
    frames: list[Atoms],
    pair: str,
    distance: float,
    shortest: Mapping[str, float],
    rng: np.random.Generator,
) -> Atoms:
    """A frame in which two molecules touch with one pair of atoms, and with no other."""
    for _ in range(_TRIES):
        atoms = frames[rng.integers(len(frames))].copy()
        vectors, distances = get_distances(atoms.positions, cell=atoms.cell, pbc=True)
        nitrogens = np.flatnonzero(atoms.symbols == "N")
        owner = nitrogens[distances[:, nitrogens].argmin(axis=1)]
        first, second = (
            rng.choice(np.flatnonzero(atoms.symbols == symbol)) for symbol in pair.split("-")
        )
        shift = distances[first, second] - distance
        if owner[first] == owner[second] or not 0 < shift < _FARTHEST:
            continue
        direction = vectors[first, second] / distances[first, second]
        atoms.positions[owner == owner[first]] += shift * direction
        found = measure(atoms)
        others = all(found[name] >= shortest[name] for name in shortest if name != pair)
        if others and abs(found[pair] - distance) < 1e-6:
            atoms.info["source"] = f"contact {pair}"
            return atoms
    raise SystemExit(f"no frame has a contact {pair} of {distance:.2f} Angstrom; widen distances")
