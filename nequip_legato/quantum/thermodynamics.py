"""Heat capacities and isotope effects from mean energies."""

from collections.abc import Sequence

import numpy as np

from nequip_legato.quantum.blocks import Mean
from nequip_legato.quantum.units import BOLTZMANN

__all__ = ["fractionation", "heat_capacity", "substitution_free_energy"]


def heat_capacity(low: Mean, high: Mean, temperatures: tuple[float, float]) -> Mean:
    """Heat capacity between two temperatures, in units of Boltzmann's constant.

    Args:
        low: total energy at the first temperature, eV.
        high: total energy at the second temperature, eV.
        temperatures: both, K.
    """
    difference = (temperatures[1] - temperatures[0]) * BOLTZMANN
    return (high - low).scaled(1.0 / difference)


def substitution_free_energy(masses: Sequence[float], kinetic: Sequence[Mean]) -> Mean:
    """Free energy of changing the mass of an atom from the first to the last mass, eV per atom.

    The derivative of the free energy by the mass m is -K/m. It is integrated over
    ``g = (m_0/m)^(1/2)`` (Ceriotti and Markland, J. Chem. Phys. 138, 014112, 2013,
    doi:10.1063/1.4772676), in which K/g is smooth, with the polynomial of lowest degree through all
    points.

    Args:
        masses: at least two, in ascending order, g/mol.
        kinetic: mean kinetic energy of an atom of each mass, eV.
    """
    g = np.sqrt(masses[0] / np.asarray(masses, dtype=float))
    powers = np.arange(len(g))
    # weights that integrate every polynomial through the points from g[-1] to 1
    moments = (1.0 - g[-1] ** (powers + 1.0)) / (powers + 1.0)
    weights = -2.0 * np.linalg.solve(np.vander(g, increasing=True).T, moments) / g
    value = float(np.dot(weights, [k.value for k in kinetic]))
    error = float(np.sqrt(np.dot(weights**2, [k.error**2 for k in kinetic])))
    return Mean(value, error)


def fractionation(first: Mean, second: Mean, temperature: float) -> Mean:
    """1000 ln alpha of the heavy isotope between two systems; positive if it prefers the first.

    Args:
        first: `substitution_free_energy` in the first system, eV.
        second: `substitution_free_energy` in the second system, eV.
        temperature: in K.
    """
    return (second - first).scaled(1000.0 / (BOLTZMANN * temperature))
