"""Harmonic frequencies and quantum kinetic energies from the Hessian of a molecule."""

import numpy as np
from ase import Atoms

from nequip_legato.errors import LegatoError
from nequip_legato.quantum.harmonic import kinetic_energy, kinetic_energy_exact
from nequip_legato.quantum.units import BOLTZMANN, LIGHT, MASS

__all__ = ["hessian", "kinetic_energies", "normal_modes"]

_STEP = 0.01  # Angstrom
_SOFT = 50.0  # 1/cm; modes below are taken for translations or rotations


def hessian(atoms: Atoms, step: float = _STEP) -> np.ndarray:
    """Second derivatives of the energy by central differences of forces: (3N, 3N) eV/Angstrom^2.

    Args:
        atoms: with a calculator, at a minimum of the energy.
        step: displacement, Angstrom.
    """
    moved = atoms.copy()
    moved.calc = atoms.calc
    found = np.empty((3 * len(atoms), 3 * len(atoms)))
    for n in range(3 * len(atoms)):
        forces = []
        for sign in (1.0, -1.0):
            moved.positions = atoms.positions
            moved.positions[n // 3, n % 3] += sign * step
            forces.append(moved.get_forces().ravel())
        found[n] = (forces[1] - forces[0]) / (2.0 * step)
    return 0.5 * (found + found.T)


def normal_modes(matrix: np.ndarray, masses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies (3N,) in 1/ps, and mass-weighted normal modes (3N, 3N), one per column.

    Args:
        matrix: from `hessian`.
        masses: (N,) g/mol.

    Raises:
        LegatoError: if it has a negative curvature, so that the structure is not a minimum.
    """
    root = np.sqrt(np.repeat(masses, 3) * MASS)
    squares, modes = np.linalg.eigh(matrix / np.outer(root, root))
    soft = 2.0 * np.pi * LIGHT * _SOFT
    if squares[0] < -(soft**2):
        raise LegatoError("the Hessian has an imaginary frequency; relax the structure first")
    return np.sqrt(np.clip(squares, 0.0, None)), modes


def kinetic_energies(
    omega: np.ndarray, modes: np.ndarray, temperature: float, beads: int | None = None
) -> np.ndarray:
    """Kinetic energy of every atom: harmonic vibrations, classical translations and rotations.

    Args:
        omega: from `normal_modes`.
        modes: from `normal_modes`.
        temperature: in K.
        beads: P, for the value of the centroid-virial estimator; None for the quantum value.

    Returns:
        (N,) eV.
    """
    soft = 2.0 * np.pi * LIGHT * _SOFT
    each = np.array(
        [
            0.5 * BOLTZMANN * temperature
            if w < soft
            else kinetic_energy_exact(w, temperature)
            if beads is None
            else kinetic_energy(w, temperature, beads)
            for w in omega
        ]
    )
    return (modes**2 @ each).reshape(-1, 3).sum(axis=1)
