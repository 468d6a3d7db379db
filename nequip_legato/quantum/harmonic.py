"""A harmonic oscillator with a finite number of beads, in closed form.

With ``omega_P = P k T / hbar``, the normal modes of a ring polymer in a harmonic well have the
squared frequencies ``omega_k^2 = omega^2 + 4 omega_P^2 sin^2(k pi / P)``, k = 0 ... P - 1, and each
holds k T P / 2 of potential energy (Ceriotti, Parrinello, Markland and Manolopoulos, J. Chem. Phys.
133, 124104, 2010, doi:10.1063/1.3489925). P = 1 is the classical, P to infinity the quantum
oscillator.
"""

import numpy as np

from nequip_legato.quantum.units import BOLTZMANN, HBAR, MASS, ring_frequency

__all__ = ["free_energy", "gyration_squared", "kinetic_energy", "kinetic_energy_exact"]


def kinetic_energy(omega: float, temperature: float, beads: int) -> float:
    """Mean kinetic energy of one degree of freedom in eV, by the (centroid) virial.

    Args:
        omega: frequency, 1/ps.
        temperature: in K.
        beads: number of beads P.
    """
    return (
        0.5 * BOLTZMANN * temperature * float(np.sum(omega**2 / _modes(omega, temperature, beads)))
    )


def gyration_squared(omega: float, temperature: float, beads: int, mass: float) -> float:
    """Mean squared distance of a bead from the centroid, of one degree of freedom, Angstrom^2.

    Args:
        omega: frequency, 1/ps.
        temperature: in K.
        beads: number of beads P.
        mass: in g/mol.
    """
    inverse = np.sum(1.0 / _modes(omega, temperature, beads)[1:])
    return BOLTZMANN * temperature * float(inverse) / (mass * MASS)


def kinetic_energy_exact(omega: float, temperature: float) -> float:
    """Mean kinetic energy of one quantum degree of freedom, eV."""
    x = HBAR * omega / (2.0 * BOLTZMANN * temperature)
    return 0.25 * HBAR * omega / np.tanh(x)


def free_energy(omega: float, temperature: float, beads: int) -> float:
    """Free energy of one degree of freedom in eV: -k T ln of the product of omega_P / omega_k."""
    ratio = np.log(_modes(omega, temperature, beads)) / 2 - np.log(
        ring_frequency(temperature, beads)
    )
    return BOLTZMANN * temperature * float(np.sum(ratio))


def _modes(omega: float, temperature: float, beads: int) -> np.ndarray:
    """Squared frequencies of the ring polymer's normal modes: (P,), the centroid's first."""
    k = np.arange(beads)
    return omega**2 + (2.0 * ring_frequency(temperature, beads) * np.sin(np.pi * k / beads)) ** 2
