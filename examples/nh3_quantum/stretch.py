#!/usr/bin/env python
"""The stretch of one bond of the molecule, without any dynamics: labels against a model.

Prints harmonic frequencies from the Hessian, the energy along one N-H bond (all else fixed), and
what quantum mechanics makes of this curve: the fundamental of a vibration along it, whose distance
from the curve's own harmonic frequency is the shift that quantum dynamics should find.

    python stretch.py                     # GFN1-xTB, which needs tblite
    python stretch.py nh3.nequip.pth      # and a deployed model
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np
from ase.calculators.calculator import Calculator
from ase.optimize import BFGS
from scipy.interpolate import CubicSpline

from nequip_legato.calculator import LegatoCalculator
from nequip_legato.errors import LegatoError
from nequip_legato.quantum.hessian import hessian, normal_modes
from nequip_legato.quantum.isotopes import MASSES, standard_mass
from nequip_legato.quantum.units import HBAR, LIGHT, MASS

HERE = Path(__file__).parent.absolute()
sys.path.insert(0, str(HERE.parent / "nh3"))
from nh3_labels import DataError, gfn1  # noqa: E402

LENGTHS = np.linspace(0.7, 1.8, 45)  # A
SHOWN = (1.15, 1.3, 1.4, 1.5, 1.6, 1.75)  # A
CM = 2 * np.pi * LIGHT  # angular frequency of 1/cm


def relaxed_molecule(calculator: Calculator) -> ase.Atoms:
    """Ammonia where this calculator has its minimum."""
    atoms = ase.io.read(HERE / "nh3.xyz")
    atoms.calc = calculator
    BFGS(atoms, logfile=None).run(fmax=1e-3, steps=500)
    return atoms


def molecule_masses(isotope: str) -> np.ndarray:
    """Of nitrogen and three atoms of an isotope of hydrogen, in u."""
    return np.array([standard_mass("N"), *[MASSES[isotope]] * 3])


def levels(
    curve: Callable[[np.ndarray], np.ndarray], mass: float, low: float, high: float
) -> np.ndarray:
    """Energies in eV of a particle in one dimension.

    By a discrete variable representation: Colbert and Miller, J. Chem. Phys. 96, 1982 (1992),
    Eq. A7.

    Args:
        curve: energy in eV at positions in A.
        mass: in u.
        low: where the wave functions have ended on the left, in A.
        high: and on the right.
    """
    points = np.linspace(low, high, 400)
    step = points[1] - points[0]
    apart = np.subtract.outer(np.arange(len(points)), np.arange(len(points)))
    kinetic = np.full(apart.shape, np.pi**2 / 3)
    off = apart != 0
    kinetic[off] = 2 * (-1.0) ** apart[off] / apart[off] ** 2
    kinetic *= HBAR**2 / (2 * mass * MASS * step**2)
    return np.linalg.eigvalsh(kinetic + np.diag(curve(points)))


def stretch_table(calculators: dict[str, Calculator]) -> str:
    """Markdown tables of all that the module's description names."""
    frequencies = ["| | harmonic frequencies of NH₃, cm⁻¹ | of ND₃ |", "| --- | --- | --- |"]
    shifts = [
        "| | bond | harmonic | fundamental | shift |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    lengths = " | ".join(f"{r} Å" for r in SHOWN)
    energies = [f"| N-H energy, eV | {lengths} |", "| --- |" + " ---: |" * len(SHOWN)]
    for name, calculator in calculators.items():
        atoms = relaxed_molecule(calculator)
        matrix = hessian(atoms)
        curve, bond = _curve(atoms)
        energies.append(f"| {name} | " + " | ".join(f"{curve(r):.2f}" for r in SHOWN) + " |")
        texts = []
        for isotope in ("H", "D"):
            masses = molecule_masses(isotope)
            omega, _ = normal_modes(matrix, masses)
            texts.append(", ".join(f"{value / CM:.0f}" for value in omega[6:]))
            reduced = masses[0] * masses[1] / (masses[0] + masses[1])
            harmonic = np.sqrt(curve(bond, 2) / (reduced * MASS)) / CM
            lowest = levels(curve, reduced, LENGTHS[0], LENGTHS[-1])
            first = (lowest[1] - lowest[0]) / (HBAR * CM)
            shifts.append(
                f"| {name} | N-{isotope} | {harmonic:.0f} | {first:.0f} | {first - harmonic:.0f} |"
            )
        frequencies.append(f"| {name} | {texts[0]} | {texts[1]} |")
    return "\n".join([*frequencies, "", *energies, "", *shifts]) + "\n"


def _curve(atoms: ase.Atoms) -> tuple[CubicSpline, float]:
    """Energy above that of the relaxed molecule along one bond, and that bond's length."""
    lowest, bond = atoms.get_potential_energy(), atoms.get_distance(0, 1)
    energies = []
    for length in LENGTHS:
        atoms.set_distance(0, 1, length, fix=0)
        energies.append(atoms.get_potential_energy() - lowest)
    return CubicSpline(LENGTHS, energies), bond


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", type=Path, help="deployed models")
    arguments = parser.parse_args()
    try:
        calculators = {"GFN1-xTB": gfn1()}
        calculators |= {
            path.name.partition(".")[0]: LegatoCalculator(path) for path in arguments.models
        }
        print(stretch_table(calculators), end="")
    except (DataError, LegatoError) as problem:
        sys.exit(f"stretch.py: {problem}")


if __name__ == "__main__":
    main()
