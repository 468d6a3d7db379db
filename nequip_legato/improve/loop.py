"""The loop: rounds until the target is reached, or the limit of rounds."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from nequip_legato.errors import LegatoError
from nequip_legato.files import write_atomically
from nequip_legato.improve.campaigns import PARTS
from nequip_legato.improve.choose import check_libraries
from nequip_legato.improve.knowledge import Origin, open_origin
from nequip_legato.improve.labeling import make_calculator
from nequip_legato.improve.report import write_report
from nequip_legato.improve.resolve import load_improve_settings
from nequip_legato.improve.rounds import Round, Show
from nequip_legato.improve.settings import FILES, ImproveSettings, Loop
from nequip_legato.improve.stages import (
    choose_structures,
    deploy_model,
    explore,
    label,
    measure_errors,
    measure_life,
    train,
)
from nequip_legato.improve.training import training_config
from nequip_legato.stability.run.plan import check_bonds, check_model
from nequip_legato.stability.run.processes import KilledError
from nequip_legato.stability.run.structures import read_start
from nequip_legato.stability.statistics.rates import group_rate

__all__ = ["LIMIT", "NOTHING", "TARGET", "WAITING", "Outcome", "check_before", "improve"]

TARGET = "the target is reached"
LIMIT = "the limit of rounds is reached"
WAITING = "labels are missing"
NOTHING = "there is nothing to learn from"

# Settings that may change between calls: they decide when to end and how fast, not the results.
_FREE = ("rounds", "target", "jobs", "output")


@dataclass(frozen=True)
class Outcome:
    """How a loop has ended, or why it waits.

    Attributes:
        reason: one of ``TARGET``, ``LIMIT``, ``WAITING`` and ``NOTHING``.
        rounds: number of the last round whose time to failure was measured.
        folder: of the results; its ``improve.md`` is the report.
    """

    reason: str
    rounds: int
    folder: Path


def improve(settings: Loop | Path, *, show: Show | None = None) -> Outcome:
    """Run what is left of a loop.

    It may be stopped at any point, even by SIGKILL; a later call continues. Nothing that is
    finished is done again, and no structure is labeled twice.

    Args:
        settings: the loop, or its YAML file.
        show: where messages go.

    Raises:
        LegatoError: if settings or files are wrong, if another process runs the same loop, or if a
            stage fails; what is finished is kept.
        KeyboardInterrupt: after an interrupt.
    """
    if isinstance(settings, Path):
        settings = load_improve_settings(settings)
    show = show or Show()
    origin = check_before(settings)
    folder = Path(settings.output)
    _make(folder)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LegatoError(f"another process is working in {folder}; wait for it") from None
    try:
        _same_settings(settings, folder / "settings.json")
        return _rounds(settings, origin, show)
    except KilledError:
        raise LegatoError("nequip-train was killed; the same command continues") from None
    finally:
        lock.release()


def check_before(settings: Loop) -> Origin:
    """Check everything that can be checked before the first run.

    These are the calculator, the libraries, the checkpoint, its data, of both campaigns the start
    structure, types, bonds and equilibration, the committee, and whether the training can be
    continued.

    Returns:
        The initial checkpoint.

    Raises:
        LegatoError: if something is wrong.
    """
    if settings.labels != FILES:
        make_calculator(settings.labels)
    check_libraries()
    origin = open_origin(Path(settings.checkpoint), test_frames=settings.test_frames)
    for part in PARTS:
        _check_campaign(settings, origin, part)
    place = Path(settings.output)
    training_config(
        place,
        origin,
        checkpoint=Path(settings.checkpoint),
        added=place,
        n_old=1,
        n_added=1,
        settings=settings.training,
        delta=1.0 if settings.training.robust is None else settings.training.robust,
    )
    return origin


def _check_campaign(settings: Loop, origin: Origin, part: str) -> None:
    """Check one of the campaigns against the model, before there is a deployed file."""
    campaign = Round(0, settings).campaign_unmade(part)
    read_start(campaign)
    known = list(origin.source.model.type_names)
    missing = [name for name in campaign.types if name not in known]
    if missing:
        raise LegatoError(
            f"campaign: types: the model knows no {' '.join(missing)}; its types are "
            f"{' '.join(known)}"
        )
    check_bonds(campaign.criteria, origin.cutoff, settings.checkpoint)
    start = campaign.equilibration
    if start.steps and start.model != settings.checkpoint:
        check_model(start.model, campaign, "equilibration: model")
    for file in settings.observe.committee:
        check_model(file, campaign, "observe: committee")


def _rounds(settings: Loop, origin: Origin, show: Show) -> Outcome:
    folder = Path(settings.output)
    number = 0
    while True:
        now = Round(number, settings)
        if number:
            reason = _learn(now, origin, show)
            if reason:
                write_report(settings, origin, reason)
                return Outcome(reason, number - 1, folder)
        deploy_model(now, origin, show)
        measure_errors(now, origin)
        records = measure_life(now, show)
        rate = group_rate(f"round {number}", records)
        show.report(
            f"round {number}: {rate.failures} failures in {rate.atom_ps:,.0f} atom ps, "
            f"{rate.rate.value:.3g} [{rate.rate.low:.3g}, {rate.rate.high:.3g}] per 1,000"
        )
        reached = settings.target > 0 and rate.rate.high <= settings.target
        reason = TARGET if reached else LIMIT if number >= settings.rounds else ""
        write_report(settings, origin, reason or "running")
        if reason:
            return Outcome(reason, number, folder)
        number += 1


def _learn(now: Round, origin: Origin, show: Show) -> str:
    """Make the model of a round; returns why there is none, or an empty string."""
    if now.checkpoint.is_file():
        return ""
    show.report(f"round {now.number}: exploring")
    chosen = choose_structures(now, explore(now, show), origin, show)
    if not chosen:
        show.report(f"round {now.number}: no failure and no near-failure; explore for longer")
        return NOTHING
    if not label(now, chosen, origin, show):
        return WAITING
    if train(now, origin, show) is None:
        show.report(f"round {now.number}: no label is good; see labels.jsonl for the reasons")
        return NOTHING
    return ""


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise LegatoError(
            f"output: the folder {folder} cannot be made ({problem.strerror})"
        ) from problem


def _same_settings(settings: Loop, path: Path) -> None:
    """Refuse to continue with other settings than those of the first call."""
    digest = hashlib.sha256(Path(settings.checkpoint).read_bytes()).hexdigest()[:16]
    kept = {one.name for one in fields(ImproveSettings)} - set(_FREE)
    now: dict[str, Any] = {k: v for k, v in asdict(settings).items() if k in kept}
    for part in ("campaign", "explore", "life"):
        now[part] = {k: v for k, v in now[part].items() if k != "workers"}
    now = json.loads(json.dumps(now | {"checkpoint_digest": digest}, sort_keys=True, default=str))
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        others = sorted(k for k in now if before.get(k) != now[k])
        if others:
            raise LegatoError(
                f"{path.parent} was made with other settings ({' '.join(others)}); only rounds, "
                "target, jobs and workers may change: give another output, or remove that folder"
            )
        return
    write_atomically(path, json.dumps(now, indent=1) + "\n")
