"""What a quantum campaign is: its YAML file, checked."""

import shlex
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any

from nequip_legato.errors import LegatoError
from nequip_legato.quantum.isotopes import read_isotopes, standard_mass
from nequip_legato.stability.run.resolve import resolved_models
from nequip_legato.stability.run.schema import (
    AUTO,
    OFF,
    existing,
    native,
    need,
    read_settings,
    structure_path,
    worded,
)
from nequip_legato.stability.run.settings import Criteria, check_criteria

__all__ = [
    "CLASSICAL",
    "IPI",
    "LAMMPS",
    "PIGLET",
    "PIMD",
    "TRPMD",
    "Geometry",
    "Isotopes",
    "Potential",
    "Settings",
    "System",
    "check",
    "load_quantum_settings",
    "resolved",
]

CLASSICAL, PIMD, TRPMD, PIGLET = "classical", "pimd", "trpmd", "piglet"
METHODS = (CLASSICAL, PIMD, TRPMD, PIGLET)
LAMMPS, IPI = "lammps", "i-pi"
_LARGEST_INTEGER = 2**31 - 1
_LARGEST_SEED = 900_000_000


@dataclass(frozen=True)
class Potential:
    """A deployed model, or any other potential of LAMMPS.

    Attributes:
        name: its name in the results.
        file: deployed model, relative to the YAML file.
        commands: instead of a file, LAMMPS commands that define a potential for the types (in the
            order of their first use: see ``in.lammps``), e.g. a force field as a reference.
        group: what it is an example of, e.g. ``plain`` or ``sam``. Default: its name.
        training_seed: which of the group's training runs. Default: its name.
    """

    name: str
    file: str = ""
    commands: str = ""
    group: str = ""
    training_seed: str = ""


@dataclass(frozen=True)
class System:
    """A structure.

    Attributes:
        name: its name in the results.
        structure: any file of ASE (``file@index`` for one of several frames). Where it is not
            periodic it is put into a box with ``vacuum`` around it.
        replicate: number of copies along each lattice vector.
        vacuum: Angstrom around a structure without a cell.
    """

    name: str
    structure: str
    replicate: tuple[int, ...] = (1, 1, 1)
    vacuum: float = 8.0


@dataclass(frozen=True)
class Isotopes:
    """A set of isotopes.

    Attributes:
        name: its name in the results.
        masses: type name -> ``H``, ``D``, ``T``, a mass in g/mol, or a mapping of them to fractions
            (``{H: {H: 0.5, D: 0.5}}``). Types that are not named have their standard masses, and
            hydrogen that of protium.
        seed: of the choice of atoms in a partial substitution.
    """

    name: str
    masses: dict[str, Any] = field(default_factory=dict)
    seed: int = 1


@dataclass(frozen=True)
class Geometry:
    """Molecules whose bonds and angles are measured.

    Attributes:
        center: type name, e.g. ``N``.
        ligand: type name of the atoms bonded to it, e.g. ``H``.
        max: longest bond in the start structure, Angstrom; it decides who is bonded.
        rdf: up to this distance radial distribution functions are measured, Angstrom, or ``off``.
    """

    center: str = ""
    ligand: str = ""
    max: float = 1.4
    rdf: float = worded(6.0, {OFF: 0.0}, old={None: OFF, 0: OFF})


@dataclass(frozen=True)
class Settings:
    """Models x systems x isotopes x temperatures x methods x beads x velocity seeds.

    Attributes:
        models: the potentials.
        systems: the structures.
        types: type names of the model.
        symbols: their chemical symbols; default: ``types``.
        isotopes: the sets of isotopes.
        temperatures: K.
        methods: of ``classical``, ``pimd`` (structure, all modes thermostatted), ``trpmd``
            (dynamics, the centroid free) and ``piglet`` (structure with few beads, by i-PI).
        beads: numbers of beads P; classical runs have one, PIGLET that of its parameters.
        engine: who moves the beads of PIMD and TRPMD. ``lammps``: fix pimd/langevin, with at least
            one MPI rank a bead. ``i-pi``: i-PI, which has one LAMMPS evaluate bead after bead; for
            machines with fewer cores than beads.
        piglet: file of PIGLET's parameters: i-PI's input, as gle4md.org writes it. Default: those
            of eight beads that come with this package.
        velocity_seeds: number of runs of each kind.
        first_velocity_seed: seed of the first.
        timestep: fs.
        steps: measured steps.
        equilibration_steps: steps before that, with all modes thermostatted.
        damping_fs: relaxation time of the centroid's Langevin thermostat, fs, of classical dynamics
            as of PIMD. It broadens lines by 5300 / damping_fs cm^-1.
        pile_scale: friction of the internal modes of PIMD over twice their frequency.
        trpmd_scale: the same of TRPMD; one half is best for spectra.
        integrator: ``baoab`` or ``obabo``.
        fix_center_of_mass: hold the center of mass; for systems that nothing else holds.
        sample_every: steps between frames of positions and forces of every bead, and between rows
            of their traces.
        velocity_every: steps between frames of velocities of classical dynamics and TRPMD.
        geometry: whose bonds and angles are measured.
        stretch_above: from this wavenumber on a hydrogen's power is that of the stretch, cm^-1; for
            other masses it is divided by the root of their ratio.
        criteria: when a bead has failed; as in stability campaigns, but without window of
            temperature.
        restart_every: steps between restart files, or ``off``.
        launcher: how LAMMPS is started; ``{ranks}`` stands for the number of ranks. Empty for the
            ``lmp`` of this Python environment, with ``mpiexec -n RANKS``. With Kokkos e.g.
            ``mpiexec -n {ranks} lmp -k on t 1 -sf kk``.
        ranks: MPI ranks of a run, a multiple of the number of beads; ``auto`` for one a bead. With
            i-PI, those of the one LAMMPS; ``auto`` for one.
        threads: threads of a rank.
        workers: runs at the same time; ``auto`` for as many as the cores allow.
        output: folder of the results; default: the YAML file's name without suffix.
    """

    models: tuple[Potential, ...]
    systems: tuple[System, ...]
    types: tuple[str, ...]
    symbols: tuple[str, ...] = ()
    isotopes: tuple[Isotopes, ...] = (Isotopes(name="natural"),)
    temperatures: tuple[float, ...] = (200.0,)
    methods: tuple[str, ...] = (CLASSICAL, PIMD)
    beads: tuple[int, ...] = (32,)
    engine: str = LAMMPS
    piglet: str = ""
    velocity_seeds: int = 1
    first_velocity_seed: int = 1
    timestep: float = 0.25
    steps: int = 200_000
    equilibration_steps: int = 20_000
    damping_fs: float = 500.0
    pile_scale: float = 1.0
    trpmd_scale: float = 0.5
    integrator: str = "baoab"
    fix_center_of_mass: bool = True
    sample_every: int = 20
    velocity_every: int = 4
    geometry: Geometry = field(default_factory=Geometry)
    stretch_above: float = 2500.0
    criteria: Criteria = field(default_factory=lambda: Criteria(temperature_window=None))
    restart_every: int | None = worded(10_000, {OFF: None}, old={None: OFF, 0: OFF})
    launcher: str = ""
    ranks: int | None = worded(None, {AUTO: None}, old={None: AUTO, 0: AUTO})
    threads: int = 1
    workers: int | None = worded(None, {AUTO: None}, old={None: AUTO, 0: AUTO})
    output: str = ""

    def engine_of(self, method: str) -> str:
        """Who moves the atoms: ``lammps`` or ``i-pi``."""
        if method == PIGLET:
            return IPI
        return LAMMPS if method == CLASSICAL else self.engine

    def ranks_of(self, method: str, beads: int) -> int:
        """MPI ranks of a run with so many beads."""
        return self.ranks or (1 if self.engine_of(method) == IPI else beads)


def load_quantum_settings(path: Path) -> Settings:
    """Read, check and resolve a quantum campaign's YAML file.

    Raises:
        LegatoError: if the file is missing, is not YAML, has unknown keys or impossible values.
    """
    if not path.is_file():
        raise LegatoError(f"{path} does not exist; give a campaign's YAML file")
    settings = read_settings(path, Settings, docs="docs/quantum.md")
    try:
        check(settings)
    except LegatoError as problem:
        raise LegatoError(f"{path}: {problem}") from None
    return resolved(settings, path)


def check(s: Settings) -> None:
    """Refuse impossible values; files are not looked for.

    Raises:
        LegatoError: if there is one.
    """
    for key in ("models", "systems", "isotopes"):
        entries = getattr(s, key)
        need(bool(entries), f"{key} is empty; name at least one")
        names = [entry.name for entry in entries]
        need(len(set(names)) == len(names), f"{key}: two of them have the same name")
        for name in names:
            need(
                bool(name) and not set(name) & set("/\\ \t\n$\"'&#") and name not in (".", ".."),
                f"{key}: '{name}' cannot be part of a folder's name; use letters, digits, '-', '_'",
            )
    for model in s.models:
        need(
            bool(model.file) != bool(model.commands),
            f"models: {model.name} needs either file or commands",
        )
    for key in ("types", "temperatures", "methods", "beads"):
        entries = getattr(s, key)
        need(bool(entries), f"{key} is empty; give at least one")
        need(len(set(entries)) == len(entries), f"{key}: two of them are the same")
    need(len(s.symbols) in (0, len(s.types)), "symbols needs as many entries as types")
    for symbol in s.symbols or s.types:
        standard_mass(symbol)
    for method in s.methods:
        need(method in METHODS, f"methods: '{method}' is none of {' '.join(METHODS)}")
    need(all(0 < t < inf for t in s.temperatures), "temperatures must be positive and finite")
    need(s.engine in (LAMMPS, IPI), f"engine '{s.engine}' is neither {LAMMPS} nor {IPI}")
    need(all(p >= 1 for p in s.beads), "beads must be at least 1")
    need(
        TRPMD not in s.methods or all(p > 1 for p in s.beads),
        "methods: trpmd needs at least 2 beads; with one it is classical",
    )
    engines = {s.engine_of(method) for method in s.methods}
    if IPI in engines:
        need(
            not s.criteria.temperature_window,
            "criteria: temperature_window is not watched in runs of i-PI; leave it out",
        )
    paths = [m for m in s.methods if m != CLASSICAL and s.engine_of(m) == LAMMPS]
    if s.ranks and paths:
        for beads in s.beads:
            need(
                s.ranks % beads == 0,
                f"ranks: {s.ranks} is not a multiple of {beads} beads; every bead needs as many "
                "ranks as the others",
            )
    for key in ("timestep", "damping_fs", "trpmd_scale", "pile_scale", "stretch_above"):
        need(0 < getattr(s, key) < inf, f"{key} must be positive and finite")
    for key in ("steps", "sample_every", "velocity_every", "velocity_seeds"):
        need(0 < getattr(s, key) <= _LARGEST_INTEGER, f"{key} must be at least 1")
    need(s.equilibration_steps >= 0, "equilibration_steps must not be negative")
    for key in ("restart_every", "ranks", "workers"):
        need(getattr(s, key) is None or getattr(s, key) > 0, f"{key} must not be negative or zero")
    total = s.equilibration_steps + s.steps
    most = total * max(s.beads) if IPI in engines else total
    need(most <= _LARGEST_INTEGER, f"LAMMPS counts steps up to {_LARGEST_INTEGER}")
    need(s.threads >= 1, "threads must be at least 1")
    need(
        1 <= s.first_velocity_seed <= _LARGEST_SEED - s.velocity_seeds,
        f"first_velocity_seed must lie between 1 and {_LARGEST_SEED}",
    )
    need(
        s.integrator in ("baoab", "obabo"),
        f"integrator '{s.integrator}' is neither baoab nor obabo",
    )
    for system in s.systems:
        good = len(system.replicate) == 3 and all(n >= 1 for n in system.replicate)
        need(good, f"systems: replicate needs three positive numbers, not {list(system.replicate)}")
        need(0 < system.vacuum < inf, "systems: vacuum must be positive")
    for entry in s.isotopes:
        for name, given in entry.masses.items():
            where = f"isotopes: {entry.name}"
            need(name in s.types, f"{where}: '{name}' is not among types")
            read_isotopes(given, where=where)
    g = s.geometry
    for name in filter(None, (g.center, g.ligand)):
        need(name in s.types, f"geometry names '{name}', which is not among types")
    need(bool(g.center) == bool(g.ligand), "geometry needs both center and ligand")
    need(g.max > 0 and g.rdf >= 0, "geometry: max must be positive, and rdf not negative")
    check_criteria(s.criteria, s.types)
    try:
        shlex.split(s.launcher.format(ranks=1))
    except (ValueError, KeyError, IndexError) as problem:
        raise LegatoError(f"launcher: {problem} in: {s.launcher}") from problem
    need(
        not s.launcher
        or "{ranks}" in s.launcher
        or bool(s.ranks)
        or not paths
        or max(s.beads) == 1,
        "launcher needs {ranks} where the number of ranks stands, or set ranks",
    )


def resolved(settings: Settings, path: Path) -> Settings:
    """A copy with absolute paths and the symbols of all types.

    Args:
        settings: the campaign's.
        path: its YAML file, to which paths are relative.

    Raises:
        LegatoError: if a file does not exist.
    """
    base = path.absolute().parent
    systems = tuple(
        replace(system, structure=structure_path(base, system.structure, f"systems: {system.name}"))
        for system in settings.systems
    )
    return replace(
        settings,
        models=resolved_models(settings.models, base),
        systems=systems,
        symbols=settings.symbols or settings.types,
        piglet=settings.piglet and str(existing(base / native(settings.piglet), "piglet")),
        output=str(base / (native(settings.output) or path.stem)),
    )
