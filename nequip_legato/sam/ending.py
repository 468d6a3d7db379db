"""Warnings at the end of a training."""

from collections.abc import Iterator
from pathlib import Path

from lightning.pytorch import Trainer

from nequip_legato.sam.plain_content import plain_content
from nequip_legato.sam.step_counts import StepCounts

__all__ = ["warnings"]


def warnings(trainer: Trainer, counts: StepCounts, *, first_step: int, key: str) -> Iterator[str]:
    """Warn of training that never climbed, and of best checkpoints from before it did.

    Args:
        trainer: at the end of training.
        counts: its steps.
        first_step: the first step that was to climb.
        key: key of the callback's entry in checkpoints.
    """
    steps = counts.total("steps")
    if not steps or any(part["climbed"] is None for part in counts.parts):
        return
    if not counts.total("climbed"):
        why = _why(counts, first_step)
        yield f"SAM: 0 of {steps} steps climbed: this was plain training. {why}"
        return
    first = counts.first_climb or 0
    for path in _best(trainer):
        checkpoint = plain_content(path)
        if checkpoint is None:
            continue
        saved = checkpoint.get(key, {"climbed_steps": 0})
        if isinstance(saved, dict) and saved.get("climbed_steps") == 0:
            yield (
                f"SAM: {path}, the best checkpoint, is of step {checkpoint.get('global_step')}, "
                f"before the first step that climbed (step {first + 1} of {steps}): a "
                "plainly trained model. Deploy a later one (save_last: true keeps the last), or "
                "let nequip_legato.LateCheckpoint choose; see docs/training.md, which checkpoint"
            )


def _why(counts: StepCounts, first_step: int) -> str:
    if first_step >= counts.total("steps"):
        return (
            f"It was to climb after step {first_step}, but ended before: train longer (a larger "
            "patience of EarlyStopping, a longer max_time), or raise last_fraction; see "
            "docs/training.md, which checkpoint"
        )
    if counts.total("skipped"):
        return "Gradients were not finite: look for bad frames, or lower the learning rate"
    return "Every gradient along which to climb was zero"


def _best(trainer: Trainer) -> list[Path]:
    """The best checkpoints according to Lightning that exist, without duplicates."""
    paths = [getattr(c, "best_model_path", "") for c in trainer.checkpoint_callbacks]
    return list(dict.fromkeys(Path(path) for path in paths if path and Path(path).is_file()))
