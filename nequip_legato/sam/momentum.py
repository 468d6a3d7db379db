"""Momentum-SAM, at the cost of plain training."""

import math
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from nequip_legato.sam import guards
from nequip_legato.sam.base import SharpnessAware, parameters_of
from nequip_legato.sam.keys import refuses_unknown_keys
from nequip_legato.sam.perturbation import copied, total_norm

__all__ = ["MomentumSAM"]

# Where torch's and nequip's optimizers keep the running mean of gradients.
_MOMENTA = ("exp_avg", "momentum_buffer")


class MomentumSAM(SharpnessAware):
    """Takes the gradient at w - rho m / ||m||, with the optimizer's momentum m; no second pass.

    Momentum-SAM (Becker et al., arXiv:2401.12033, algorithm 1). The sign is the paper's: the
    weights move on in the direction of the last update. m is ``exp_avg`` of Adam and its relatives
    or ``momentum_buffer`` of SGD; its norm runs over all parameters that are moved.

    .. code-block:: yaml

        trainer:
          _target_: lightning.Trainer
          callbacks:
            - _target_: nequip_legato.MomentumSAM
              rho: 0.005

    The weights are moved when a batch begins, and return to w bit for bit after its backward pass.
    Training loss and training metrics are therefore those at the moved weights; validation is not
    affected. The first step is a plain one.

    Logged as by :class:`SAM`: ``legato/grad_norm``, at the moved weights; ``legato/skipped_steps``;
    ``legato/rho`` if it varies. There is no ``legato/sharpness``, because the loss at w is unknown.

    Args:
        rho: length of the move, >= 0, in units of the weights. 0 trains exactly as without the
            callback.
        last_fraction: as for :class:`SAM`.
        schedule: as for :class:`SAM`.
        warmup: as for :class:`SAM`.
        include: as for :class:`SAM`.
        exclude: as for :class:`SAM`.

    Raises:
        LegatoError: for unknown keys, for impossible values (`ValueLegatoError`), and at the start
            of training for what cannot work.
    """

    @refuses_unknown_keys
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
        self._moved: tuple[list[Tensor], list[Tensor]] | None = None
        self._has_moved = False  # in the current accumulation window

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse optimizers without momentum."""
        super().on_fit_start(trainer, pl_module)
        self._has_moved = False
        for optimizer in trainer.optimizers:
            guards.check_momentum(optimizer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Return to w."""
        self._return()
        super().on_exception(trainer, pl_module, exception)

    # --- one step ---

    @torch.no_grad()
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Move the weights."""
        self._return()  # in case the previous batch was abandoned
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        if self._rho_now == 0:
            return
        parameters, momenta = _momenta(trainer.optimizers, self._selection)
        if not momenta:
            if trainer.optimizers[0].state:
                guards.refuse_without_momentum(trainer.optimizers[0])
            return  # the first step
        norm = total_norm(momenta).item()
        # One factor instead of a unit vector, which would be another copy of the weights.
        factor = self._rho_now / norm if norm > 0 else math.inf
        if not (math.isfinite(norm) and math.isfinite(factor)):
            return
        self._moved = (parameters, copied(parameters))
        torch._foreach_add_(parameters, momenta, alpha=-factor)
        self._has_moved = True

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Return to w."""
        self._return()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Return to w if there was no backward pass."""
        self._return()
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def _step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer, norm: float
    ) -> dict[str, float]:
        moved, self._has_moved = self._has_moved, False
        skipped = self._skips_bad_gradient(trainer, pl_module, optimizer, norm)
        self._climbed = moved and not skipped
        return {}

    @torch.no_grad()
    def _return(self) -> None:
        if self._moved is not None:
            parameters, saved = self._moved
            torch._foreach_copy_(parameters, saved)
            self._moved = None


def _momenta(optimizers: list[Optimizer], selection: Any) -> tuple[list[Tensor], list[Tensor]]:
    """Parameters that are moved and have a momentum (detached), and their momenta."""
    parameters: list[nn.Parameter] = []
    momenta: list[Tensor] = []
    for optimizer in optimizers:
        for parameter in selection(parameters_of(optimizer)):
            state = optimizer.state.get(parameter, {})
            for name in _MOMENTA:
                if state.get(name) is not None:
                    parameters.append(parameter)
                    momenta.append(state[name])
                    break
    return [p.detach() for p in parameters], momenta
