"""A structure as a frame of a model, and its derivatives, for the tests of fences and of ZBL."""

import ase.io
import numpy as np
import pytest
from ase import Atoms
from models import CUTOFF

from nequip_legato import LegatoCalculator
from nequip_legato.trained.frames import read_frames

__all__ = ["assert_derivatives", "frame_of"]


def frame_of(atoms: Atoms, folder, names=("H", "N")):
    ase.io.write(folder / "frame.extxyz", atoms)
    types = {name: k for k, name in enumerate(names)}
    return read_frames(folder / "frame.extxyz", type_of_symbol=types, r_max=CUTOFF)[0]


def assert_derivatives(path, atoms) -> None:
    """Forces and stress by central differences."""
    atoms = atoms.copy()
    atoms.calc = LegatoCalculator(path)
    force, stress = atoms.get_forces(), atoms.get_stress(voigt=False)
    assert atoms.calc.results["fence_energy"] > 0.1
    step = 1e-5

    def energy(positions, cell=atoms.cell.array):
        moved = Atoms(atoms.symbols, positions, cell=cell, pbc=True, calculator=atoms.calc)
        return moved.get_potential_energy()

    for i, axis in np.ndindex(force.shape):
        sides = []
        for sign in (1, -1):
            positions = atoms.positions.copy()
            positions[i, axis] += sign * step
            sides.append(energy(positions))
        numerical = -(sides[0] - sides[1]) / (2 * step)
        assert numerical == pytest.approx(force[i, axis], abs=1e-5, rel=1e-6)
    for a, b in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)):
        sides = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * step
            sides.append(energy(atoms.positions @ strain, atoms.cell.array @ strain))
        numerical = (sides[0] - sides[1]) / (2 * step)
        wanted = stress[a, b] * atoms.get_volume()
        assert numerical == pytest.approx(wanted, abs=1e-5, rel=1e-6)
