"""The state in which a run failed, cut down to the atoms around the failure.

Label these structures and train on them: they show what the model has not learned.
"""

from itertools import islice
from pathlib import Path
from typing import TextIO

import ase.io
import numpy as np
from ase import Atoms
from ase.io.lammpsrun import read_lammps_dump_text
from matscipy.neighbours import neighbour_list

from nequip_legato.deployed.reader import info
from nequip_legato.files import replacing
from nequip_legato.stability.run import criteria, inputs
from nequip_legato.stability.run.settings import Settings

__all__ = ["FAILURE", "keep_neighborhood", "read_state", "wrong_bonds"]

FAILURE = "failure.extxyz"
_WHOLE = 200  # atoms; cells up to this size are kept whole
_CUTOFFS = 2.0  # otherwise all atoms within this many cutoffs of the failing one


def keep_neighborhood(
    folder: Path, settings: Settings, model: str, criterion: str, step: int
) -> Path | None:
    """Write ``failure.extxyz``: the last state, cut around the atoms that failed.

    The last state is that of the failing step, or the last one dumped before if LAMMPS stopped with
    an error, or if atoms were lost or their positions were no longer finite. Cells of up to 200
    atoms, and cells less than four cutoffs wide, are kept whole. Of other cells a ball of two
    cutoffs around the failing atom is kept, without periodicity; molecules are cut at its surface.
    Arrays: ``id`` and ``type`` of LAMMPS, ``velocities`` (Angstrom/ps), ``forces`` (eV/Angstrom, as
    in LAMMPS, so including those of a Langevin thermostat), ``failed`` (the atoms at which it
    failed). Info: ``criterion``, ``failed_step``, and ``step`` of this state.

    Args:
        folder: the run's.
        settings: the campaign's.
        model: deployed file.
        criterion: the criterion that fired.
        step: when it fired.

    Returns:
        The file, or None if LAMMPS left no state.
    """
    dumps = [folder / inputs.END_DUMP]
    dumps += sorted(folder.glob(inputs.SNAPSHOTS), key=lambda p: int(p.name.split(".")[1]))[::-1]
    states = [state for state in (_read(path, settings) for path in dumps) if state is not None]
    if not states:
        return None
    frame = _last_whole(states)
    found = info(Path(model))
    failed = ~_sound(frame)
    if not failed.any():
        failed = ~np.isin(frame.arrays["id"], states[0].arrays["id"][_sound(states[0])])
    if not failed.any():
        failed = _failed(frame, criterion, settings, found.type_names, found.shortest_distance)
    kept = _cut(frame, failed, _CUTOFFS * found.cutoff)
    kept.info |= {"criterion": criterion, "failed_step": step}
    path = folder / FAILURE
    with replacing(path) as hidden:
        ase.io.write(hidden, kept, format="extxyz")
    return path


def _read(path: Path, settings: Settings) -> Atoms | None:
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", errors="replace") as stream:
        return read_state(stream, settings)


def read_state(stream: TextIO, settings: Settings) -> Atoms | None:
    """One state that LAMMPS has dumped with `inputs.DUMP_COLUMNS`.

    Returns:
        Atoms with arrays ``id`` and ``type`` of LAMMPS, ``velocities``, ``forces``, and ``step``
        among their info; None if the state is incomplete.
    """
    try:
        step = int(list(islice(stream, 2))[1])
        stream.seek(0)
        raw = read_lammps_dump_text(stream, index=-1)
    except (ValueError, IndexError, KeyError, TypeError, StopIteration, RuntimeError):
        # LAMMPS was killed while it wrote
        return None
    if len(raw) == 0:
        return None
    types = raw.arrays.get("type", raw.numbers).astype(int)
    atoms = Atoms([settings.symbols[t - 1] for t in types], raw.positions, cell=raw.cell, pbc=True)
    atoms.arrays["id"] = raw.arrays[inputs.ID_COLUMN].astype(int)
    atoms.arrays["type"] = types
    atoms.info["step"] = step
    # Not get_forces(), which takes them for outdated if a position is NaN.
    atoms.arrays["forces"] = raw.calc.results["forces"]
    atoms.arrays["velocities"] = raw.get_velocities()
    return atoms


def _sound(atoms: Atoms) -> np.ndarray:
    """Which atoms have a position and a force: (n,) bool."""
    values = np.hstack([atoms.positions, atoms.arrays["forces"]])
    return np.isfinite(values).all(axis=1)


def _last_whole(states: list[Atoms]) -> Atoms:
    """The last state in which every atom is present with finite positions, else the last one."""
    most = max(map(len, states))
    whole = (s for s in states if len(s) == most and np.isfinite(s.positions).all())
    return next(whole, states[0])


def _failed(
    atoms: Atoms,
    criterion: str,
    settings: Settings,
    names: list[str],
    shortest: list[list[float]],
) -> np.ndarray:
    """Which atoms failed: (n,) bool, at least one of them."""
    failed = np.zeros(len(atoms), dtype=bool)
    types = atoms.arrays["type"]
    if criterion == criteria.BONDS:
        failed = wrong_bonds(atoms, settings)
    elif criterion == criteria.CLOSEST_RATIO:
        longest = max((d for row in shortest for d in row if np.isfinite(d)), default=0.0)
        i, j, d = neighbour_list("ijd", atoms, longest)
        model_type = np.array([names.index(settings.types[t - 1]) for t in types])
        # the pair style ignores pairs of types that training has never seen
        known = np.array(shortest)[model_type[i], model_type[j]]
        ratio = np.where(np.isfinite(known), d / known, np.inf)
        if len(ratio):
            closest = int(ratio.argmin())
            failed[[i[closest], j[closest]]] = True
    if not failed.any():
        failed[np.linalg.norm(atoms.arrays["forces"], axis=1).argmax()] = True
    return failed


def wrong_bonds(atoms: Atoms, settings: Settings) -> np.ndarray:
    """Which atoms violate the settings' criteria of bonds: (n,) bool."""
    names = np.array([settings.types[t - 1] for t in atoms.arrays["type"]])
    failed = np.zeros(len(atoms), dtype=bool)
    for bond in settings.criteria.bonds:
        i, j, d = neighbour_list("ijd", atoms, bond.max)
        chosen = (names[i] == bond.center) & (names[j] == bond.neighbor)
        counts = np.bincount(i[chosen], minlength=len(atoms))
        wrong = counts < bond.count if bond.at_least else counts != bond.count
        failed |= (names == bond.center) & wrong
        failed[i[chosen & (d < bond.min)]] = True
    return failed


def _cut(atoms: Atoms, failed: np.ndarray, radius: float) -> Atoms:
    atoms.arrays["failed"] = failed
    center = int(np.flatnonzero(failed)[0])
    # In a narrow cell the ball would contain images of an atom, of which only one would be kept.
    narrow = min(1.0 / np.linalg.norm(atoms.cell.reciprocal(), axis=1)) < 2.0 * radius
    if len(atoms) <= _WHOLE or narrow or not np.isfinite(atoms.positions).all():
        return atoms
    vectors = atoms.get_distances(center, range(len(atoms)), mic=True, vector=True)
    near = np.linalg.norm(vectors, axis=1) <= radius
    ball = atoms[near]
    ball.positions = vectors[near]
    ball.pbc = False
    ball.cell = None
    return ball
