"""Vibrational density of states from velocities."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.signal.windows import hann

from nequip_legato.quantum import inputs
from nequip_legato.quantum.frames import Frames
from nequip_legato.quantum.records import QuantumRecord
from nequip_legato.quantum.units import LIGHT

__all__ = ["Spectrum", "density_of_states", "peak_position", "run_spectra"]

SEGMENTS = 5  # of a run, each one sample of the spectrum
_PADDING = 4  # times the segment's length
_FLOOR = 0.05  # of a band's highest value; lower values do not count for its position


@dataclass(frozen=True)
class Spectrum:
    """Densities of states, normalized to unit area.

    Attributes:
        wavenumbers: (points,) cm^-1.
        density: (segments, points) in cm.
        resolution: width at half height of a sharp line, cm^-1.
    """

    wavenumbers: np.ndarray
    density: np.ndarray
    resolution: float


def density_of_states(velocities: np.ndarray, interval: float) -> Spectrum:
    """Power spectrum of velocities, summed over atoms and directions.

    Each of a few successive segments is multiplied by a Hann window, padded with zeros, and Fourier
    transformed (Wiener and Khinchin: that is the transform of the autocorrelation of velocities).

    Args:
        velocities: (frames, atoms, 3), in any unit.
        interval: time between frames, ps.
    """
    length = len(velocities) // SEGMENTS
    size = 1 << (_PADDING * max(length, 2) - 1).bit_length()
    wavenumbers = np.fft.rfftfreq(size, interval) / LIGHT
    window = hann(length, sym=False)[:, None]
    density = np.empty((SEGMENTS, len(wavenumbers)))
    flat = velocities.reshape(len(velocities), -1)
    for n in range(SEGMENTS):
        power = np.zeros(len(wavenumbers))
        part = flat[n * length : (n + 1) * length]
        for begin in range(0, part.shape[1], 24):  # a few at a time, to save memory
            amplitude = np.fft.rfft(part[:, begin : begin + 24] * window, size, axis=0)
            power += (np.abs(amplitude) ** 2).sum(axis=1)
        density[n] = power / (power.sum() * (wavenumbers[1] - wavenumbers[0]))
    return Spectrum(wavenumbers, density, 2.0 / (length * interval * LIGHT))


def run_spectra(folder: Path, record: QuantumRecord, types: np.ndarray) -> dict[str, Spectrum]:
    """Species -> spectrum of a run of classical dynamics, or of the centroids in TRPMD.

    Args:
        folder: the run's.
        record: its record.
        types: (atoms,) LAMMPS type of each atom, from 1.

    Returns:
        Empty if the run kept too few velocities.
    """
    path = folder / inputs.bead_folder(1) / inputs.VELOCITIES
    if not path.is_file():
        return {}
    frames = Frames(path)
    if frames.count < 8 * SEGMENTS:
        return {}
    velocities = frames.read(0, frames.count)
    interval = record.velocity_every * record.timestep / 1000.0
    return {
        name: density_of_states(velocities[:, types == number], interval)
        for number, name in enumerate(record.species, 1)
    }


def peak_position(spectrum: Spectrum, low: float, high: float = np.inf) -> np.ndarray:
    """Mean wavenumber of a band, weighted with its power, for each segment: (segments,) cm^-1.

    Args:
        spectrum: the spectrum.
        low: lower end of the band, cm^-1.
        high: upper end of the band, cm^-1.
    """
    inside = (spectrum.wavenumbers >= low) & (spectrum.wavenumbers <= high)
    density = spectrum.density[:, inside]
    kept = np.where(density >= _FLOOR * density.max(axis=1, keepdims=True), density, 0.0)
    return (kept * spectrum.wavenumbers[inside]).sum(axis=1) / kept.sum(axis=1)
