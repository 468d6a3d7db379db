"""Sharpness-aware minimization as a Lightning callback."""

import math
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from nequip.train import NequIPLightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from nequip_legato.sam import guards
from nequip_legato.sam.base import SharpnessAware, mean_over_processes, with_gradient
from nequip_legato.sam.isolation import Stateful
from nequip_legato.sam.own_gradient import OwnGradient
from nequip_legato.sam.perturbation import ascent_direction, perturbed, total_norm
from nequip_legato.sam.replay import MicroBatch, replay
from nequip_legato.sam.watch import RhoWatch

__all__ = ["SAM"]


class SAM(SharpnessAware):
    """Trains with the gradient at w + e, where the loss is largest nearby, instead of that at w.

    SAM (Foret et al., arXiv:2010.01412, eq. 2) climbs by e = rho g / ||g||; ASAM (Kwon et al.,
    arXiv:2102.11600, eq. 5) by e = rho T^2 g / ||T g|| with T = |w| + eta. Norms run over all
    parameters that the optimizer has and that got a gradient; others are not moved. Allegro-Legato
    (Ibayashi et al., doi:10.1007/978-3-031-32041-5_12) is Allegro trained so.

    .. code-block:: yaml

        trainer:
          _target_: lightning.Trainer
          callbacks:
            - _target_: nequip_legato.SAM
              rho: 0.005

    It works in ``on_before_optimizer_step``: climb, repeat forward and backward for every
    micro-batch of the step, return to w bit for bit. Lightning then clips the second gradient and
    the optimizer uses it. Each step costs about twice as much.

    Late-phase SAM (Zhou et al., ICLR 2025, arXiv:2410.10373) trains plainly and climbs only at the
    end, which costs little:

    .. code-block:: yaml

        - _target_: nequip_legato.SAM
          rho: 0.005
          last_fraction: 0.1

    Logged at the steps that loggers take (``log_every_n_steps``): ``legato/sharpness`` = L(w + e) -
    L(w) in units of the loss, mean over micro-batches and processes; ``legato/grad_norm`` = ||g||
    at w before clipping; ``legato/skipped_steps``, the steps left out so far because a gradient was
    not finite, if any; ``legato/rho`` if it is not the same at every step. A step that is left out
    changes neither weights nor optimizer state nor nequip's averaged weights.

    Args:
        rho: length of the climb, >= 0; in units of the weights for SAM, without unit for ASAM (its
            paper uses values about ten times larger). 0 trains exactly as without the callback.
        adaptive: use ASAM.
        eta: ASAM's offset, >= 0, in units of the weights.
        per_rank: with several processes, each climbs along the gradient of its own frames, as in
            the experiments of SAM's authors (their m-sharpness), instead of all along that of the
            joint batch.
        last_fraction: fraction of the steps, at the end of training, that climb; in (0, 1]. The
            steps before are plain training.
        schedule: ``constant``; ``warmup``, a linear rise from 0 to rho; ``learning_rate``, rho
            times the learning rate over its initial value.
        warmup: fraction of the climbing steps over which ``schedule: warmup`` rises; in (0, 1].
        include: regular expression; only parameters in whose names it is found are moved. All are
            trained.
        exclude: regular expression; parameters in whose names it is found are not moved.
        **common: ``rho`` to ``exclude`` above; others are refused.

    Raises:
        LegatoError: here or at the start of training, for what cannot work; see docs/training.md.
    """

    keys: ClassVar[tuple[str, ...]] = ("adaptive", "eta", "per_rank")

    def __init__(
        self,
        *,
        adaptive: bool = False,
        eta: float = 0.0,
        per_rank: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.adaptive = guards.check_switch("adaptive", adaptive)
        self.eta = guards.check_non_negative("eta", eta)
        guards.check_eta_used(self.eta, self.adaptive)
        self.per_rank = guards.check_switch("per_rank", per_rank)
        self._watch = RhoWatch()
        self._own: OwnGradient | None = None
        self._stateful: Stateful | None = None
        self._forget_window()

    def _forget_window(self) -> None:
        self._window: list[MicroBatch] = []
        self._current: MicroBatch | None = None

    def cost(self) -> float:
        """Gradients per step, mean over the training."""
        return 1 + self.last_fraction

    # --- start and end of training ---

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Also look for what a pass changes, and listen to this process' gradients if wanted."""
        super().on_fit_start(trainer, pl_module)
        self._stateful = Stateful.find(pl_module)
        self._forget_window()
        if self.per_rank and trainer.world_size > 1:
            self._own = OwnGradient(pl_module.parameters())

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Also listen no longer."""
        self._stop_listening()
        super().on_fit_end(trainer, pl_module)

    def _stop_listening(self) -> None:
        if self._own is not None:
            self._own.close()
            self._own = None

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Let go of batches, and of a skipped step that did not come to its end."""
        super().on_exception(trainer, pl_module, exception)
        self._stop_listening()
        self._forget_window()

    # --- one step ---

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """An accumulation window never spans epochs."""
        self._window = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember the batch."""
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        if self._will_climb(trainer):
            self._current = MicroBatch.remember(batch, batch_idx, pl_module.device)
            if self._own is not None:
                self._own.listen(anew=not self._window)

    def _will_climb(self, trainer: Trainer) -> bool:
        """Whether the step under way repeats its batches."""
        return self._rho_now > 0

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Take the batch into the window: its gradient will be part of the step."""
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
        gradients = self._gradients(parameters)
        direction, divisor = ascent_direction(
            parameters, gradients, adaptive=self.adaptive, eta=self.eta
        )
        del gradients
        divisor = divisor.item()
        finite = math.isfinite(norm) and math.isfinite(divisor)
        stops, zeros = mean_over_processes(trainer, [not finite, divisor == 0])
        if stops > 0:
            self._skip(trainer, pl_module, optimizer, "the gradient")
            return {"legato/sharpness": math.nan}
        if zeros == 1:
            return {"legato/sharpness": 0.0}
        if divisor == 0:  # of this process alone
            direction = [torch.zeros_like(p) for p in parameters]
        # Now, and the direction below, so that memory holds one more copy of the weights at most.
        optimizer.zero_grad(set_to_none=True)
        with perturbed(parameters, direction, rho=self._rho_now):
            del direction
            losses = replay(trainer, pl_module, optimizer, window, stateful=self._stateful)
        second = total_norm([p.grad for p in with_gradient(optimizer)]).item()
        loss, rise = _loss_and_rise(trainer, pl_module, window, losses)
        stops, loss, rise = mean_over_processes(trainer, [not math.isfinite(second), loss, rise])
        if stops > 0:
            self._skip(trainer, pl_module, optimizer, "the gradient at w + e")
            return {"legato/sharpness": rise}
        self._climbed = True
        if warning := self._watch.see(self._rho_now, loss, rise):
            rank_zero_warn(warning)
        return {"legato/sharpness": rise}

    def _gradients(self, parameters: list[nn.Parameter]) -> list[Tensor]:
        """The gradients along which to climb, one per parameter."""
        if self._own is not None:
            return self._own.take(parameters)
        return [p.grad for p in parameters]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Let go of a batch without gradient."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self._current = None


def _loss_and_rise(
    trainer: Trainer, pl_module: LightningModule, window: list[MicroBatch], losses: list[Tensor]
) -> tuple[float, float]:
    """L(w) and L(w + e) - L(w), mean over micro-batches, in the units of the loss."""
    first = sum(micro.loss.item() for micro in window)
    rise = sum(
        second.item() - micro.loss.item() for second, micro in zip(losses, window, strict=True)
    )
    # Lightning divides by the nominal length of the window, also when an epoch ends early.
    scale = trainer.accumulate_grad_batches / max(len(window), 1)
    # nequip multiplies a loss that is already summed over processes, since DDP averages gradients.
    if isinstance(pl_module, NequIPLightningModule):
        scale /= pl_module.world_size
    return first * scale, rise * scale
