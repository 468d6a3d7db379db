"""What a loop would do, and its cost: for ``--dry-run``."""

import json
from datetime import timedelta
from pathlib import Path

from nequip_legato.improve.knowledge import Origin
from nequip_legato.improve.rounds import Round, label_store
from nequip_legato.improve.settings import FILES, Loop
from nequip_legato.stability.records import Record, read_records
from nequip_legato.stability.run.settings import Settings
from nequip_legato.stability.run.structures import read_start

__all__ = ["forecast"]


def forecast(settings: Loop, origin: Origin) -> str:
    """The stages of each round in words: what is finished, and what the rest costs at most.

    Times are extrapolated from what the loop has done so far.

    Args:
        settings: the loop's.
        origin: of its first model.
    """
    rounds = [Round(number, settings) for number in range(settings.rounds + 1)]
    steps = origin.source.history.get("steps")
    lines = [f"{settings.checkpoint}: trained for {steps or 'an unknown number of'} steps"]
    for now in rounds:
        lines.append(f"round {now.number}")
        if now.number:
            lines += _stage(now.checkpoint.is_file(), _making(now, rounds, steps))
        deploying = f"deploy to {settings.file}, fence: {settings.fence.kind}"
        lines += _stage(now.model.is_file(), [deploying])
        errors = f"errors on {len(origin.test)} test frames"
        lines += _stage(now.errors.is_file(), [errors])
        lines += [f"  {_campaign(now, 'life', rounds)}"]
    if settings.target:
        lines.append(
            "ends earlier if the upper end of the rate's interval is below "
            f"{settings.target:g} per 1,000 atom ps"
        )
    return "\n".join(lines)


def _stage(done: bool, texts: list[str]) -> list[str]:
    return [f"  {'done: ' if done else ''}{text}" for text in texts]


def _making(now: Round, rounds: list[Round], steps: int | None) -> list[str]:
    settings = now.settings
    number = settings.choose.number
    how = "written to a file" if settings.labels == FILES else f"by {settings.labels['_target_']}"
    store = label_store(settings)
    times = [store[name].seconds for name in store.names() if store[name].seconds]
    cost = _time(number * sum(times) / len(times) / settings.jobs) if times else ""
    training = f"train for {settings.training.epochs} epochs on old frames and up to "
    training += f"{now.number * number} added frames"
    known = [
        json.loads(r.trained.read_text(encoding="utf-8")) for r in rounds if r.trained.is_file()
    ]
    if known:
        part = f", {known[-1]['steps'] / steps:.2f} of the first training" if steps else ""
        training += f": about {known[-1]['steps']:,} steps{part}{_time(known[-1]['seconds'])}"
    return [
        _campaign(now, "explore", rounds),
        f"choose and label up to {number} structures, {how}{cost}",
        training,
    ]


def _campaign(now: Round, part: str, rounds: list[Round]) -> str:
    campaign = now.campaign_unmade(part)
    runs, atom_steps = _size(campaign)
    name = "explore" if part == "explore" else "measure the time to failure"
    text = f"{name}: {runs} runs, up to {atom_steps:,} atom steps"
    done = _records(now.folder / part)
    if done:
        text += f" ({len(done)} done)"
    known = [record for r in rounds for record in _records(r.folder / part)]
    speed = [r.wall / (r.atoms * r.steps) for r in known if r.steps and r.wall]
    return text + (_time(atom_steps * sum(speed) / len(speed)) if speed else "")


def _records(folder: Path) -> list[Record]:
    return read_records(folder) if folder.is_dir() else []


def _size(campaign: Settings) -> tuple[int, int]:
    atoms = len(read_start(campaign))
    runs = total = 0
    for size in campaign.sizes:
        a, b, c = size.replicate
        own = (size.velocity_seeds or campaign.velocity_seeds) * len(campaign.ensembles)
        runs += own
        total += own * a * b * c * atoms * (size.steps or campaign.steps)
    return runs, total


def _time(seconds: float) -> str:
    return f", about {timedelta(seconds=round(seconds))} of one core"
