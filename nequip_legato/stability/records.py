"""Records of finished runs, which campaigns write and reports read."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from nequip_legato.errors import LegatoError
from nequip_legato.files import write_atomically

__all__ = [
    "CENSORED",
    "FAILED",
    "RECORD_NAME",
    "Record",
    "read_record",
    "read_records",
    "write_record",
]

FAILED = "failed"
CENSORED = "censored"
RECORD_NAME = "result.json"
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Record:
    """One finished run: one model, one system size, one velocity seed.

    Attributes:
        run: name of the run's folder, relative to the campaign's.
        model: name of the model in the campaign.
        group: kind of training, e.g. ``plain`` or ``sam``; groups are compared.
        training_seed: which training run of that group. Runs of one model are not independent, so
            statistics resample whole training seeds.
        atoms: number of atoms N.
        velocity_seed: seed of the initial velocities.
        ensemble: ``nvt``, ``langevin`` or ``nve``.
        temperature: target temperature in K.
        timestep: time step, fs.
        step_limit: number of steps after which a run without failure ends.
        outcome: ``failed`` or ``censored`` (reached the limit).
        steps: steps survived: that of the failure, or the limit.
        criterion: name of the criterion that fired; None if censored.
        value: what the criterion measured then; None if that was not finite.
        threshold: what it was compared with.
        wall: wall-clock time of the measured part in LAMMPS, s.
        ranks: number of MPI ranks.
        fingerprint: fingerprint of everything that determines the result.
    """

    run: str
    model: str
    group: str
    training_seed: str
    atoms: int
    velocity_seed: int
    ensemble: str
    temperature: float
    timestep: float
    step_limit: int
    outcome: str
    steps: int
    criterion: str | None = None
    value: float | None = None
    threshold: float | None = None
    wall: float
    ranks: int = 1
    fingerprint: str = ""

    @property
    def failed(self) -> bool:
        """Whether a criterion fired; otherwise the run is censored."""
        return self.outcome == FAILED

    @property
    def size(self) -> int:
        """Number of atoms, to which the cost of a step is proportional."""
        return self.atoms

    @property
    def time(self) -> float:
        """Time survived in ps."""
        return self.steps * self.timestep / 1000.0

    @property
    def steps_per_second(self) -> float:
        """Simulation speed; NaN if the time was too short to measure."""
        return self.steps / self.wall if self.wall > 0 else math.nan

    @property
    def atom_steps_per_second(self) -> float:
        """Simulation speed times the number of atoms."""
        return self.steps_per_second * self.atoms


R = TypeVar("R", bound="Record")


def write_record(record: Record, folder: Path) -> Path:
    """Write ``result.json`` into the run's folder; it appears complete or not at all."""
    path = folder / RECORD_NAME
    content = {"format": _FORMAT, **asdict(record)}
    write_atomically(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
    return path


def read_record(path: Path, kind: type[R] = Record) -> R:  # type: ignore[assignment]
    """One ``result.json``, as a record of the class ``kind``.

    Raises:
        LegatoError: if it is not a record.
    """
    return _parsed(path.read_text(encoding="utf-8"), str(path), kind)


def read_records(folder: Path, kind: type[R] = Record) -> list[R]:  # type: ignore[assignment]
    """All finished runs of a campaign, in the order of their names.

    ``folder`` is a campaign's output folder, or a file ``*.jsonl`` with one record per line (a
    compact form of a campaign).

    Raises:
        LegatoError: if there is no such campaign, or a record cannot be read.
    """
    if folder.is_file():
        lines = folder.read_text(encoding="utf-8").splitlines()
        texts = [(f"{folder}, line {n}", t) for n, t in enumerate(lines, 1) if t.strip()]
    else:
        if not folder.is_dir():
            raise LegatoError(f"{folder} does not exist; give the folder of a campaign")
        texts = [(str(path), path.read_text(encoding="utf-8")) for path in sorted(_paths(folder))]
    return [_parsed(text, origin, kind) for origin, text in texts]


def _paths(folder: Path) -> Iterator[Path]:
    return folder.glob(f"runs/*/*/*/{RECORD_NAME}")


def _parsed(text: str, origin: str, kind: type[R]) -> R:
    try:
        content: dict[str, Any] = json.loads(text)
        version = content.pop("format")
        names = {field.name for field in fields(kind)}
        record = kind(**{key: value for key, value in content.items() if key in names})
        valid = version == _FORMAT and record.outcome in (FAILED, CENSORED)
    except (ValueError, TypeError, AttributeError, KeyError) as problem:
        raise LegatoError(
            f"{origin} is not a record of a run ({type(problem).__name__}: {problem}); remove it "
            "and run the campaign again"
        ) from problem
    if not valid:
        raise LegatoError(
            f"{origin} has format {version}, outcome {record.outcome}, which this version does not "
            "read; use the version of nequip-legato that wrote it"
        )
    return record
