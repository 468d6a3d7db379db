"""How closely a LAMMPS with Kokkos can agree with float64, by its ``KOKKOS_PREC``."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lammps_run import Run, dumped

__all__ = ["BY_NAME", "Precision", "assert_same", "precision_of", "reason_to_skip"]

# What the builds have in float32.
_FLOAT32 = {"double": (), "mixed": ("positions",), "single": ("positions", "forces")}


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


def reason_to_skip(precision: Precision, reason: str, *, of: str = "positions") -> str:
    """Why a test marked ``float64`` says nothing about such a LAMMPS; empty if it does.

    Args:
        precision: of the LAMMPS.
        reason: why the test needs float64.
        of: what it needs in float64, ``positions`` or ``forces``.
    """
    return f"KOKKOS_PREC={precision.name}: {reason}" if of in _FLOAT32[precision.name] else ""


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
