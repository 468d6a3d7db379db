"""Structures of a loop: identifying, cutting, reading and writing them."""

import hashlib
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from matscipy.neighbours import neighbour_list

from nequip_legato.errors import LegatoError
from nequip_legato.files import replacing
from nequip_legato.improve.settings import Choose
from nequip_legato.stability.run.settings import Bonds

__all__ = ["FLAGGED", "ID", "cut", "id_of", "read_structures", "write_structures"]

ID = "legato_id"
FLAGGED = "flagged"
_KEPT = {"numbers", "positions", "type", "id", "names", FLAGGED}
_DECIMALS = 8  # of positions in Angstrom, as in extxyz files, so that reading changes nothing


def id_of(atoms: Atoms) -> str:
    """A short text that is the same for the same elements, positions (to 1e-8 Angstrom) and cell.

    It does not depend on labels, velocities or the order of files.
    """
    digest = hashlib.sha256()
    for values in (atoms.positions, atoms.cell.array):
        digest.update((np.round(values, _DECIMALS) + 0.0).astype("<f8").tobytes())  # no -0.0
    digest.update(atoms.numbers.astype("<i8").tobytes())
    digest.update(np.asarray(atoms.pbc, dtype=bool).tobytes())
    return digest.hexdigest()[:16]


def cut(atoms: Atoms, settings: Choose, *, cutoff: float, bonds: Sequence[Bonds] = ()) -> Atoms:
    """The whole structure if it is small enough, else a ball around its flagged atoms in vacuum.

    The ball is centered on the first flagged atom, and holds every atom within ``radius`` of it.
    Molecules are kept whole if ``bonds`` defines them; other bonds are cut. The ball is in a
    periodic box with ``vacuum`` on every side, so that one calculator can label energies, forces
    and stress of whole cells and balls.

    Args:
        atoms: positions in Angstrom; array ``flagged`` (n,) bool with at least one True; symbols
            are compared with the names of ``bonds`` through array ``names`` if there is one.
        settings: ``whole``, ``radius`` and ``vacuum``.
        cutoff: of the model, Angstrom.
        bonds: bonds that make molecules.

    Returns:
        Atoms with positions rounded as in files.

    Raises:
        LegatoError: if no atom is flagged.
    """
    flagged = np.asarray(atoms.arrays[FLAGGED], dtype=bool)
    if not flagged.any():
        raise LegatoError("a structure without flagged atoms cannot be cut")
    radius = settings.radius or 1.5 * cutoff
    whole = len(atoms) <= settings.whole
    # In a narrow cell the ball would contain an atom and its images.
    narrow = atoms.pbc.all() and 2 * radius > min(
        1 / np.linalg.norm(atoms.cell.reciprocal(), axis=1)
    )
    if whole or narrow:
        kept = atoms.copy()
    else:
        center = int(np.flatnonzero(flagged)[0])
        vectors = atoms.get_distances(center, range(len(atoms)), mic=True, vector=True)
        near = np.linalg.norm(vectors, axis=1) <= radius
        places = _with_whole_molecules(atoms, bonds, vectors, near)
        kept = atoms[sorted(places)]
        kept.positions = np.array([places[k] for k in sorted(places)])
        kept.set_cell(np.ptp(kept.positions, axis=0) + 2 * settings.vacuum)
        kept.pbc = True
        kept.center()
    kept.calc = None
    for name in set(kept.arrays) - _KEPT:
        del kept.arrays[name]
    kept.positions = kept.positions.round(_DECIMALS)
    kept.set_cell(kept.cell.array.round(_DECIMALS))
    return kept


def _with_whole_molecules(
    atoms: Atoms, bonds: Sequence[Bonds], vectors: np.ndarray, near: np.ndarray
) -> dict[int, np.ndarray]:
    """Atom -> position relative to the center, for the ball and all atoms bonded to it."""
    places = {int(k): vectors[k] for k in np.flatnonzero(near)}
    if not bonds:
        return places
    names = atoms.arrays.get("names", np.array(atoms.get_chemical_symbols()))
    i, j, d, r = neighbour_list("ijdD", atoms, max(b.max for b in bonds))
    bonded = np.zeros(len(i), dtype=bool)
    for bond in bonds:
        for a, b in ((bond.center, bond.neighbor), (bond.neighbor, bond.center)):
            bonded |= (names[i] == a) & (names[j] == b) & (d <= bond.max)
    partners: dict[int, list[tuple[int, np.ndarray]]] = {}
    for a, b, way in zip(i[bonded], j[bonded], r[bonded], strict=True):
        partners.setdefault(int(a), []).append((int(b), way))
    waiting = deque(places)
    while waiting:
        here = waiting.popleft()
        for there, way in partners.get(here, []):
            if there not in places:
                places[there] = places[here] + way
                waiting.append(there)
    return places


def write_structures(path: Path, frames: Sequence[Atoms]) -> None:
    """Write an extxyz file that appears complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as hidden:
        ase.io.write(hidden, list(frames), format="extxyz")


def read_structures(path: Path, what: str) -> list[Atoms]:
    """All frames of a file that ASE reads.

    Raises:
        LegatoError: if it cannot be read.
    """
    try:
        found = ase.io.read(path, ":")
        return found if isinstance(found, list) else [found]
    except Exception as problem:  # ASE's readers raise whatever their parsing meets
        reason = (str(problem).splitlines() or [""])[0]
        raise LegatoError(
            f"{what}: ASE cannot read {path} ({type(problem).__name__}: {reason})"
        ) from problem
