"""LAMMPS' ``units metal``: eV, Angstrom, ps, g/mol, K. The constants are LAMMPS' own."""

import math

__all__ = ["BOLTZMANN", "HBAR", "LIGHT", "MASS", "ring_frequency"]

BOLTZMANN = 8.617343e-5  # eV/K
HBAR = 4.135667403e-3 / (2.0 * math.pi)  # eV ps
MASS = 1.0364269e-4  # (g/mol) (Angstrom/ps)^2 in eV
LIGHT = 0.0299792458  # cm/ps


def ring_frequency(temperature: float, beads: int) -> float:
    """Frequency of the springs between neighboring beads, omega_P = P k T / hbar, in 1/ps."""
    return beads * BOLTZMANN * temperature / HBAR
