"""Labels: checked, then kept in a file that is only appended to."""

import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from nequip_legato.errors import LegatoError
from nequip_legato.improve.structures import ID, id_of

__all__ = ["BAD", "GOOD", "Label", "LabelStore", "check_label", "labeled"]

GOOD = "good"
BAD = "bad"


@dataclass(frozen=True)
class Label:
    """Results of a calculator for a structure.

    Attributes:
        id: of the structure, by `nequip_legato.improve.structures.id_of`.
        status: ``good``, or ``bad`` for a label that is set aside.
        reason: why it is bad; empty for good ones.
        energy: eV; None where there is none.
        forces: (n, 3) eV/Angstrom; None where there are none.
        stress: (6,) eV/Angstrom^3, in ASE's order and sign; None where the calculator has none.
        seconds: wall-clock time of the calculation.
    """

    id: str
    status: str
    reason: str = ""
    energy: float | None = None
    forces: list[list[float]] | None = None
    stress: list[float] | None = None
    seconds: float = 0.0


def check_label(
    atoms: Atoms,
    *,
    energy: float | None,
    forces: np.ndarray | None,
    stress: np.ndarray | None,
    largest_force: float,
    problem: str = "",
    seconds: float = 0.0,
) -> Label:
    """A label, set aside if it cannot be used.

    Args:
        atoms: the structure, of n atoms.
        energy: eV; None if the calculator gave none.
        forces: (n, 3) eV/Angstrom.
        stress: (6,) eV/Angstrom^3; None if the calculator has none.
        largest_force: limit of the norm of the force on an atom, eV/Angstrom.
        problem: what the calculator raised, or that it did not converge.
        seconds: wall-clock time of the calculation.
    """
    name = id_of(atoms)
    if not problem and (energy is None or forces is None):
        problem = "no energy or no forces"
    if problem or energy is None or forces is None:
        return Label(name, BAD, problem, seconds=seconds)
    reason = ""
    norms = np.linalg.norm(np.asarray(forces, dtype=float), axis=-1)
    if np.shape(forces) != (len(atoms), 3):
        reason = f"forces have the shape {np.shape(forces)}, not {(len(atoms), 3)}"
    else:
        numbers = [energy, *norms, *([] if stress is None else stress)]
        if not np.isfinite(np.asarray(numbers, dtype=float)).all():
            reason = "numbers that are not finite"
        elif norms.max() > largest_force:
            reason = f"a force of {norms.max():.1f} eV/Angstrom, more than {largest_force:.1f}"
    if reason:
        return Label(name, BAD, reason, seconds=seconds)
    return Label(
        name,
        GOOD,
        energy=float(energy),
        forces=np.asarray(forces, dtype=float).tolist(),
        stress=None if stress is None else np.asarray(stress, dtype=float).tolist(),
        seconds=seconds,
    )


def labeled(atoms: Atoms, label: Label) -> Atoms:
    """A copy of a structure with a good label; a missing stress is NaN.

    Arrays and info of the structure are kept, except forces and velocities of a simulation.
    """
    copy = atoms.copy()
    for name in ("forces", "velocities", "momenta"):
        copy.arrays.pop(name, None)
    copy.info[ID] = label.id
    stress = [math.nan] * 6 if label.stress is None else label.stress
    copy.calc = SinglePointCalculator(
        copy, energy=label.energy, forces=np.array(label.forces), stress=np.array(stress)
    )
    return copy


class LabelStore:
    """The labels of a loop: a file of JSON lines that is only appended to.

    Each line is on disk before the next label is computed. An incomplete line of a killed process
    is cut off. One process at a time may write.

    Args:
        path: the file; made with the first label.

    Raises:
        LegatoError: if a line is not a label.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._labels: dict[str, Label] = {}
        if not path.is_file():
            return
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        for number, line in enumerate(content[:whole].splitlines(), 1):
            label = _parsed(line, f"{path}, line {number}")
            self._labels[label.id] = label
        if whole < len(content):
            os.truncate(path, whole)

    def __contains__(self, name: str) -> bool:
        return name in self._labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, name: str) -> Label:
        return self._labels[name]

    def names(self) -> list[str]:
        """The structures that have a label, in the order in which they got them."""
        return list(self._labels)

    def append(self, label: Label) -> None:
        """Add a label, unless the structure has one.

        Raises:
            LegatoError: if the file cannot be written to.
        """
        if label.id in self._labels:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as stream:
                stream.write(json.dumps(asdict(label), allow_nan=False).encode() + b"\n")
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as problem:
            raise LegatoError(
                f"labels cannot be kept in {self._path} ({problem.strerror}); the same command "
                "continues afterwards"
            ) from problem
        self._labels[label.id] = label


def _parsed(line: bytes, origin: str) -> Label:
    try:
        content: dict[str, Any] = json.loads(line)
        label = Label(**content)
    except (ValueError, TypeError) as problem:
        raise LegatoError(
            f"{origin} is not a label ({type(problem).__name__}: {problem}); remove that line"
        ) from problem
    return label
