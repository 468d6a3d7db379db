"""The runs of a quantum campaign, and their folders."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from nequip_legato.errors import LegatoError
from nequip_legato.quantum.isotopes import Species, assign, read_isotopes
from nequip_legato.quantum.piglet import read_piglet
from nequip_legato.quantum.serve import ipi_program
from nequip_legato.quantum.settings import (
    CLASSICAL,
    IPI,
    PIGLET,
    Isotopes,
    Potential,
    Settings,
    System,
)
from nequip_legato.stability.run.criteria import resolved_largest_force
from nequip_legato.stability.run.plan import check_model, fingerprint_of
from nequip_legato.stability.run.planned import CampaignPlan, CampaignRun
from nequip_legato.stability.run.settings import Settings as StabilitySettings
from nequip_legato.stability.run.structures import read_atoms

__all__ = ["QuantumPlan", "QuantumRun", "make_quantum_plan"]


@dataclass(frozen=True, kw_only=True)
class QuantumRun(CampaignRun):
    """One model, system, set of isotopes, temperature, method, number of beads, velocity seed.

    Attributes:
        model: the potential.
        system: the structure.
        isotopes: the set of isotopes.
        atoms: the structure with LAMMPS types (from 1) in ``arrays["type"]``.
        species: species of each LAMMPS type.
        temperature: in K.
        method: ``classical``, ``pimd``, ``trpmd`` or ``piglet``.
        beads: number of beads.
    """

    model: Potential
    system: System
    isotopes: Isotopes
    atoms: Atoms
    species: list[Species]
    temperature: float
    method: str
    beads: int

    @property
    def size(self) -> int:
        """What the cost of a step is proportional to: atoms times beads."""
        return len(self.atoms) * self.beads

    def as_stability(self, settings: Settings) -> StabilitySettings:
        """The settings of a stability campaign with the same criteria and LAMMPS types."""
        return StabilitySettings(
            models=(),
            structure=self.system.structure,
            types=tuple(s.model_type for s in self.species),
            symbols=tuple(s.symbol for s in self.species),
            masses=tuple(s.mass for s in self.species),
            temperature=self.temperature,
            timestep=settings.timestep,
            criteria=settings.criteria,
            trace_every=settings.sample_every,
            threads=settings.threads,
        )


@dataclass(frozen=True, kw_only=True)
class QuantumPlan(CampaignPlan):
    """All runs of a campaign.

    Attributes:
        settings: the campaign's.
        runs: all runs, seed by seed, small ones first.
    """

    settings: Settings
    runs: list[QuantumRun]

    @property
    def cores(self) -> int:
        """Number of cores of the largest run."""
        s = self.settings
        return max((s.ranks_of(r.method, r.beads) for r in self.runs), default=1) * s.threads


def make_quantum_plan(settings: Settings) -> QuantumPlan:
    """The runs that the settings ask for.

    Raises:
        LegatoError: if a structure or a model cannot be used.
    """
    s = settings
    if any(s.engine_of(method) == IPI for method in s.methods) and not ipi_program():
        raise LegatoError(
            "i-PI is not installed; pip install 'nequip-legato[quantum]' (or pip install ipi), or "
            "choose engine: lammps and methods without piglet"
        )
    structures = {system.name: _structure(system, s.symbols) for system in s.systems}
    potentials = {model.name: _potential(model, s) for model in s.models}
    protocol = _protocol(s)
    runs: list[QuantumRun] = []
    for model, system, entry in product(s.models, s.systems, s.isotopes):
        force, digest = potentials[model.name]
        atoms, species = _with_isotopes(structures[system.name], s, entry)
        common = {"model": model, "system": system, "isotopes": entry, "largest_force": force}
        content = fingerprint_of(
            protocol=protocol,
            model=digest,
            positions=atoms.positions.tolist(),
            cell=atoms.cell.tolist(),
            atom_types=atoms.arrays["type"].tolist(),
            species=[asdict(one) for one in species],
        )
        runs += _runs(s, content, atoms=atoms, species=species, **common)
    runs.sort(key=lambda r: (r.velocity_seed, r.size))
    return QuantumPlan(settings=s, runs=runs)


def _potential(model: Potential, s: Settings) -> tuple[float, str]:
    """Threshold of the largest force in eV/Angstrom, and digest of a potential."""
    if not model.file:
        digest = hashlib.sha256(model.commands.encode()).hexdigest()
        return resolved_largest_force(s.criteria, None), digest
    force = check_model(model.file, s, f"models: {model.name}")
    return force, hashlib.sha256(Path(model.file).read_bytes()).hexdigest()


def _protocol(s: Settings) -> dict[str, Any]:
    """The settings that determine all runs."""
    return {
        "types": s.types,
        "timestep": s.timestep,
        "damping": s.damping_fs,
        "scales": [s.pile_scale, s.trpmd_scale],
        "integrator": s.integrator,
        "piglet": Path(s.piglet).read_text(errors="replace") if s.piglet else "",
        "fixed": s.fix_center_of_mass,
        "steps": [s.equilibration_steps, s.steps, s.sample_every, s.velocity_every],
        "criteria": asdict(s.criteria),
    }


def _runs(s: Settings, content: str, **common: Any) -> Iterator[QuantumRun]:
    """The runs of one potential and structure: temperatures, methods, beads, velocity seeds.

    Args:
        s: the campaign's settings.
        content: fingerprint of what these runs have in common.
        common: their fields.
    """
    place = f"{common['system'].name}-{common['isotopes'].name}"
    for temperature, (method, beads), number in product(
        s.temperatures, _kinds(s), range(s.velocity_seeds)
    ):
        seed = s.first_velocity_seed + number
        kind = f"{temperature:g}K-{method}-{beads}-{seed}"
        yield QuantumRun(
            **common,
            temperature=temperature,
            method=method,
            beads=beads,
            velocity_seed=seed,
            folder=Path(s.output) / "runs" / common["model"].name / place / kind,
            fingerprint=fingerprint_of(content=content, kind=kind, engine=s.engine_of(method)),
        )


def _kinds(s: Settings) -> Iterator[tuple[str, int]]:
    for method in s.methods:
        if method == PIGLET:
            piglet = read_piglet(s.piglet)
            for temperature in s.temperatures:
                piglet.at(temperature, s.damping_fs)  # raises if they are not accurate enough
            yield method, piglet.beads
            continue
        for beads in [1] if method == CLASSICAL else s.beads:
            yield method, beads


def _structure(system: System, symbols: Sequence[str]) -> Atoms:
    atoms = read_atoms(system.structure, symbols)
    if not atoms.pbc.any() and system.replicate == (1, 1, 1):
        atoms.center(vacuum=system.vacuum)
        atoms.pbc = True
    if not (atoms.pbc.all() and atoms.cell.rank == 3):
        raise LegatoError(
            f"systems: {system.name}: {system.structure} is periodic in some directions only, or "
            "has replicate without a cell; give a cell"
        )
    return atoms.repeat(tuple(system.replicate))


def _with_isotopes(atoms: Atoms, s: Settings, entry: Isotopes) -> tuple[Atoms, list[Species]]:
    isotopes = {
        name: read_isotopes(isotopes, where=f"isotopes: {entry.name}")
        for name, isotopes in entry.masses.items()
    }
    types = np.asarray(atoms.arrays["type"]) - 1
    chosen, species = assign(types, s.types, s.symbols, isotopes, seed=entry.seed)
    labeled = atoms.copy()
    labeled.arrays["type"] = chosen + 1
    return labeled, species
