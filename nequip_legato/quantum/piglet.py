"""PIGLET: colored noise with which few beads converge like many.

Each normal mode of the ring polymer has a generalized Langevin thermostat with drift matrix A and
covariance C, fitted so that the beads of any harmonic mode have its quantum fluctuations (Ceriotti
and Manolopoulos, Phys. Rev. Lett. 109, 100604, 2012, doi:10.1103/PhysRevLett.109.100604).
The centroid is classical. In units of k T and hbar the matrices do not depend on the temperature.
"""

import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from scipy.linalg import solve_continuous_lyapunov

from nequip_legato.errors import LegatoError
from nequip_legato.quantum.harmonic import kinetic_energy_exact
from nequip_legato.quantum.units import BOLTZMANN, LIGHT, ring_frequency

__all__ = ["Piglet", "read_piglet"]

ATOMIC_TIME = 2.4188843e-5  # ps, i-PI's value
_OWN = 8, 298.0  # beads and temperature (K) of the parameters that come with the package
_HIGHEST = 4000.0  # 1/cm; harmonic modes up to here must have their quantum kinetic energy
_TOLERANCE = 0.01


@dataclass(frozen=True)
class Piglet:
    """Parameters at one temperature.

    Attributes:
        temperature: in K.
        drift: (beads, n, n) matrices A, 1/ps; the first is the centroid's.
        covariance: (beads, n, n) matrices C, K.
    """

    temperature: float
    drift: np.ndarray
    covariance: np.ndarray

    @property
    def beads(self) -> int:
        """Number of beads."""
        return len(self.drift)

    def at(self, temperature: float, damping: float) -> "Piglet":
        """Parameters at another temperature, with white noise on the centroid.

        Args:
            temperature: in K.
            damping: relaxation time of the centroid's velocity, fs.

        Raises:
            LegatoError: if harmonic modes up to 4,000 cm^-1 would not have the kinetic energy of
                quantum ones within 1 %.
        """
        scale = temperature / self.temperature
        drift, covariance = self.drift * scale, self.covariance * scale
        drift[0] = np.eye(drift.shape[1]) * 1000.0 / damping
        covariance[0] = np.eye(drift.shape[1]) * temperature * self.beads
        found = Piglet(temperature, drift, covariance)
        for wavenumber in np.arange(250.0, _HIGHEST + 1.0, 250.0):
            omega = 2.0 * np.pi * LIGHT * wavenumber
            ratio = found.kinetic_energy(omega) / kinetic_energy_exact(omega, temperature)
            if abs(ratio - 1.0) > _TOLERANCE:
                raise LegatoError(
                    f"piglet: at {temperature:g} K these parameters for {self.beads} beads give a "
                    f"harmonic mode of {wavenumber:g} cm^-1 an error of {100 * (ratio - 1):+.1f} % "
                    "in its quantum kinetic energy; take parameters for more beads from gle4md.org"
                )
        return found

    def kinetic_energy(self, omega: float) -> float:
        """Exact mean centroid-virial kinetic energy of one harmonic degree of freedom in eV.

        The stationary covariance S of position, momentum and additional momenta of every normal
        mode solves the Lyapunov equation M S + S M^T = D of their linear stochastic dynamics.

        Args:
            omega: frequency, 1/ps.
        """
        return 0.5 * BOLTZMANN * omega**2 * float(self._squares(omega).sum()) / self.beads

    def gyration_squared(self, omega: float, mass: float) -> float:
        """Mean squared distance of a bead from the centroid of one degree of freedom, Angstrom^2.

        Args:
            omega: frequency, 1/ps.
            mass: in eV ps^2/Angstrom^2.
        """
        return BOLTZMANN * float(self._squares(omega)[1:].sum()) / (self.beads * mass)

    def _squares(self, omega: float) -> np.ndarray:
        """(beads,) mean square position of every mode, times mass over k_B, K ps^2."""
        size = self.drift.shape[1]
        found = np.empty(self.beads)
        for k in range(self.beads):
            spring = (
                2.0 * ring_frequency(self.temperature, self.beads) * np.sin(np.pi * k / self.beads)
            )
            motion = np.zeros((size + 1, size + 1))
            motion[1:, 1:] = self.drift[k]
            motion[0, 1] = -1.0
            motion[1, 0] = omega**2 + spring**2
            noise = np.zeros_like(motion)
            product = self.drift[k] @ self.covariance[k]
            noise[1:, 1:] = product + product.T
            found[k] = solve_continuous_lyapunov(motion, noise)[0, 0]
        return found


def read_piglet(path: str = "") -> Piglet:
    """Parameters from an input of i-PI, or those of the package.

    Args:
        path: a file with an element ``thermostat`` of mode ``nm_gle``, as from gle4md.org; empty
            for the package's.

    Raises:
        LegatoError: if the file has no such element, or its matrices are invalid.
    """
    if not path:
        source = files("nequip_legato.quantum") / "piglet_8.txt"
        with source.open() as stream:
            drift, covariance = np.loadtxt(stream).reshape(2, 1, 9, 9)
        beads, temperature = _OWN
        return Piglet(
            temperature,
            np.repeat(drift, beads, axis=0) / ATOMIC_TIME,
            np.repeat(covariance, beads, axis=0),
        )
    try:
        text = re.sub(r"<!--.*?-->", "", Path(path).read_text(encoding="utf-8"), flags=re.DOTALL)
        root = ElementTree.fromstring(f"<all>{re.sub(r'<[?].*?[?]>', '', text)}</all>")
        thermostat = next(t for t in root.iter("thermostat") if t.get("mode") == "nm_gle")
        drift, covariance = (_matrices(thermostat, name) for name in ("A", "C"))
        units = [_element(thermostat, name).get("units") for name in ("A", "C")]
        good = drift.shape == covariance.shape and units[0] in (None, "atomic_unit")
        if not good or units[1] != "kelvin" or len(drift) < 2:
            raise ValueError("A in atomic units and C in kelvin, of one shape")
        return Piglet(covariance[0, 0, 0] / len(drift), drift / ATOMIC_TIME, covariance)
    except (OSError, ValueError, AttributeError, StopIteration, ElementTree.ParseError) as problem:
        raise LegatoError(
            f"piglet: {path} holds no thermostat of mode nm_gle with matrices A and C "
            f"({problem or type(problem).__name__}); take i-PI's PIGLET input from gle4md.org"
        ) from problem


def _element(thermostat: ElementTree.Element, name: str) -> ElementTree.Element:
    found = thermostat.find(name)
    if found is None:
        raise ValueError(f"no {name}")
    return found


def _matrices(thermostat: ElementTree.Element, name: str) -> np.ndarray:
    element = _element(thermostat, name)
    shape = [int(n) for n in re.findall(r"\d+", element.get("shape", ""))]
    words = re.sub(r"[\[\],]", " ", element.text or "").split()
    return np.array([float(word) for word in words]).reshape(shape)
