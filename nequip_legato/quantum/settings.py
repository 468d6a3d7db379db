"""The settings of a quantum campaign: the keys of its YAML file, and their allowed values."""

from dataclasses import dataclass, field
from math import inf
from typing import Any

from nequip_legato.quantum.isotopes import read_isotopes, standard_mass
from nequip_legato.stability.run.checks import (
    LARGEST_INTEGER,
    LARGEST_SEED,
    at_least_one,
    can_be_folder,
    check_command,
    check_different,
    check_replicate,
    check_symbols,
    positive,
    positive_if_given,
)
from nequip_legato.stability.run.schema import AUTO, OFF, number_or_word, require
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
]

CLASSICAL, PIMD, TRPMD, PIGLET = "classical", "pimd", "trpmd", "piglet"
METHODS = (CLASSICAL, PIMD, TRPMD, PIGLET)
LAMMPS, IPI = "lammps", "i-pi"


@dataclass(frozen=True)
class Potential:
    """A deployed model, or any other potential of LAMMPS.

    Attributes:
        name: its name in the results.
        file: deployed model, relative to the YAML file.
        commands: instead of a file, LAMMPS commands that define a potential for the types (in the
            order of their first use: see ``in.lammps``), e.g. a force field as a reference.
        group: kind of training, e.g. ``plain`` or ``sam``. Default: its name.
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
        structure: any file of ASE (``file@index`` for one of several frames). If it is not
            periodic, it is put into a box with ``vacuum`` around it.
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
        seed: seed of the choice of atoms in a partial substitution.
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
        max: longest bond in the start structure, Angstrom; decides which atoms are bonded.
        rdf: longest distance of radial distribution functions, Angstrom, or ``off``.
    """

    center: str = ""
    ligand: str = ""
    max: float = 1.4
    rdf: float = number_or_word(6.0, {OFF: 0.0}, old={None: OFF, 0: OFF})


@dataclass(frozen=True)
class Settings:
    """Models x systems x isotopes x temperatures x methods x beads x velocity seeds.

    Attributes:
        models: the potentials.
        systems: the structures.
        types: type names of the model.
        symbols: their chemical symbols; default: ``types``.
        isotopes: the sets of isotopes.
        temperatures: temperatures, K.
        methods: of ``classical``, ``pimd`` (structure, all modes thermostatted), ``trpmd``
            (dynamics, the centroid free) and ``piglet`` (structure with few beads, by i-PI).
        beads: numbers of beads P; classical runs have one, PIGLET that of its parameters.
        engine: program that moves the beads of PIMD and TRPMD. ``lammps``: fix pimd/langevin, with
            at least one MPI rank per bead. ``i-pi``: i-PI, for which one LAMMPS evaluates bead
            after bead; for machines with fewer cores than beads.
        piglet: file of PIGLET's parameters: an i-PI input, as from gle4md.org. Default: the
            parameters for eight beads that come with this package.
        velocity_seeds: number of runs of each kind.
        first_velocity_seed: seed of the first of them.
        timestep: time step, fs.
        steps: measured steps.
        equilibration_steps: steps before that, with all modes thermostatted.
        damping_fs: relaxation time of the Langevin thermostat of the centroid, fs, in classical
            dynamics and PIMD. It broadens lines by 5300 / damping_fs cm^-1.
        pile_scale: friction of the internal modes of PIMD over twice their frequency.
        trpmd_scale: the same for TRPMD; one half is best for spectra.
        integrator: ``baoab`` or ``obabo``.
        fix_center_of_mass: fix the center of mass; for systems that nothing else holds in place.
        sample_every: steps between frames of positions and forces of every bead, and between rows
            of their traces.
        velocity_every: steps between frames of velocities of classical dynamics and TRPMD.
        geometry: molecules whose bonds and angles are measured.
        stretch_above: lower end of the hydrogen stretch band, cm^-1; for other masses it is divided
            by the square root of the mass ratio.
        criteria: when a bead has failed; as in stability campaigns, but by default without a
            temperature window.
        restart_every: steps between restart files, or ``off``.
        launcher: how LAMMPS is started; ``{ranks}`` stands for the number of ranks. Empty for the
            ``lmp`` of this Python environment, with ``mpiexec -n RANKS``. With Kokkos e.g.
            ``mpiexec -n {ranks} lmp -k on t 1 -sf kk``.
        ranks: MPI ranks of a run, a multiple of the number of beads; ``auto`` for one per bead.
            With i-PI, ranks of the one LAMMPS; ``auto`` for one.
        threads: threads per rank.
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
    restart_every: int | None = number_or_word(10_000, {OFF: None}, old={None: OFF, 0: OFF})
    launcher: str = ""
    ranks: int | None = number_or_word(None, {AUTO: None}, old={None: AUTO, 0: AUTO})
    threads: int = 1
    workers: int | None = number_or_word(None, {AUTO: None}, old={None: AUTO, 0: AUTO})
    output: str = ""

    def engine_of(self, method: str) -> str:
        """Program that moves the atoms: ``lammps`` or ``i-pi``."""
        if method == PIGLET:
            return IPI
        return LAMMPS if method == CLASSICAL else self.engine

    def ranks_of(self, method: str, beads: int) -> int:
        """MPI ranks of a run with this number of beads."""
        return self.ranks or (1 if self.engine_of(method) == IPI else beads)


def check(s: Settings) -> None:
    """Refuse impossible values; files are not looked for.

    Raises:
        LegatoError: if there is one.
    """
    _check_entries(s)
    _check_methods(s)
    _check_numbers(s)
    _check_structures(s)
    check_criteria(s.criteria, s.types)
    _check_launcher(s)


def _engines(s: Settings) -> set[str]:
    return {s.engine_of(method) for method in s.methods}


def _partitioned_methods(s: Settings) -> list[str]:
    """Methods whose beads are partitions of LAMMPS."""
    return [m for m in s.methods if m != CLASSICAL and s.engine_of(m) == LAMMPS]


def _check_entries(s: Settings) -> None:
    for key in ("models", "systems", "isotopes"):
        entries = getattr(s, key)
        require(bool(entries), f"{key} is empty; name at least one")
        names = [entry.name for entry in entries]
        require(len(set(names)) == len(names), f"{key}: two of them have the same name")
        for name in names:
            require(
                can_be_folder(name),
                f"{key}: '{name}' cannot be part of a folder's name; use letters, digits, '-', '_'",
            )
    for model in s.models:
        require(
            bool(model.file) != bool(model.commands),
            f"models: {model.name} needs either file or commands",
        )
    for key in ("types", "temperatures", "methods", "beads"):
        check_different(key, getattr(s, key))
    check_symbols(s.symbols, s.types)
    for symbol in s.symbols or s.types:
        standard_mass(symbol)


def _check_methods(s: Settings) -> None:
    for method in s.methods:
        require(method in METHODS, f"methods: '{method}' is not one of {' '.join(METHODS)}")
    require(s.engine in (LAMMPS, IPI), f"engine '{s.engine}' is neither {LAMMPS} nor {IPI}")
    require(all(p >= 1 for p in s.beads), "beads must be at least 1")
    require(
        TRPMD not in s.methods or all(p > 1 for p in s.beads),
        "methods: trpmd needs at least 2 beads; with one it is classical",
    )
    if IPI in _engines(s):
        require(
            not s.criteria.temperature_window,
            "criteria: temperature_window has no effect in runs by i-PI; leave it out",
        )
    if s.ranks and _partitioned_methods(s):
        for beads in s.beads:
            require(
                s.ranks % beads == 0,
                f"ranks: {s.ranks} is not a multiple of {beads} beads; every bead needs as many "
                "ranks as the others",
            )
    require(
        s.integrator in ("baoab", "obabo"),
        f"integrator '{s.integrator}' is neither baoab nor obabo",
    )


def _check_numbers(s: Settings) -> None:
    require(all(0 < t < inf for t in s.temperatures), "temperatures must be positive and finite")
    positive(s, "timestep", "damping_fs", "trpmd_scale", "pile_scale", "stretch_above")
    for key in ("steps", "sample_every", "velocity_every", "velocity_seeds"):
        require(0 < getattr(s, key) <= LARGEST_INTEGER, f"{key} must be at least 1")
    require(s.equilibration_steps >= 0, "equilibration_steps must not be negative")
    positive_if_given(s, "restart_every", "ranks", "workers")
    total = s.equilibration_steps + s.steps
    most = total * max(s.beads) if IPI in _engines(s) else total
    require(most <= LARGEST_INTEGER, f"LAMMPS counts steps up to {LARGEST_INTEGER}")
    at_least_one(s, "threads")
    require(
        1 <= s.first_velocity_seed <= LARGEST_SEED - s.velocity_seeds,
        f"first_velocity_seed must lie between 1 and {LARGEST_SEED}",
    )


def _check_structures(s: Settings) -> None:
    for system in s.systems:
        check_replicate("systems", system.replicate)
        require(0 < system.vacuum < inf, "systems: vacuum must be positive")
    for entry in s.isotopes:
        for name, isotopes in entry.masses.items():
            where = f"isotopes: {entry.name}"
            require(name in s.types, f"{where}: '{name}' is not among types")
            read_isotopes(isotopes, where=where)
    g = s.geometry
    for name in filter(None, (g.center, g.ligand)):
        require(name in s.types, f"geometry names '{name}', which is not among types")
    require(bool(g.center) == bool(g.ligand), "geometry needs both center and ligand")
    require(g.max > 0 and g.rdf >= 0, "geometry: max must be positive, and rdf not negative")


def _check_launcher(s: Settings) -> None:
    check_command(s.launcher, ranks=1)
    require(
        not s.launcher
        or "{ranks}" in s.launcher
        or bool(s.ranks)
        or not _partitioned_methods(s)
        or max(s.beads) == 1,
        "launcher needs {ranks} in place of the number of ranks; or set ranks",
    )
