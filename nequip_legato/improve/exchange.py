"""Labels by way of files, for codes that run in a queue."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError

from nequip_legato.errors import LegatoError
from nequip_legato.improve.labels import LabelStore, check_label
from nequip_legato.improve.structures import ID, id_of, read_structures, write_structures

__all__ = ["RETURNED", "WANTED", "read_labels", "write_wanted"]

WANTED = "to_label.extxyz"
RETURNED = "labeled.extxyz"
_POSITION_TOLERANCE = 1e-3  # Angstrom; other programs round positions


def write_wanted(folder: Path, structures: Sequence[Atoms], store: LabelStore) -> int:
    """Write ``to_label.extxyz``: the structures that have no label yet.

    Returns:
        How many there are; the file is removed if there are none.
    """
    wanted = []
    for atoms in structures:
        name = id_of(atoms)
        if name in store:
            continue
        bare = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        bare.info[ID] = name
        wanted.append(bare)
    path = folder / WANTED
    if wanted:
        write_structures(path, wanted)
    else:
        path.unlink(missing_ok=True)
    return len(wanted)


def read_labels(
    folder: Path, structures: Sequence[Atoms], store: LabelStore, *, largest_force: float
) -> int:
    """Read labels from ``labeled.extxyz``, if it is there.

    Frames are identified by their ``legato_id``, or else by elements and positions (within 0.001
    Angstrom). A frame without energy or forces is set aside: it could not be labeled.

    Args:
        folder: where the file is.
        structures: structures to be labeled.
        store: where labels are kept.
        largest_force: limit, eV/Angstrom.

    Returns:
        The number of new labels.

    Raises:
        LegatoError: if the file cannot be read, or has a frame that was not asked for.
    """
    path = folder / RETURNED
    if not path.is_file():
        return 0
    known = {id_of(atoms): atoms for atoms in structures}
    new = 0
    for number, frame in enumerate(read_structures(path, "labels")):
        name = _name_of(frame, known)
        if name is None:
            raise LegatoError(
                f"{path}: frame {number} is not one of those in {WANTED}; keep their '{ID}', or "
                "elements, order and positions of their atoms"
            )
        if name in store:
            continue
        values = {key: _value(frame, key) for key in ("energy", "forces", "stress")}
        if values["stress"] is not None and np.isnan(values["stress"]).all():
            values["stress"] = None
        missing = values["energy"] is None or values["forces"] is None
        problem = "it came back without energy or forces" if missing else ""
        label = check_label(known[name], **values, largest_force=largest_force, problem=problem)
        store.append(label)
        new += 1
    return new


def _value(frame: Atoms, key: str) -> Any:
    if frame.calc is None:
        return None
    try:
        return frame.calc.get_property(key, frame, allow_calculation=False)
    except PropertyNotImplementedError:
        return None


def _name_of(frame: Atoms, known: dict[str, Atoms]) -> str | None:
    name = frame.info.get(ID)
    if name is not None:
        atoms = known.get(str(name))
        return str(name) if atoms is not None and _same(frame, atoms) else None
    return next((n for n, atoms in known.items() if _same(frame, atoms)), None)


def _same(frame: Atoms, atoms: Atoms) -> bool:
    if len(frame) != len(atoms) or (frame.numbers != atoms.numbers).any():
        return False
    return bool(np.abs(frame.positions - atoms.positions).max() < _POSITION_TOLERANCE)
