"""Averages over the runs of a campaign."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io.lammpsdata import read_lammps_data

from nequip_legato.errors import LegatoError
from nequip_legato.quantum import inputs
from nequip_legato.quantum.blocks import Mean, block_means, mean_of
from nequip_legato.quantum.estimators import Series, measure
from nequip_legato.quantum.frames import Frames
from nequip_legato.quantum.geometry import Distribution, Geometry, bonded_sites
from nequip_legato.quantum.records import QuantumRecord
from nequip_legato.quantum.settings import PIGLET
from nequip_legato.quantum.spectra import Spectrum, run_spectra
from nequip_legato.stability.records import read_records

__all__ = ["Cell", "Key", "Options", "analyze", "read_campaign", "structure_of"]


@dataclass(frozen=True, order=True)
class Key:
    """What runs must have in common to be averaged over velocity seeds."""

    model: str
    system: str
    isotopes: str
    temperature: float
    method: str
    beads: int

    @property
    def label(self) -> str:
        """Name for tables and pictures."""
        method = self.method if self.beads == 1 else f"{self.method} P={self.beads}"
        return f"{self.system} {self.isotopes} {self.temperature:g} K {method}"


@dataclass(frozen=True)
class Options:
    """The settings of a campaign that its analysis needs.

    Attributes:
        center: model type of the molecules' central atoms; empty for none.
        ligand: model type of the atoms bonded to them.
        longest: longest bond, Angstrom.
        rdf: longest distance of radial distribution functions, Angstrom; 0 for none.
        stretch_above: lower end of the hydrogen stretch band, cm^-1.
    """

    center: str = ""
    ligand: str = ""
    longest: float = 1.4
    rdf: float = 6.0
    stretch_above: float = 2500.0


@dataclass
class Cell:
    """Runs that differ in their velocity seeds only; failed ones are counted and left out.

    Attributes:
        key: what they have in common.
        records: all of them.
        masses: species -> g/mol.
        counts: species -> number of atoms.
        virial: species -> kinetic energy per atom by the centroid-virial estimator, eV.
        primitive: species -> the same by the primitive estimator; empty for PIGLET, for which that
            estimator does not hold.
        gyration: species -> root mean squared radius of gyration, Angstrom.
        kinetic: kinetic energy of all atoms by the centroid-virial estimator, eV.
        potential: potential energy, eV.
        total: their sum.
        distributions: name -> (centers, density, error).
        means: name -> mean of a distribution.
        spectra: species -> spectrum.
    """

    key: Key
    records: list[QuantumRecord]
    masses: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    virial: dict[str, Mean] = field(default_factory=dict)
    primitive: dict[str, Mean] = field(default_factory=dict)
    gyration: dict[str, Mean] = field(default_factory=dict)
    kinetic: Mean | None = None
    potential: Mean | None = None
    total: Mean | None = None
    distributions: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = field(
        default_factory=dict
    )
    means: dict[str, Mean] = field(default_factory=dict)
    spectra: dict[str, Spectrum] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Number of runs that failed."""
        return sum(record.failed for record in self.records)

    @property
    def measured(self) -> bool:
        """Whether there are averages, that is, a run that has not failed."""
        return self.kinetic is not None


def read_campaign(folder: Path) -> list[QuantumRecord]:
    """The records of a campaign.

    Raises:
        LegatoError: if there is no campaign, or no finished run.
    """
    records = read_records(folder, QuantumRecord)
    if not records:
        raise LegatoError(
            f"{folder} holds no finished runs; run the campaign first (nequip-legato quantum run)"
        )
    return records


def structure_of(folder: Path, record: QuantumRecord) -> Atoms:
    """Start structure of a run, with LAMMPS types in ``arrays["type"]``."""
    numbers = dict(enumerate(Atoms(record.elements).numbers, 1))
    return read_lammps_data(
        folder / inputs.START, Z_of_type=numbers, units="metal", atom_style="atomic"
    )


def analyze(folder: Path, records: Sequence[QuantumRecord], options: Options) -> list[Cell]:
    """Averages over all finished runs that have not failed.

    Args:
        folder: the campaign's.
        records: its records.
        options: what to measure.

    Returns:
        One cell for each set of runs that differ in their velocity seeds only, sorted.
    """
    cells: dict[Key, Cell] = {}
    for r in records:
        key = Key(r.model, r.system, r.isotopes, r.temperature, r.method, r.beads)
        cells.setdefault(key, Cell(key, [])).records.append(r)
    for cell in cells.values():
        whole = [record for record in cell.records if not record.failed]
        if whole:
            _measure(cell, whole, folder, options)
    return [cells[key] for key in sorted(cells)]


def _measure(cell: Cell, records: Sequence[QuantumRecord], folder: Path, options: Options) -> None:
    blocks: dict[tuple[str, str], list[np.ndarray]] = {}
    geometries = []
    spectra: dict[str, list[Spectrum]] = {}
    for record in records:
        place = folder / "runs" / record.run
        atoms = structure_of(place, record)
        types = np.asarray(atoms.arrays["type"])
        geometry = _geometry(place, record, atoms, types, options)
        series = measure(place, record, types, geometry)
        geometries.append(geometry)
        for n, name in enumerate(record.species):
            cell.masses[name] = record.masses[n]
            cell.counts[name] = int(series.counts[n])
        for key, values in _values(record, series):
            blocks.setdefault(key, []).append(block_means(values))
        for name, spectrum in run_spectra(place, record, types).items():
            spectra.setdefault(name, []).append(spectrum)
    found = {key: _mean(np.concatenate(parts)) for key, parts in blocks.items()}
    for name in cell.counts:
        cell.virial[name] = found["virial", name]
        if ("primitive", name) in found:
            cell.primitive[name] = found["primitive", name]
        square = found["gyration", name]
        root = float(np.sqrt(square.value))
        cell.gyration[name] = Mean(root, square.error / (2 * root) if root else 0.0)
    cell.kinetic, cell.potential, cell.total = (
        found[kind, ""] for kind in ("kinetic", "potential", "total")
    )
    _collect(cell, geometries)
    for name, parts in spectra.items():
        same = [p for p in parts if len(p.wavenumbers) == len(parts[0].wavenumbers)]
        density = np.concatenate([p.density for p in same])
        cell.spectra[name] = Spectrum(parts[0].wavenumbers, density, parts[0].resolution)


def _values(record: QuantumRecord, series: Series) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    """Kind and species (empty for the whole system) -> one value for each frame."""
    for n, name in enumerate(record.species):
        yield ("virial", name), series.virial[:, n] / series.counts[n]
        if record.method != PIGLET:
            yield ("primitive", name), series.primitive[:, n] / series.counts[n]
        yield ("gyration", name), series.gyration[:, n]
    kinetic = series.virial.sum(axis=1)
    yield ("kinetic", ""), kinetic
    yield ("potential", ""), series.potential
    yield ("total", ""), kinetic + series.potential


def _mean(blocks: np.ndarray) -> Mean:
    value, error = mean_of(blocks)
    return Mean(float(value), float(error))


def _geometry(
    place: Path, record: QuantumRecord, atoms: Atoms, types: np.ndarray, options: Options
) -> Geometry:
    kinds = np.array(record.model_types)[types - 1]
    sites = bonded_sites(atoms, kinds == options.center, kinds == options.ligand, options.longest)
    frames = min(
        Frames(place / inputs.bead_folder(n) / inputs.FRAMES).count
        for n in range(1, record.beads + 1)
    )
    labels = [record.elements[t - 1] for t in types]
    return Geometry(atoms, sites, frames, record.beads, labels, options.rdf)


def _collect(cell: Cell, geometries: Sequence[Geometry]) -> None:
    named: dict[str, list[Distribution]] = {}
    for geometry in geometries:
        named.setdefault("bond", []).append(geometry.bonds)
        named.setdefault("angle", []).append(geometry.angles)
        for name, pairs in geometry.pairs.items():
            named.setdefault(name, []).append(pairs)
    for name, parts in named.items():
        densities = np.concatenate([part.densities() for part in parts])
        if not len(densities):
            continue
        value, error = mean_of(densities)
        cell.distributions[name] = parts[0].centers, value, error
        if name in ("bond", "angle"):
            cell.means[name] = _mean(np.concatenate([part.means() for part in parts]))
