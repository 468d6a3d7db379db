"""Converting i-PI's output to frames and traces like those of LAMMPS."""

import re
from pathlib import Path

import numpy as np

from nequip_legato.errors import LegatoError
from nequip_legato.files import write_atomically
from nequip_legato.quantum import inputs
from nequip_legato.quantum.frames import write_frames
from nequip_legato.quantum.ipi_inputs import MEASURED
from nequip_legato.quantum.plan import QuantumRun
from nequip_legato.quantum.settings import Settings
from nequip_legato.stability.trace import TRACE

__all__ = ["convert", "error_of"]

_STEP = re.compile(r"Step:\s*(\d+)")
_HEADER = "step,temperature,energy,largest_force,closest_ratio"
_COLUMNS = "xu yu zu fx fy fz"


def convert(folder: Path, run: QuantumRun, settings: Settings) -> None:
    """Write binary frames and traces of every bead, and the velocities of the centroid.

    Args:
        folder: the run's.
        run: which run.
        settings: the campaign's.

    Raises:
        LegatoError: if i-PI's files lack frames.
    """
    first, atoms = settings.equilibration_steps, len(run.atoms)
    rows = _properties(folder / f"{MEASURED}.out", run.beads)
    digits = len(str(run.beads))
    for bead in range(run.beads):
        place = folder / inputs.bead_folder(bead + 1)
        place.mkdir(exist_ok=True)
        names = [f"{MEASURED}.{kind}_{bead:0{digits}d}.xyz" for kind in ("pos", "for")]
        steps, x = _trajectory(folder / names[0], atoms)
        also, f = _trajectory(folder / names[1], atoms)
        if not np.array_equal(steps, also) or any(step not in rows for step in steps.tolist()):
            raise LegatoError(f"{folder}: i-PI's files lack frames of bead {bead + 1}")
        write_frames(place / inputs.FRAMES, first + steps, np.concatenate([x, f], 2), _COLUMNS)
        largest = np.sqrt((f**2).sum(axis=2)).max(axis=1)
        lines = [
            f"{first + step},{rows[step][0]:.3f},{rows[step][1 + bead]:.6f},{force:.4f},nan"
            for step, force in zip(steps.tolist(), largest, strict=True)
        ]
        write_atomically(place / TRACE, "\n".join([_HEADER, *lines]) + "\n")
    path = folder / f"{MEASURED}.vel.xyz"
    if path.is_file():
        steps, v = _trajectory(path, atoms)
        write_frames(folder / "bead1" / inputs.VELOCITIES, first + steps, v, "vx vy vz")


def _trajectory(path: Path, atoms: int) -> tuple[np.ndarray, np.ndarray]:
    """Steps (frames,) and values (frames, atoms, 3) of an xyz file.

    If a resumed run has written frames again, the later ones count.
    """
    frames: dict[int, np.ndarray] = {}
    with path.open() as stream:
        while stream.readline():
            found = _STEP.search(stream.readline())
            lines = [stream.readline().split()[1:] for _ in range(atoms)]
            if found is None or not lines[-1]:
                break
            try:
                frames[int(found.group(1))] = np.array(lines, dtype=float)
            except ValueError:  # an incomplete line
                break
    steps = np.array(sorted(frames), dtype=np.int64)
    return steps, np.array([frames[step] for step in steps.tolist()]).reshape(-1, atoms, 3)


def _properties(path: Path, beads: int) -> dict[int, list[float]]:
    """Step -> temperature, and potential energy of every bead."""
    rows = {}
    for line in path.read_text().splitlines():
        if not line.lstrip().startswith("#"):
            values = [float(word) for word in line.split()]
            if len(values) == 2 + beads:
                rows[int(values[0])] = values[1:]
    return rows


def error_of(log: Path) -> str:
    """i-PI's error message and the path of its log; empty if there is no message."""
    text = log.read_text(errors="replace") if log.is_file() else ""
    found = re.findall(r"^\s*(?:\w*Error:.*|!.*[Ee]rror.*)$", text, re.MULTILINE)
    return f"i-PI: {found[-1].strip(' !')} (see {log})" if found else ""
