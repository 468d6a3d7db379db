"""Estimators on the beads of a run, frame by frame, in pieces that fit into memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nequip_legato.errors import LegatoError
from nequip_legato.quantum import inputs
from nequip_legato.quantum.frames import Frames
from nequip_legato.quantum.geometry import Geometry
from nequip_legato.quantum.records import QuantumRecord
from nequip_legato.quantum.units import BOLTZMANN, MASS, ring_frequency
from nequip_legato.stability.trace import TRACE

__all__ = ["Series", "measure", "potential_energy"]

_PIECE = 8_000_000  # bytes of positions and forces that are evaluated together


@dataclass(frozen=True)
class Series:
    """Estimators of every frame. Species are LAMMPS types; energies are in eV, for all atoms.

    Attributes:
        virial: (frames, species) kinetic energy by the centroid-virial estimator.
        primitive: (frames, species) kinetic energy by the primitive estimator.
        gyration: (frames, species) squared radius of gyration, mean over atoms, Angstrom^2.
        potential: (frames,) potential energy, mean over beads.
        counts: (species,) number of atoms.
    """

    virial: np.ndarray
    primitive: np.ndarray
    gyration: np.ndarray
    potential: np.ndarray
    counts: np.ndarray


def measure(
    folder: Path, record: QuantumRecord, types: np.ndarray, geometry: Geometry | None = None
) -> Series:
    """Evaluate the estimators on all frames of a run.

    Kinetic energies are ``K_cv = 3 N k T / 2 - sum_j (x_j - x_c) f_j / (2 P)`` (Herman, Bruskin and
    Berne, J. Chem. Phys. 76, 5150, 1982, with the centroid as origin) and
    ``K_prim = 3 N P k T / 2 - sum_j m omega_P^2 (x_j - x_(j+1))^2 / (2 P)``, which is ``-m dF/dm``
    of the ring polymer's free energy F. Here ``f_j`` is the model's force on bead j at ``x_j``, and
    ``x_c`` is the centroid.

    Args:
        folder: the run's.
        record: its record.
        types: (atoms,) LAMMPS type of each atom, from 1.
        geometry: collects distributions; None for none.

    Raises:
        LegatoError: if frames are missing.
    """
    beads = record.beads
    files = [Frames(folder / inputs.bead_folder(n) / inputs.FRAMES) for n in range(1, beads + 1)]
    count = min(f.count for f in files)
    if count == 0:
        raise LegatoError(f"{folder} holds no frames; run the campaign first, or take more steps")
    onehot = (types[:, None] == np.arange(1, len(record.species) + 1)).astype(float)
    numbers = onehot.sum(axis=0)
    thermal = BOLTZMANN * record.temperature
    spring = 0.5 * np.array(record.masses) * MASS * ring_frequency(record.temperature, beads) ** 2
    shape = (count, len(record.species))
    virial, primitive, gyration = np.empty(shape), np.empty(shape), np.empty(shape)
    for begin, x, f in _pieces(files, count):
        here = slice(begin, begin + x.shape[1])
        if geometry is not None:
            geometry.add(begin, x)
        squared = _squared_springs(x)
        x -= x.mean(axis=0)
        moments = np.einsum("pcna,pcna->cn", x, f) @ onehot
        virial[here] = 1.5 * numbers * thermal - moments / (2 * beads)
        primitive[here] = 1.5 * numbers * beads * thermal - spring * (squared @ onehot) / beads
        gyration[here] = np.einsum("pcna,pcna->cn", x, x) @ onehot / (beads * numbers)
    potential = potential_energy(folder, record, files[0].first, count)
    return Series(virial, primitive, gyration, potential, numbers)


def _pieces(files: list[Frames], count: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(first frame, positions (P, frames, atoms, 3), forces of the same shape)."""
    atoms = files[0].atoms
    step = max(1, _PIECE // (48 * atoms * len(files)))
    for begin in range(0, count, step):
        number = min(step, count - begin)
        x = np.empty((len(files), number, atoms, 3))
        f = np.empty_like(x)
        for bead, frames in enumerate(files):
            data = frames.read(begin, number)
            x[bead], f[bead] = data[..., :3], data[..., 3:6]
        yield begin, x, f


def _squared_springs(x: np.ndarray) -> np.ndarray:
    """Sum over beads of the squared distance to the next one: (frames, atoms)."""
    total = np.zeros(x.shape[1:3])
    if len(x) > 1:
        for bead in range(len(x)):
            apart = x[bead] - x[bead - 1]
            total += np.einsum("cna,cna->cn", apart, apart)
    return total


def potential_energy(folder: Path, record: QuantumRecord, first: int, count: int) -> np.ndarray:
    """Potential energy of each frame in eV, mean over beads, from the traces.

    Args:
        folder: the run's.
        record: its record.
        first: step of the first frame.
        count: number of frames.
    """
    total = np.zeros(count)
    for bead in range(1, record.beads + 1):
        path = folder / inputs.bead_folder(bead) / TRACE
        rows = np.loadtxt(path, delimiter=",", skiprows=1, usecols=(0, 2), ndmin=2)
        rows = rows[rows[:, 0] >= first][:count]
        wanted = first + record.sample_every * np.arange(count)
        if len(rows) < count or (rows[:, 0] != wanted).any():
            raise LegatoError(f"{path} does not hold the energy of every frame")
        total += rows[:, 1]
    return total / record.beads
