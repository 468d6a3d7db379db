"""The settings of a campaign: the keys of its YAML file, and their allowed values."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

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

__all__ = [
    "Bonds",
    "Criteria",
    "Equilibration",
    "Model",
    "Settings",
    "Size",
    "check",
    "check_criteria",
]

ENSEMBLES = ("nvt", "langevin", "nve")


@dataclass(frozen=True)
class Model:
    """A deployed model.

    Attributes:
        name: its name in the results.
        file: path, relative to the campaign's YAML file.
        group: kind of training, e.g. ``sam``; the report compares groups. Default: its name.
        training_seed: which of the group's training runs. Default: its name.
    """

    name: str
    file: str
    group: str = ""
    training_seed: str = ""


@dataclass(frozen=True)
class Size:
    """A system size: the start structure replicated.

    Attributes:
        replicate: number of copies along each lattice vector.
        steps: step limit; None for the campaign's.
        velocity_seeds: number of velocity seeds; None for the campaign's.
    """

    replicate: tuple[int, ...] = (1, 1, 1)
    steps: int | None = None
    velocity_seeds: int | None = None


@dataclass(frozen=True)
class Equilibration:
    """How start structures are equilibrated, once for each size: Langevin dynamics.

    Attributes:
        model: name of one of the models, or a deployed file. Default: the first model.
        steps: number of steps; 0 for none.
        timestep: time step, fs.
        damping_fs: relaxation time of the thermostat, fs.
        seed: seed of the velocities and random forces.
    """

    model: str = ""
    steps: int = 400
    timestep: float = 0.5
    damping_fs: float = 50.0
    seed: int = 1


@dataclass(frozen=True)
class Bonds:
    """Neighbors that every atom of a type must have.

    Attributes:
        center: type name of the atoms that are checked.
        neighbor: type name of their neighbors.
        count: how many neighbors closer than ``max`` each must have.
        max: longest bond, Angstrom.
        min: shortest bond, Angstrom; 0 for no limit.
        at_least: whether more neighbors than ``count`` are allowed, so that a hydrogen bond which
            is shorter than ``max`` for a moment, as with quantum nuclei, is not a failure.
    """

    center: str
    neighbor: str
    count: int
    max: float
    min: float = 0.0
    at_least: bool = False


@dataclass(frozen=True)
class Criteria:
    """When a run has failed. Lost atoms and values that are not finite always count.

    Attributes:
        temperature_window: K around the target temperature (the paper's: 100), or ``off``.
        largest_force: eV/Angstrom on an atom; ``auto`` for five times the largest force in the
            model's training data, ``off`` for no limit.
        closest_ratio: smallest distance of a pair relative to the shortest distance of such a pair
            in training, or ``off``.
        bonds: bonds that must stay.
        every: steps between checks of temperature, energy and forces.
        contacts_every: steps between checks of pairs and bonds.
    """

    temperature_window: float | None = number_or_word(100.0, {OFF: None}, old={None: OFF, 0: OFF})
    largest_force: float | None = number_or_word(
        None, {AUTO: None, OFF: 0.0}, old={None: AUTO, 0: OFF}
    )
    closest_ratio: float = number_or_word(0.8, {OFF: 0.0}, old={None: OFF, 0: OFF})
    bonds: tuple[Bonds, ...] = ()
    every: int = 1
    contacts_every: int = 10


@dataclass(frozen=True)
class Settings:
    """A campaign: models x sizes x velocity seeds. Defaults are the paper's protocol.

    Attributes:
        models: the models.
        structure: start structure: any file of ASE (``file@index`` for one of several frames), or
            a LAMMPS data file with ``atom_style atomic``.
        types: the model's type name of each LAMMPS atom type.
        symbols: chemical symbol of each LAMMPS atom type; default: ``types``.
        masses: g/mol of each LAMMPS atom type; default: the standard masses of ``symbols``.
        sizes: the system sizes.
        velocity_seeds: number of velocity seeds.
        first_velocity_seed: the first of them; the others follow.
        ensembles: of ``nvt`` (Nose-Hoover), ``langevin`` and ``nve``; each run is done in each.
        temperature: target temperature, K.
        timestep: time step, fs.
        damping_steps: relaxation time of the thermostat in time steps.
        steps: step limit, after which a run that has not failed is censored.
        equilibration: how start structures are equilibrated.
        criteria: when a run has failed.
        trace_every: steps between rows of ``trace.csv``.
        restart_every: steps between restart files, or ``off``. A run that was killed continues from
            the last one; without one it is repeated from its start and gives the same result.
        launcher: how LAMMPS is started, e.g. ``mpiexec -n 4 lmp`` or ``srun lmp``; empty for the
            ``lmp`` of this Python environment, with ``mpiexec -n RANKS`` for several ranks.
        ranks: MPI ranks per run.
        threads: threads per rank.
        workers: runs at the same time; ``auto`` for as many as the cores allow.
        output: folder of the results, relative to the YAML file; default: its name without suffix.
    """

    models: tuple[Model, ...]
    structure: str
    types: tuple[str, ...]
    symbols: tuple[str, ...] = ()
    masses: tuple[float, ...] = ()
    sizes: tuple[Size, ...] = (Size(),)
    velocity_seeds: int = 10
    first_velocity_seed: int = 1
    ensembles: tuple[str, ...] = ("nvt",)
    temperature: float = 200.0
    timestep: float = 2.5
    damping_steps: float = 100.0
    steps: int = 1_000_000
    equilibration: Equilibration = field(default_factory=Equilibration)
    criteria: Criteria = field(default_factory=Criteria)
    trace_every: int = 10
    restart_every: int | None = number_or_word(10_000, {OFF: None}, old={None: OFF, 0: OFF})
    launcher: str = ""
    ranks: int = 1
    threads: int = 1
    workers: int | None = number_or_word(None, {AUTO: None}, old={None: AUTO, 0: AUTO})
    output: str = ""


def check(s: Settings) -> None:
    """Refuse impossible values; files are not looked for.

    Raises:
        ValueLegatoError: if there is one.
    """
    _check_models(s.models)
    _check_types(s)
    _check_sizes(s.sizes)
    _check_runs(s)
    _check_equilibration(s.equilibration)
    check_criteria(s.criteria, s.types)


def _check_models(models: Sequence[Model]) -> None:
    require(bool(models), "models is empty; name at least one")
    names = [m.name for m in models]
    twice = sorted({n for n in names if names.count(n) > 1})
    require(not twice, f"models: several are called {' '.join(twice)}; give each its own name")
    for name in names:
        require(
            can_be_folder(name),
            f"models: '{name}' cannot be the name of a folder; use letters, digits, '-', '_', '.'",
        )


def _check_types(s: Settings) -> None:
    require(bool(s.types), "types is empty; give the model's type name of each LAMMPS type")
    for name in s.types:
        plain = name.isascii() and name.isprintable() and not set(name) & set(' "')
        require(bool(name) and plain, f"types: LAMMPS cannot be given the type name '{name}'")
    check_symbols(s.symbols, s.types)
    require(not s.masses or len(s.masses) == len(s.types), "masses needs as many entries as types")
    require(all(0 < m < inf for m in s.masses), "masses must be positive and finite")


def _check_sizes(sizes: Sequence[Size]) -> None:
    for size in sizes:
        check_replicate("sizes", size.replicate)
        good = size.steps is None or 0 < size.steps <= LARGEST_INTEGER
        require(good, f"sizes: steps must be positive and at most {LARGEST_INTEGER}")
        require(
            size.velocity_seeds is None or size.velocity_seeds > 0, "sizes: velocity_seeds >= 1"
        )
    check_different("sizes", [size.replicate for size in sizes])


def _check_runs(s: Settings) -> None:
    check_different("ensembles", s.ensembles)
    for name in s.ensembles:
        require(name in ENSEMBLES, f"ensembles: '{name}' is not one of {' '.join(ENSEMBLES)}")
    positive(
        s, "temperature", "timestep", "damping_steps", "steps", "velocity_seeds", "trace_every"
    )
    require(s.steps <= LARGEST_INTEGER, f"steps must be at most {LARGEST_INTEGER}")
    at_least_one(s, "ranks", "threads", "first_velocity_seed")
    positive_if_given(s, "workers", "restart_every")
    most = max([s.velocity_seeds] + [size.velocity_seeds or 0 for size in s.sizes])
    last = max(s.first_velocity_seed + most - 1, s.equilibration.seed)
    require(last <= LARGEST_SEED, f"LAMMPS takes seeds up to {LARGEST_SEED}, not {last}")
    check_command(s.launcher)


def _check_equilibration(e: Equilibration) -> None:
    require(
        0 <= e.steps <= LARGEST_INTEGER
        and 0 < e.timestep < inf
        and 0 < e.damping_fs < inf
        and e.seed > 0,
        "equilibration: steps must not be negative; timestep, damping_fs and seed must be positive",
    )


def check_criteria(c: Criteria, types: Sequence[str]) -> None:
    """Refuse impossible criteria.

    Raises:
        ValueLegatoError: if there is one.
    """
    require(
        c.every >= 1 and c.contacts_every >= 1, "criteria: every and contacts_every must be >= 1"
    )
    for key in ("temperature_window", "largest_force", "closest_ratio"):
        good = 0 <= (getattr(c, key) or 0) < inf
        require(good, f"criteria: {key} must be finite and not negative")
    for bond in c.bonds:
        for name in (bond.center, bond.neighbor):
            require(name in types, f"criteria: bonds name '{name}', which is not among types")
        require(
            bond.count >= 0 and 0 <= bond.min < bond.max,
            "criteria: bonds need count >= 0 and 0 <= min < max",
        )
