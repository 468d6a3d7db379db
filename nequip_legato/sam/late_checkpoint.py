"""A ModelCheckpoint for methods that climb late in the training."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from nequip_legato.errors import LegatoError
from nequip_legato.sam.base import SharpnessAware

__all__ = ["LateCheckpoint"]


class LateCheckpoint(ModelCheckpoint):
    """Lightning's ``ModelCheckpoint`` that saves nothing before the first step that climbs.

    With ``last_fraction``, the best checkpoint by validation error may be from plain training. This
    callback chooses among those after the first climb. It takes the same arguments.

    .. code-block:: yaml

        trainer:
          _target_: lightning.Trainer
          callbacks:
            - _target_: nequip_legato.LateCheckpoint
              dirpath: ${hydra:runtime.output_dir}
              monitor: val0_epoch/weighted_sum
              filename: best
            - _target_: nequip_legato.SAM
              rho: 0.03
              last_fraction: 0.2

    Raises:
        LegatoError: at the start of training, without SAM or a relative in ``trainer.callbacks``.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse training in which nothing can climb."""
        if stage == "fit" and not any(_methods(trainer)):
            raise LegatoError(
                "LateCheckpoint waits for the first step that climbs, but no SAM is in "
                "trainer.callbacks: add it, or use lightning.pytorch.callbacks.ModelCheckpoint"
            )
        super().setup(trainer, pl_module, stage)

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Save, if a step has climbed."""
        if _has_climbed(trainer):
            super().on_train_batch_end(trainer, *args, **kwargs)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save, if a step has climbed."""
        if _has_climbed(trainer):
            super().on_train_epoch_end(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save, if a step has climbed."""
        if _has_climbed(trainer):
            super().on_validation_end(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last checkpoint, if asked for and if a step has climbed."""
        # Lightning has this hook since 2.6
        if _has_climbed(trainer) and hasattr(ModelCheckpoint, "on_train_end"):
            super().on_train_end(trainer, pl_module)


def _methods(trainer: Trainer) -> list[SharpnessAware]:
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return [c for c in callbacks if isinstance(c, SharpnessAware)]


def _has_climbed(trainer: Trainer) -> bool:
    return any(method.climbed_steps > 0 for method in _methods(trainer))
