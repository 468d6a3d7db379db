"""How closely a LAMMPS with Kokkos can agree with float64, by its ``KOKKOS_PREC``."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lammps_run import Run, dumped

__all__ = ["BY_NAME", "Precision", "assert_same", "precision_of", "reason_to_skip"]

_DIFFERENCES = "differences of the energy need positions in float64"
# Tests of the pair style whose limits mean something with positions in float64 alone, and why.
_NEEDS_FLOAT64 = {
    "test_forces_are_differences_of_the_energy": _DIFFERENCES,
    "test_virial_is_the_difference_of_the_energy_under_strain": _DIFFERENCES,
    "test_rotation_through_lammps": "rotated positions are rounded to other float32 numbers",
    "test_deletion_from_a_liquid": _DIFFERENCES,
    "test_atom_swap": _DIFFERENCES,
    "test_molecule_swap": _DIFFERENCES,
    "test_energies_alone": _DIFFERENCES,
    "test_hybrid_overlay_adds": "LAMMPS' own Lennard-Jones forces (750 eV/A there) are in float32",
}
# The same for forces.
_NEEDS_FLOAT64_FORCES = {"test_null_type": "sums of forces are rounded to float32"}


@dataclass(frozen=True)
class Precision:
    """Limits for a build of LAMMPS, several times what was seen for ammonia in a box of 8.7 A.

    Attributes:
        name: LAMMPS' word for it.
        relative: deviation of any quantity, relative to its largest value (or to 1, if larger).
    """

    name: str
    relative: float


BY_NAME = {
    "double": Precision("double", 1e-8),
    "mixed": Precision("mixed", 5e-5),
    "single": Precision("single", 5e-5),
}


def precision_of(build: Path) -> Precision:
    """Precision of the LAMMPS in a build folder; releases without a choice have double."""
    for line in (build / "CMakeCache.txt").read_text().splitlines():
        if line.startswith("KOKKOS_PREC:"):
            return BY_NAME[line.partition("=")[2].lower()]
    return BY_NAME["double"]


def reason_to_skip(precision: Precision, test: str) -> str:
    """Why a test says nothing about a LAMMPS of this precision; empty if it does."""
    if precision.name == "double":
        return ""
    reasons = _NEEDS_FLOAT64 | (_NEEDS_FLOAT64_FORCES if precision.name == "single" else {})
    return f"KOKKOS_PREC={precision.name}: {reasons[test]}" if test in reasons else ""


def assert_same(run: Run, other: Run, tolerance: float) -> None:
    """Positions, velocities, forces, energies and virials, all steps' sums and the last step's."""
    per_atom = [("xu", "yu", "zu"), ("vx", "vy", "vz"), ("fx", "fy", "fz"), ("c_eatom",)]
    per_atom += [
        tuple(f"{prefix}[{k}]" for k in range(1, count + 1))
        for prefix, count in (("c_satom", 6), ("c_catom", 9))
    ]
    for names in per_atom:
        _close(dumped(run, *names), dumped(other, *names), tolerance, names[0])
    for names in (("PotEng",), ("TotEng",), ("Pxx", "Pxy")):
        a, b = (np.array([r.thermo[name] for name in names]) for r in (run, other))
        _close(a, b, tolerance, names[0])


def _close(a: np.ndarray, b: np.ndarray, tolerance: float, what: str) -> None:
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1, np.abs(b).max()), err_msg=what)
