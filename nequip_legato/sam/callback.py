"""Sharpness-aware minimization as a Lightning callback."""

import math
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from nequip.train import NequIPLightningModule
from torch import Tensor
from torch.optim import Optimizer

from nequip_legato.sam import guards
from nequip_legato.sam.perturbation import ascent_direction, perturbed, total_norm
from nequip_legato.sam.replay import MicroBatch, replay
from nequip_legato.sam.skipping import SkippedStep

__all__ = ["SAM"]

_CHECKPOINT_KEY = "nequip_legato_sam"


class SAM(Callback):
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

    Logged at every step: ``legato/sharpness`` = L(w + e) - L(w) in units of the loss, mean over
    micro-batches and processes; ``legato/grad_norm`` = ||g|| at w before clipping;
    ``legato/skipped_steps``, the steps left out so far because a gradient was not finite. A step
    that is left out changes neither weights nor optimizer state nor nequip's averaged weights.

    Args:
        rho: length of the climb, >= 0; in units of the weights for SAM, without unit for ASAM (its
            paper uses values about ten times larger). 0 trains exactly as without the callback.
        adaptive: use ASAM.
        eta: ASAM's offset, >= 0, in units of the weights.
        **unknown: refused.

    Raises:
        LegatoError: here or at the start of training, for what cannot work; see docs/training.md.
    """

    def __init__(
        self, *, rho: float = 0.005, adaptive: bool = False, eta: float = 0.0, **unknown: Any
    ):
        guards.check_no_unknown(unknown, known=("rho", "adaptive", "eta"))
        self.rho = guards.check_non_negative("rho", rho)
        self.adaptive = guards.check_switch("adaptive", adaptive)
        self.eta = guards.check_non_negative("eta", eta)
        guards.check_eta_used(self.eta, self.adaptive)
        self.skipped_steps = 0
        self._labels_checked = False
        self._forget_step()

    def _forget_step(self) -> None:
        self._window: list[MicroBatch] = []
        self._current: MicroBatch | None = None
        self._closure_calls = 0
        self._skipped: SkippedStep | None = None

    # --- start and end of training ---

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse what cannot work."""
        if stage == "fit":
            guards.check_trainer(trainer, SAM)
            guards.check_module(pl_module)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse optimizers that cannot work."""
        guards.check_optimizers(trainer.optimizers)
        self._labels_checked = False
        self._forget_step()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Let go of batches, and of a skipped step that did not come to its end."""
        if self._skipped is not None:
            self._skipped.finish()
        self._forget_step()

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the settings and the count of skipped steps.

        Not by ``state_dict``: Lightning refuses a second stateful callback of the same class before
        SAM could say what is wrong.
        """
        checkpoint[_CHECKPOINT_KEY] = {
            "rho": self.rho,
            "adaptive": self.adaptive,
            "eta": self.eta,
            "skipped_steps": self.skipped_steps,
        }

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on counting skipped steps; say so if the settings have changed."""
        saved = checkpoint.get(_CHECKPOINT_KEY)
        if saved is None:
            rank_zero_info("SAM: the checkpoint comes from training without SAM")
            return
        self.skipped_steps = saved["skipped_steps"]
        for name in ("rho", "adaptive", "eta"):
            old, new = saved[name], getattr(self, name)
            if old != new:
                rank_zero_warn(f"SAM: going on with {name} = {new}; the checkpoint had {old}")

    # --- one step ---

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """An accumulation window never spans epochs."""
        self._window = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember the batch."""
        if not self._labels_checked:
            guards.check_labels(pl_module, batch)
            self._labels_checked = True
        self._closure_calls = 0
        if self.rho > 0:
            self._current = MicroBatch.remember(batch, batch_idx, pl_module.device)

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Take the batch into the window: its gradient will be part of the step."""
        if self._current is not None:
            self._current.loss = loss.detach()
            self._window.append(self._current)
            self._current = None

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Replace the gradient at w by that at w + e."""
        parameters = _with_gradient(optimizer)
        gradients = [p.grad for p in parameters]
        norm = total_norm(gradients).item()
        if self.rho == 0:
            pl_module.log("legato/grad_norm", norm)
            return
        self._closure_calls += 1
        guards.check_one_closure_call(self._closure_calls, optimizer)
        window, self._window = self._window, []

        direction, divisor = ascent_direction(
            parameters, gradients, adaptive=self.adaptive, eta=self.eta
        )
        del gradients  # so that replay's clearing frees them
        divisor = divisor.item()
        finite = math.isfinite(norm) and math.isfinite(divisor)
        stops, zeros = _mean_over_processes(trainer, [not finite, divisor == 0])
        sharpness = 0.0
        if stops > 0:
            sharpness = math.nan
            self._skip(trainer, pl_module, optimizer, "the gradient")
        elif zeros == 0:
            with perturbed(parameters, direction, rho=self.rho):
                losses = replay(trainer, pl_module, optimizer, window)
            second = total_norm([p.grad for p in _with_gradient(optimizer)]).item()
            rise = _rise(trainer, pl_module, window, losses)
            stops, sharpness = _mean_over_processes(trainer, [not math.isfinite(second), rise])
            if stops > 0:
                self._skip(trainer, pl_module, optimizer, "the gradient at w + e")
        pl_module.log_dict(
            {
                "legato/sharpness": sharpness,
                "legato/grad_norm": norm,
                "legato/skipped_steps": float(self.skipped_steps),
            }
        )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Bring a skipped step to its end."""
        self._current = None
        if self._skipped is not None:
            self._skipped.finish()
            self._skipped = None

    def _skip(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer, what: str
    ) -> None:
        self.skipped_steps += 1
        self._skipped = SkippedStep(optimizer, pl_module)
        rank_zero_warn(
            f"SAM: {what} is not finite at step {trainer.global_step} (epoch "
            f"{trainer.current_epoch}): this step changes no weight; {self.skipped_steps} skipped "
            "so far. If this goes on, look for bad frames or lower rho or the learning rate."
        )


def _with_gradient(optimizer: Optimizer) -> list[torch.nn.Parameter]:
    return [p for g in optimizer.param_groups for p in g["params"] if p.grad is not None]


def _mean_over_processes(trainer: Trainer, values: list[float]) -> list[float]:
    """The same numbers in every process, so that all decide alike."""
    tensor = torch.tensor(
        [float(v) for v in values], dtype=torch.float64, device=trainer.strategy.root_device
    )
    return trainer.strategy.reduce(tensor, reduce_op="mean").tolist()


def _rise(
    trainer: Trainer, pl_module: LightningModule, window: list[MicroBatch], losses: list[Tensor]
) -> float:
    """L(w + e) - L(w), mean over micro-batches, in the units of the loss."""
    rise = sum(
        second.item() - micro.loss.item() for second, micro in zip(losses, window, strict=True)
    )
    # Lightning divides by the nominal length of the window, also when an epoch ends early.
    rise *= trainer.accumulate_grad_batches / max(len(window), 1)
    # nequip multiplies a loss that is already summed over processes, since DDP averages gradients.
    return rise / pl_module.world_size if isinstance(pl_module, NequIPLightningModule) else rise
