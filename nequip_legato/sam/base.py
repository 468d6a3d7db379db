"""What all sharpness-aware training methods share."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer

from nequip_legato.sam import ending, guards
from nequip_legato.sam.keys import keys_of
from nequip_legato.sam.perturbation import total_norm
from nequip_legato.sam.schedule import SCHEDULES, Schedule
from nequip_legato.sam.selection import Selection
from nequip_legato.sam.skipping import SkippedStep
from nequip_legato.sam.step_counts import StepCounts

__all__ = [
    "CHECKPOINT_KEY",
    "SharpnessAware",
    "gradients_of",
    "mean_over_processes",
    "parameters_of",
    "parameters_with_gradient",
]

CHECKPOINT_KEY = "nequip_legato_sam"


class SharpnessAware(Callback):
    """Settings, checks, skipped steps and checkpoints of :class:`SAM` and its relatives.

    Args:
        rho: length of the climb, >= 0; 0 trains exactly as without the callback.
        last_fraction: fraction of the steps, at the end of training, that climb; in (0, 1].
        schedule: ``constant``, ``warmup`` or ``learning_rate``; see :class:`Schedule`.
        warmup: fraction of the steps that climb over which ``schedule: warmup`` rises; in (0, 1].
        include: regular expression; only parameters in whose names it is found are moved.
        exclude: regular expression; parameters in whose names it is found are not moved.

    Raises:
        ValueLegatoError: for an impossible value.
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
        self.rho = guards.check_non_negative("rho", rho)
        self.last_fraction = guards.check_fraction("last_fraction", last_fraction)
        self.schedule = guards.check_choice("schedule", schedule, SCHEDULES)
        self.warmup = guards.check_fraction("warmup", warmup)
        self.include, self.exclude = include, exclude
        self.skipped_steps = 0
        self._counts = StepCounts()
        self._climbed = False  # in the current step
        self._schedule = Schedule(self.rho, self.schedule, self.warmup, self.last_fraction)
        self._selection = Selection(include, exclude)
        self._labels_checked = False
        self._total: float = math.inf
        self._rho_now = 0.0
        self._closure_calls = 0
        self._skipped: SkippedStep | None = None

    @classmethod
    def all_keys(cls) -> tuple[str, ...]:
        """Names of all settings."""
        return keys_of(cls)

    def cost(self) -> float:
        """Gradients per step, mean over the training."""
        return 1.0

    @property
    def climbed_steps(self) -> int:
        """Number of steps with the gradient at moved weights, including those before a resume."""
        return self._counts.total("climbed")

    # --- start and end of training ---

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse trainers and modules that cannot work."""
        if stage == "fit":
            if trainer.global_step == 0:  # a checkpoint to resume from is read later
                self._counts = StepCounts()
            guards.check_trainer(trainer, SharpnessAware)
            guards.check_module(pl_module)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse optimizers that cannot work; find the parameters to move."""
        guards.check_optimizers(trainer.optimizers)
        self._selection.choose(pl_module.named_parameters())
        self._labels_checked = False
        self._rho_now = 0.0
        self._skipped = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report what the method will do, and its cost."""
        if self._schedule.needs_total:
            self._total = trainer.estimated_stepping_batches
            self._schedule.check_total(self._total)
        self._counts.begin(type(self).__name__, self._chosen_settings(), step=trainer.global_step)
        self._climbed = False
        rank_zero_info(self._announcement(trainer))

    def _announcement(self, trainer: Trainer) -> str:
        parameters = [p for optimizer in trainer.optimizers for p in parameters_of(optimizer)]
        moved = sum(p.numel() for p in self._selection(parameters))
        total = sum(p.numel() for p in parameters)
        settings = ", ".join(f"{k} = {v}" for k, v in self._settings().items() if v is not None)
        begin = self._schedule.first_step(self._total) if self.rho else 0
        late = f", from step {begin} of {self._total:.0f}" if begin else ""
        return (
            f"{type(self).__name__}: moves {moved} of {total} weights{late}; "
            f"{self.cost() if self.rho else 1:.2f} gradients per step ({settings})"
        )

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warn if no step has climbed, or if the best checkpoint is from before the first climb."""
        if not (self.rho and trainer.is_global_zero):
            return
        self._counts.reached(trainer.global_step)
        first = self._schedule.first_step(self._total)
        for warning in ending.warnings(trainer, self._counts, first_step=first, key=CHECKPOINT_KEY):
            rank_zero_warn(warning)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Finish a skipped step that an exception has interrupted."""
        if self._skipped is not None:
            self._skipped.finish()
            self._skipped = None

    # --- checkpoints ---

    def _settings(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in self.all_keys()}

    def _chosen_settings(self) -> dict[str, Any]:
        """Settings that differ from their defaults, and rho."""
        defaults = type(self)()._settings()
        chosen = {k: v for k, v in self._settings().items() if v != defaults[k]}
        return chosen | {"rho": self.rho}

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the settings and the counts of steps.

        Not by ``state_dict``, with which Lightning refuses a second callback of the same class
        before SAM can explain the problem.
        """
        self._counts.reached(trainer.global_step)
        checkpoint[CHECKPOINT_KEY] = self._settings() | self._state()

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Continue counting steps; warn if the settings have changed."""
        saved = checkpoint.get(CHECKPOINT_KEY)
        self._counts = StepCounts.of_checkpoint(saved, steps=checkpoint.get("global_step", 0))
        if saved is None:
            rank_zero_info("SAM: the checkpoint comes from training without SAM")
            return
        self.skipped_steps = saved["skipped_steps"]
        for name, new in (self._settings() | {"method": type(self).__name__}).items():
            old = saved.get(name, new)
            if old != new:
                rank_zero_warn(f"SAM: continuing with {name} = {new}; the checkpoint had {old}")
        self._load(saved)

    def _state(self) -> dict[str, Any]:
        """What a checkpoint keeps besides the settings."""
        return {
            "method": type(self).__name__,
            "steps": self._counts.total("steps"),
            "climbed_steps": self.climbed_steps,
            "skipped_steps": self.skipped_steps,
            "parts": copy.deepcopy(self._counts.parts),
        }

    def _load(self, saved: dict[str, Any]) -> None:
        """Restore the state that the method itself has saved."""

    # --- one step ---

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Check the labels, once, and find rho of this step."""
        if not self._labels_checked:
            guards.check_labels(pl_module, batch)
            self._labels_checked = True
        self._closure_calls = 0
        self._rho_now = self._schedule.at(
            trainer.global_step,
            total=self._total,
            learning_rate=(
                _relative_learning_rate(trainer) if self.schedule == "learning_rate" else 1.0
            ),
        )

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Let the method change the gradient, if this step climbs, and log."""
        to_log = _is_logged(trainer)
        if not (to_log or self._rho_now > 0):
            return
        norm = total_norm(gradients_of(parameters_of(optimizer))).item()
        logged = {"legato/grad_norm": norm}
        if self._rho_now > 0:
            self._closure_calls += 1
            guards.check_one_closure_call(self._closure_calls, optimizer)
            logged |= self._step(trainer, pl_module, optimizer, norm)
        if to_log:
            if self.skipped_steps:
                logged["legato/skipped_steps"] = float(self.skipped_steps)
            if self._schedule.varies:
                logged["legato/rho"] = self._rho_now
            pl_module.log_dict(logged)

    def _step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer, norm: float
    ) -> dict[str, float]:
        """A step that climbs; here it is only skipped if its gradient is not finite.

        Args:
            trainer: as Lightning gives it.
            pl_module: as Lightning gives it.
            optimizer: whose parameters have their gradients.
            norm: norm of the gradient.

        Returns:
            Further values to be logged.
        """
        self._skips_bad_gradient(trainer, pl_module, optimizer, norm)
        return {}

    def _skips_bad_gradient(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer, norm: float
    ) -> bool:
        """Skip the step if a process has a gradient that is not finite; whether it was skipped."""
        (stops,) = mean_over_processes(trainer, [not math.isfinite(norm)])
        if stops > 0:
            self._skip(trainer, pl_module, optimizer, "the gradient")
        return stops > 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Finish a skipped step; count a step that climbed."""
        if self._skipped is not None:
            self._skipped.finish()
            self._skipped = None
        # Not earlier: after an exception, a step that was not completed would be counted.
        if self._climbed:
            self._counts.climbed(trainer.global_step - 1, self._rho_now)
            self._climbed = False

    def _chosen(self, optimizer: Optimizer) -> list[nn.Parameter]:
        return self._selection(parameters_with_gradient(optimizer))

    def _skip(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer, what: str
    ) -> None:
        self.skipped_steps += 1
        self._counts.skipped()
        self._skipped = SkippedStep(optimizer, pl_module)
        rank_zero_warn(
            f"SAM: {what} is not finite at step {trainer.global_step} (epoch "
            f"{trainer.current_epoch}): this step changes no weight; {self.skipped_steps} skipped "
            "so far. If this continues, look for bad frames or lower rho or the learning rate."
        )


def parameters_of(optimizer: Optimizer) -> list[nn.Parameter]:
    """The optimizer's parameters."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def parameters_with_gradient(optimizer: Optimizer) -> list[nn.Parameter]:
    """The optimizer's parameters that have a gradient."""
    return [p for p in parameters_of(optimizer) if p.grad is not None]


def gradients_of(parameters: Sequence[Tensor]) -> list[Tensor]:
    """The gradients of those that have one, in their order."""
    return [p.grad for p in parameters if p.grad is not None]


def mean_over_processes(trainer: Trainer, values: Sequence[float]) -> list[float]:
    """Means over processes, so that all processes decide alike."""
    if trainer.world_size == 1:
        return [float(v) for v in values]
    tensor: Tensor = torch.tensor(
        [float(v) for v in values], dtype=torch.float64, device=trainer.strategy.root_device
    )
    return trainer.strategy.reduce(tensor, reduce_op="mean").tolist()


def _is_logged(trainer: Trainer) -> bool:
    """Whether loggers record values at this step, by the condition of ``LearningRateMonitor``.

    For small models ``log`` takes longer than everything else that SAM does beside the second pass.
    """
    every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
    return trainer.should_stop or (every > 0 and (trainer.global_step + 1) % every == 0)


def _relative_learning_rate(trainer: Trainer) -> float:
    """The first learning rate over its initial value."""
    optimizer = trainer.optimizers[0]
    group = optimizer.param_groups[0]
    now = float(group["lr"])  # may be a tensor
    # Other schedulers add initial_lr to the group; ReduceLROnPlateau does not.
    initial = float(group.get("initial_lr", optimizer.defaults.get("lr", now)))
    return now / initial if initial else 1.0
