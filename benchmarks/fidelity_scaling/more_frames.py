"""More training frames than those of examples/nh3: states of failed runs, displaced atoms."""

import sys
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from training import HERE

from nequip_legato.files import replacing
from nequip_legato.stability.run.snapshot import FAILURE

sys.path.insert(0, str(HERE.parents[1] / "examples" / "nh3"))
from nh3_labels import has_good_label, label_all

__all__ = ["make", "path"]


def path(work: Path, kind: str) -> Path:
    """Training frames of a variant: the original ones and those of ``kind`` (fed or rattled)."""
    return work / "data" / f"train_{kind}.extxyz"


def make(work: Path, results: Path, original: Path, *, frames: int, displacement: float) -> None:
    """Write the training files, and the added frames to ``results``.

    Args:
        work: has the campaign ``feed``.
        results: gets ``fed.extxyz`` and ``rattled.extxyz``.
        original: the original training frames.
        frames: how many to add.
        displacement: standard deviation of each coordinate of a rattled frame, Angstrom.
    """
    known = ase.io.read(original, ":")
    for kind, found in (
        ("fed", failed_states(work / "feed")),
        ("rattled", displaced(known, 2 * frames, displacement)),
    ):
        labeled = label_all(work / "data" / kind, found, 1, kind)
        good = [frame for frame in labeled if has_good_label(frame)][:frames]
        if len(good) < frames:
            raise SystemExit(f"{kind}: {len(good)} frames with a good label, {frames} are needed")
        for target, content in (
            (results / f"{kind}.extxyz", good),
            (path(work, kind), known + good),
        ):
            with replacing(target) as hidden:
                ase.io.write(hidden, [bare(frame) for frame in content], format="extxyz")


def failed_states(campaign: Path) -> list[Atoms]:
    """The whole cells in which runs failed, alternating between models and seeds."""
    files = sorted(campaign.glob(f"runs/*/*/*/{FAILURE}"), key=lambda p: (p.parent.name, p.parts))
    return [bare(ase.io.read(file), label=False) for file in files]


def displaced(known: list[Atoms], count: int, displacement: float) -> list[Atoms]:
    """Training frames, evenly chosen, with normally distributed displacements."""
    random = np.random.default_rng(1)
    found = []
    for i in np.linspace(0, len(known) - 1, count).astype(int):
        frame = bare(known[i], label=False)
        frame.positions += random.normal(scale=displacement, size=frame.positions.shape)
        found.append(frame)
    return found


def bare(frame: Atoms, *, label: bool = True) -> Atoms:
    """Positions, cell and species, and the label if asked for."""
    found = Atoms(frame.numbers, positions=frame.positions, cell=frame.cell, pbc=frame.pbc)
    if label:
        found.calc = frame.calc
    return found
