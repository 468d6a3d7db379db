"""Measuring the sharpness of one or several models."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from nequip_legato.errors import LegatoError
from nequip_legato.files import write_atomically
from nequip_legato.sharpness import plots
from nequip_legato.sharpness.frames import keep_frames, load_frames
from nequip_legato.sharpness.loss import TOTAL, TrainingLoss
from nequip_legato.sharpness.model import EMA, open_trained
from nequip_legato.sharpness.result import Result
from nequip_legato.sharpness.settings import Settings
from nequip_legato.sharpness.store import Store, key_of
from nequip_legato.sharpness.units import Unit, paired, summarize, units

__all__ = ["Result", "Settings", "measure"]

FRAMES_NAME = "frames.extxyz"


def measure(
    models: Sequence[Path],
    *,
    out: Path,
    frames: Path | None = None,
    n_frames: int = 16,
    weights: str = EMA,
    settings: Settings | None = None,
    model_key: str = "sole_model",
    report: Callable[[str], None] = lambda line: None,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> list[Result]:
    """Measure sharpness, and write ``sharpness.json`` and pictures into ``out``.

    All models are measured on the same frames with the same random numbers. What is finished is
    kept in ``out/work``: a call after an interrupt continues there and gives the same numbers.

    Args:
        models: checkpoints or packages.
        out: folder of the results.
        frames: file of labeled frames; default: ``out/frames.extxyz``, made from the first model's
            training data if it is not there.
        n_frames: how many frames to take from the training data.
        weights: ``ema`` or ``raw``.
        settings: what is measured, and how finely.
        model_key: which model, if a file holds several.
        report: called with messages of one line.
        watch: called with the numbers of finished and of all units of work.

    Returns:
        One result for each model, in their order.

    Raises:
        LegatoError: if a model, its loss or the frames cannot be used.
    """
    settings = settings or Settings()
    if n_frames < 1:
        raise LegatoError("the number of frames must be at least 1")
    names = _names(models)
    plan = [(name, path) for name, path in zip(names, models, strict=True)]
    work = list(units(settings))
    total = len(plan) * len(work)
    results: list[Result] = []
    first: dict[str, dict[str, float]] = {}
    for number, (name, path) in enumerate(plan):
        trained = open_trained(path, weights=weights, model_key=model_key)
        file = frames or keep_frames(trained, n_frames, out / FRAMES_NAME)
        loaded = load_frames(trained, file)
        loss = TrainingLoss(trained, loaded)
        store = Store(out / "work" / f"{key_of(path, file, trained.weights, settings)}.jsonl")
        count = sum(p.numel() for p in loss.parameters)
        report(
            f"{name}: {count} weights ({trained.weights}), {len(loaded)} frames, "
            f"{sum(unit in store.done for unit, _ in work)} of {len(work)} units done"
        )
        where = f"{path} ({trained.weights} weights) on {file}"
        for done in _completed(work, loss, store, where):
            watch(number * len(work) + done, total)
        if not loss.twice_differentiable:
            report(
                f"{name}: its gradient cannot be differentiated; eigenvalue and trace are computed "
                "by finite differences of gradients"
            )
        values = summarize(store.done, settings)
        against = paired(store.done, first, settings) if results else {}
        first = first or store.done
        results.append(
            Result(name, str(path), trained.weights, count, len(loaded), values, against)
        )
    _write(results, settings, out)
    return results


def _completed(
    work: Sequence[Unit],
    loss: TrainingLoss,
    store: Store,
    where: str,
) -> Iterator[int]:
    """Do the units of work that are left, and say after each how many are done."""
    for number, (unit, compute) in enumerate(work, 1):
        if unit not in store.done:
            store.add(unit, compute(loss))
        if not math.isfinite(store.done["loss"][TOTAL]):
            raise LegatoError(
                f"the loss of {where} is not finite: check weights and labels for values that are "
                "not finite"
            )
        yield number


def _write(results: Sequence[Result], settings: Settings, out: Path) -> None:
    content = {"settings": asdict(settings), "models": [asdict(r) for r in results]}
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    write_atomically(out / "sharpness.json", text)
    plots.save_all(results, out)


def _names(models: Sequence[Path]) -> list[str]:
    """File names without suffix; with their folders if file names alone are not unique."""
    if not models:
        raise LegatoError("give a checkpoint or package")
    short = [path.name.removesuffix(".nequip.zip").removesuffix(".ckpt") for path in models]
    if len(set(short)) == len(short):
        return short
    longer = [
        f"{path.absolute().parent.name}/{name}" for path, name in zip(models, short, strict=True)
    ]
    return longer if len(set(longer)) == len(longer) else [str(path) for path in models]
