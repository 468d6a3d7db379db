"""The runs of a campaign, and their folders."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from itertools import product
from pathlib import Path
from typing import Any

from ase import Atoms

from nequip_legato.deployed.reader import info
from nequip_legato.errors import LegatoError
from nequip_legato.stability.records import Record
from nequip_legato.stability.run import criteria
from nequip_legato.stability.run.planned import CampaignPlan, CampaignRun
from nequip_legato.stability.run.settings import Criteria, Model, Settings, Size
from nequip_legato.stability.run.structures import read_start

__all__ = [
    "Plan",
    "PlannedRun",
    "Start",
    "check_bonds",
    "check_fingerprints",
    "check_model",
    "fingerprint_of",
    "make_plan",
]

_MOST_ATOMS = 2**31 - 1


@dataclass(frozen=True)
class Start:
    """The equilibrated structure of one size.

    Attributes:
        size: how it is made.
        atoms: number of atoms.
        folder: where it is equilibrated.
        fingerprint: fingerprint of everything that determines it.
    """

    size: Size
    atoms: int
    folder: Path
    fingerprint: str

    @property
    def data(self) -> Path:
        """The LAMMPS data file that runs start from."""
        return self.folder / "start.data"

    @property
    def mark(self) -> Path:
        """Exists when ``data`` does, and holds its fingerprint."""
        return self.folder / "done.json"


@dataclass(frozen=True, kw_only=True)
class PlannedRun(CampaignRun):
    """One model, one size, one ensemble, one velocity seed.

    Attributes:
        model: the model.
        start: the structure it starts from.
        ensemble: ``nvt``, ``langevin`` or ``nve``.
        steps: step limit.
    """

    model: Model
    start: Start
    ensemble: str
    steps: int

    @property
    def size(self) -> int:
        """What the cost of a step is proportional to: the number of atoms."""
        return self.start.atoms


@dataclass(frozen=True, kw_only=True)
class Plan(CampaignPlan):
    """All runs of a campaign, in an order that gives a first overview early.

    Attributes:
        settings: the campaign's.
        starts: one for each size.
        runs: every velocity seed of every size and model; seed by seed, small sizes first.
    """

    settings: Settings
    starts: list[Start]
    runs: list[PlannedRun]

    @property
    def cores(self) -> int:
        """Number of cores of one run."""
        return self.settings.ranks * self.settings.threads

    @cached_property
    def start_atoms(self) -> Atoms:
        """The structure that is replicated."""
        return read_start(self.settings)


def make_plan(settings: Settings) -> Plan:
    """The runs that the settings ask for.

    Raises:
        LegatoError: if the start structure or a model cannot be used.
    """
    start_atoms = read_start(settings)
    forces = {m.name: check_model(m.file, settings, f"models: {m.name}") for m in settings.models}
    if settings.equilibration.steps:
        check_model(settings.equilibration.model, settings, "equilibration: model")
    digest = cache(_digest)
    starts = sorted(_starts(settings, start_atoms, digest), key=lambda s: s.atoms)
    runs = list(_runs(settings, starts, forces, digest))
    runs.sort(key=lambda r: (r.velocity_seed, r.size))
    return Plan(settings=settings, starts=starts, runs=runs)


def _digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _starts(
    settings: Settings, start_atoms: Atoms, digest: Callable[[str], str]
) -> Iterator[Start]:
    """The equilibrated structures, in the order of the sizes."""
    e = settings.equilibration
    structure = fingerprint_of(
        positions=start_atoms.positions.tolist(),
        cell=start_atoms.cell.tolist(),
        types=start_atoms.arrays["type"].tolist(),
        names=settings.types,
        masses=settings.masses,
        temperature=settings.temperature,
        equilibration=asdict(e) | {"model": digest(e.model)} if e.steps else None,
    )
    for size in settings.sizes:
        atoms = size.replicate[0] * size.replicate[1] * size.replicate[2] * len(start_atoms)
        if atoms > _MOST_ATOMS:
            raise LegatoError(
                f"sizes: replicate {list(size.replicate)} makes {atoms:,} atoms, more than LAMMPS "
                "holds"
            )
        folder = Path(settings.output) / "starts" / f"{atoms}-{'x'.join(map(str, size.replicate))}"
        fingerprint = fingerprint_of(structure=structure, replicate=size.replicate)
        yield Start(size, atoms, folder, fingerprint)


def _runs(
    settings: Settings,
    starts: Sequence[Start],
    forces: Mapping[str, float],
    digest: Callable[[str], str],
) -> Iterator[PlannedRun]:
    """The runs of each start structure, model and ensemble."""
    protocol = fingerprint_of(
        timestep=settings.timestep,
        damping=settings.damping_steps,
        criteria=asdict(settings.criteria),
    )
    folder = Path(settings.output) / "runs"
    for start, model, ensemble in product(starts, settings.models, settings.ensembles):
        steps = start.size.steps or settings.steps
        for number in range(start.size.velocity_seeds or settings.velocity_seeds):
            seed = settings.first_velocity_seed + number
            fingerprint = fingerprint_of(
                protocol=protocol,
                start=start.fingerprint,
                model=digest(model.file),
                ensemble=ensemble,
                seed=seed,
                steps=steps,
            )
            yield PlannedRun(
                model=model,
                start=start,
                ensemble=ensemble,
                velocity_seed=seed,
                steps=steps,
                largest_force=forces[model.name],
                folder=folder / model.name / start.folder.name / f"{ensemble}-{seed}",
                fingerprint=fingerprint,
            )


def check_model(path: str, settings: Any, what: str) -> float:
    """Refuse a model that does not fit ``types`` and ``criteria`` of the settings.

    Args:
        path: deployed file.
        settings: of a stability or quantum campaign.
        what: key of the YAML file that names the model, for messages.

    Returns:
        The threshold of the largest force in eV/Angstrom; 0 for none.

    Raises:
        LegatoError: if it does not fit.
    """
    found = info(Path(path))
    if not found.usable:
        raise LegatoError(f"{what}: pair_style allegro_legato cannot run {path}; {found.remark}")
    missing = [name for name in settings.types if name not in found.type_names]
    if missing:
        raise LegatoError(
            f"{what}: {path} knows no type {' '.join(missing)}; its types are "
            f"{' '.join(found.type_names)}"
        )
    check_bonds(settings.criteria, found.cutoff, path)
    force = found.largest_force
    known = force if force == force else None  # NaN: the labels had no forces
    return criteria.resolved_largest_force(settings.criteria, known)


def check_bonds(criteria: Criteria, cutoff: float, path: str) -> None:
    """Refuse bonds that are longer than a model's cutoff.

    Args:
        criteria: of a campaign.
        cutoff: of the model, Angstrom.
        path: file of the model, for messages.

    Raises:
        LegatoError: if there is one.
    """
    for bond in criteria.bonds:
        if bond.max >= cutoff:
            raise LegatoError(
                f"criteria: bonds: max {bond.max:g} is not below the cutoff {cutoff:g} "
                f"Angstrom of {path}"
            )


def fingerprint_of(**content: object) -> str:
    """A short digest of the content, which must be JSON-serializable."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def check_fingerprints(records: Mapping[str, Record], runs: Sequence[CampaignRun]) -> None:
    """Refuse results that were made with other settings.

    Raises:
        LegatoError: if a finished run's settings differ from those of the plan.
    """
    for run in runs:
        record = records.get(run.name)
        if record is not None and record.fingerprint not in ("", run.fingerprint):
            raise LegatoError(
                f"{run.folder} was made with another model, start or settings than the campaign "
                "asks for now; give the campaign another output, or remove that folder"
            )
