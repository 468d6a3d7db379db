"""Base of methods that repeat the forward and backward passes of a step at moved weights."""

import math
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from nequip.train import NequIPLightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from nequip_legato.sam.base import SharpnessAware, gradients_of, mean_over_processes, parameters_of
from nequip_legato.sam.isolation import Stateful
from nequip_legato.sam.perturbation import ascent_direction, perturbed, total_norm
from nequip_legato.sam.replay import MicroBatch, replay
from nequip_legato.sam.watch import RhoWatch

__all__ = ["SecondPass"]


class SecondPass(SharpnessAware):
    """Replaces the gradient at w by that at w + e, with e = rho g / ||g||.

    Args:
        rho: as for :class:`~nequip_legato.SAM`, as are the other keys.
        last_fraction: fraction of the steps, at the end of training, that climb.
        schedule: of rho.
        warmup: of ``schedule: warmup``.
        include: regular expression for names of parameters.
        exclude: regular expression for names of parameters.
    """

    def __init__(
        self,
        *,
        rho: float = 0.005,
        last_fraction: float = 1.0,
        schedule: str = "constant",
        warmup: float = 0.1,
        include: str | None = None,
        exclude: str | None = None,
    ) -> None:
        super().__init__(
            rho=rho,
            last_fraction=last_fraction,
            schedule=schedule,
            warmup=warmup,
            include=include,
            exclude=exclude,
        )
        self._watch = RhoWatch()
        self._stateful = Stateful(metrics=[], buffers=[])
        self._forget_window()

    def _forget_window(self) -> None:
        self._window: list[MicroBatch] = []
        self._current: MicroBatch | None = None

    def cost(self) -> float:
        """Gradients per step, mean over the training."""
        return 1 + self.last_fraction

    # --- start and end of training ---

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Also find the modules whose state a pass changes."""
        super().on_fit_start(trainer, pl_module)
        self._stateful = Stateful.find(pl_module)
        self._forget_window()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Also forget batches."""
        super().on_exception(trainer, pl_module, exception)
        self._forget_window()

    # --- one step ---

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """An accumulation window never spans epochs."""
        self._window = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Keep the batch for the second pass."""
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        if self._will_climb(trainer):
            self._current = MicroBatch.remember(batch, batch_idx, pl_module.device)

    def _will_climb(self, trainer: Trainer) -> bool:
        """Whether the current step repeats its batches."""
        return self._rho_now > 0

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Add the batch to the window: its gradient will be part of the step."""
        if self._current is not None:
            self._current.loss = loss.detach()
            self._window.append(self._current)
            self._current = None

    def _step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer, norm: float
    ) -> dict[str, float]:
        """Replace the gradient at w by that at w + e."""
        window, self._window = self._window, []
        parameters = self._chosen(optimizer)
        direction, size = self._ascent(parameters)
        divisor = size.item()
        finite = math.isfinite(norm) and math.isfinite(divisor)
        stops, zeros = mean_over_processes(trainer, [not finite, divisor == 0])
        if stops > 0:
            self._skip(trainer, pl_module, optimizer, "the gradient")
            return {"legato/sharpness": math.nan}
        if zeros == 1:
            return {"legato/sharpness": 0.0}
        if divisor == 0:  # in this process, but not in all
            direction = [torch.zeros_like(p) for p in parameters]
        # Freed now, like the direction below, to keep at most one more copy of the weights.
        optimizer.zero_grad(set_to_none=True)
        with perturbed(parameters, direction, rho=self._rho_now):
            del direction
            losses = replay(trainer, pl_module, optimizer, window, stateful=self._stateful)
        second = total_norm(gradients_of(parameters_of(optimizer))).item()
        loss, rise = _loss_and_rise(trainer, pl_module, window, losses)
        stops, loss, rise = mean_over_processes(trainer, [not math.isfinite(second), loss, rise])
        if stops > 0:
            self._skip(trainer, pl_module, optimizer, "the gradient at w + e")
            return {"legato/sharpness": rise}
        self._climbed = True
        if warning := self._watch.see(self._rho_now, loss, rise):
            rank_zero_warn(warning)
        return {"legato/sharpness": rise}

    def _ascent(self, parameters: list[nn.Parameter]) -> tuple[list[Tensor], Tensor]:
        """Direction of the climb, and the norm it was divided by; see `ascent_direction`."""
        return ascent_direction(parameters, gradients_of(parameters))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Forget a batch without gradient."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self._current = None


def _loss_and_rise(
    trainer: Trainer, pl_module: LightningModule, window: list[MicroBatch], losses: list[Tensor]
) -> tuple[float, float]:
    """L(w) and L(w + e) - L(w), mean over micro-batches, in the units of the loss."""
    at_w = [micro.loss.item() for micro in window if micro.loss is not None]
    first: float = sum(at_w)
    rise: float = sum(second.item() - loss for second, loss in zip(losses, at_w, strict=True))
    # Lightning divides by the nominal length of the window, also when an epoch ends early.
    scale = trainer.accumulate_grad_batches / max(len(window), 1)
    # nequip multiplies the loss by the number of processes, because DDP averages gradients.
    if isinstance(pl_module, NequIPLightningModule):
        scale /= pl_module.world_size
    return first * scale, rise * scale
