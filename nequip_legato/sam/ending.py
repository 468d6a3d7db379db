"""What is to be said when a training is over."""

from collections.abc import Iterator
from pathlib import Path

from lightning.pytorch import Trainer

from nequip_legato.sam.deeds import Deeds
from nequip_legato.sam.skeleton import skeleton

__all__ = ["warnings"]


def warnings(trainer: Trainer, deeds: Deeds, *, first_step: int, key: str) -> Iterator[str]:
    """Warn of training that never climbed, and of best checkpoints from before it did.

    Args:
        trainer: at the end of training.
        deeds: what it did.
        first_step: from which step on it was to climb.
        key: of the callback's entry in checkpoints.
    """
    steps = deeds.total("steps")
    if not steps or any(part["climbed"] is None for part in deeds.parts):
        return
    if not deeds.total("climbed"):
        yield f"SAM: 0 of {steps} steps climbed: this was plain training. {_why(deeds, first_step)}"
        return
    first = deeds.first_climb or 0
    for path in _best(trainer):
        checkpoint = skeleton(path)
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


def _why(deeds: Deeds, first_step: int) -> str:
    if first_step >= deeds.total("steps"):
        return (
            f"It was to climb after step {first_step}, but ended before: let it go on (a larger "
            "patience of EarlyStopping, a longer max_time), or raise last_fraction; see "
            "docs/training.md, which checkpoint"
        )
    if deeds.total("skipped"):
        return "Gradients were not finite: look for bad frames, or lower the learning rate"
    return "Every gradient along which to climb was zero"


def _best(trainer: Trainer) -> list[Path]:
    """Checkpoints that Lightning calls the best and that are there, each once."""
    paths = [getattr(c, "best_model_path", "") for c in trainer.checkpoint_callbacks]
    return list(dict.fromkeys(Path(path) for path in paths if path and Path(path).is_file()))
