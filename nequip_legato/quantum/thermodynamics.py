"""Heat capacities and isotope effects out of mean energies."""

from collections.abc import Sequence

import numpy as np

from nequip_legato.quantum.blocks import Mean
from nequip_legato.quantum.units import BOLTZMANN

__all__ = ["fractionation", "heat_capacity", "substitution_free_energy"]


def heat_capacity(low: Mean, high: Mean, temperatures: tuple[float, float]) -> Mean:
    """Heat capacity between two temperatures, in units of Boltzmann's constant.

    Args:
        low: total energy at the first temperature, eV.
        high: that at the second.
        temperatures: both, K.
    """
    difference = (temperatures[1] - temperatures[0]) * BOLTZMANN
    return (high - low).scaled(1.0 / difference)


def substitution_free_energy(masses: Sequence[float], kinetic: Sequence[Mean]) -> Mean:
    """Free energy of making an atom as heavy as the last mass, from the first: per atom, eV.

    The derivative of the free energy by the mass m is -K/m. It is integrated over g = (m_0/m)^(1/2)
    (Ceriotti and Markland, J. Chem. Phys. 138, 014112, 2013, doi:10.1063/1.4772676), in which K/g
    is smooth: through the points goes the polynomial of lowest degree.

    Args:
        masses: at least two, in ascending order.
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
    """1000 ln alpha of the heavy isotope between two systems; positive: it prefers the first.

    Args:
        first: `substitution_free_energy` in the first system, eV.
        second: that in the second.
        temperature: K.
    """
    return (second - first).scaled(1000.0 / (BOLTZMANN * temperature))
