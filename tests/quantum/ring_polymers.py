"""Ring polymers in a harmonic well, sampled exactly, as the files that a run leaves."""

import struct
from pathlib import Path

import numpy as np
from ase import Atoms

from nequip_legato.quantum.records import QuantumRecord
from nequip_legato.quantum.units import BOLTZMANN, MASS, ring_frequency

__all__ = ["COLUMNS", "harmonic_beads", "record_of", "write_dump", "write_run"]

COLUMNS = "xu yu zu f_legato_force[1] f_legato_force[2] f_legato_force[3]"


def harmonic_beads(
    omega: float, temperature: float, beads: int, mass: float, shape: tuple[int, ...], seed: int
) -> np.ndarray:
    """Independent samples of the displacements of all beads: (beads, *shape) Angstrom."""
    rng = np.random.default_rng(seed)
    k = np.arange(beads)
    squared = omega**2 + (2 * ring_frequency(temperature, beads) * np.sin(np.pi * k / beads)) ** 2
    width = np.sqrt(beads * BOLTZMANN * temperature / (mass * MASS * squared))
    modes = rng.normal(size=(beads, *shape)) * width.reshape(-1, *[1] * len(shape))
    # a real orthogonal transform whose first row is constant and whose pairs are degenerate
    angle = 2 * np.pi * np.outer(k, k) / beads
    transform = (np.cos(angle) + np.sin(angle)) / np.sqrt(beads)
    return np.tensordot(transform, modes, axes=1)


def write_dump(
    path: Path, data: np.ndarray, *, every: int, columns: str = COLUMNS, chunks: int = 1
) -> None:
    """A binary dump of LAMMPS: (frames, atoms, columns)."""
    frames, atoms, width = data.shape
    names = columns.encode()
    with path.open("wb") as stream:
        for n in range(frames):
            stream.write(struct.pack("<q10siiqqi", -10, b"DUMPCUSTOM", 1, 2, n * every, atoms, 0))
            stream.write(struct.pack("<6i6d", *[0] * 6, 0, 40, 0, 40, 0, 40))
            stream.write(struct.pack("<ii?i", width, 0, False, len(names)) + names)
            stream.write(struct.pack("<i", chunks))
            for part in np.array_split(data[n], chunks):
                stream.write(struct.pack("<i", part.size) + part.astype("<f8").tobytes())


def record_of(
    species: dict[str, float], *, temperature: float, beads: int, **other
) -> QuantumRecord:
    """A record of a finished run of hydrogen's isotopes."""
    content = {
        "run": "model/system-isotopes/run",
        "model": "model",
        "group": "model",
        "training_seed": "model",
        "atoms": 1,
        "velocity_seed": 1,
        "ensemble": "pimd",
        "temperature": temperature,
        "timestep": 0.5,
        "step_limit": 100,
        "outcome": "censored",
        "steps": 100,
        "wall": 1.0,
        "system": "system",
        "isotopes": "isotopes",
        "method": "pimd",
        "beads": beads,
        "equilibration_steps": 0,
        "sample_every": 1,
        "velocity_every": 1,
        "species": list(species),
        "elements": ["H"] * len(species),
        "model_types": ["H"] * len(species),
        "masses": list(species.values()),
    }
    return QuantumRecord(**content | other)


def write_run(folder: Path, sites: Atoms, moved: np.ndarray, spring: float) -> None:
    """Frames and traces of atoms that are tied to their sites.

    Args:
        folder: the run's.
        sites: where the atoms are tied to.
        moved: (beads, frames, atoms, 3) displacements, Angstrom.
        spring: eV/Angstrom^2.
    """
    for bead, part in enumerate(moved, 1):
        own = folder / f"bead{bead}"
        own.mkdir(parents=True)
        data = np.concatenate([sites.positions + part, -spring * part], axis=2)
        write_dump(own / "frames.bin", data, every=1, chunks=1 + bead % 2)
        energy = 0.5 * spring * (part**2).sum(axis=(1, 2))
        rows = [f"{n},0,{e:.6f},0,0" for n, e in enumerate(energy)]
        (own / "trace.csv").write_text("\n".join(["step,temperature,energy,a,b", *rows]) + "\n")
