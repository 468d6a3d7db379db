"""LookSAM: a second pass only every few steps."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from nequip_legato.sam import guards
from nequip_legato.sam.base import gradients_of, parameters_of
from nequip_legato.sam.keys import refuses_unknown_keys
from nequip_legato.sam.perturbation import copied, orthogonal_component
from nequip_legato.sam.second_pass import SecondPass

__all__ = ["LookSAM"]


class LookSAM(SecondPass):
    """Makes a step of SAM every k steps and adds its sharpness component to the gradients between.

    LookSAM (Liu et al., CVPR 2022, arXiv:2203.02714, algorithm 1). Every k-th step has SAM's
    gradient ``g_s`` and keeps its component orthogonal to the gradient ``g`` at w, which changes
    slowly: ``g_v = g_s - (g_s . g / ||g||^2) g``. The steps between use
    ``g + alpha ||g|| / ||g_v|| g_v``.

    .. code-block:: yaml

        trainer:
          _target_: lightning.Trainer
          callbacks:
            - _target_: nequip_legato.LookSAM
              rho: 0.005
              every: 5
              alpha: 0.1

    Costs 1 + 1/k gradients per step and up to three more copies of the weights, one of which is
    kept from step to step and is part of checkpoints. ``legato/sharpness`` is logged at the steps
    that have it.

    Args:
        rho: length of the climb, >= 0, in units of the weights.
        every: k, >= 1; 1 is :class:`SAM`.
        alpha: weight of the kept component, >= 0. The paper takes 0.7, for batches of thousands of
            images; with one frame per step that ruined force errors (see docs/methods.md).
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
        every: int = 5,
        alpha: float = 0.1,
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
        self.every = guards.check_count("every", every)
        self.alpha = guards.check_non_negative("alpha", alpha)
        self._component: list[Tensor | None] = []
        """g_v, one per parameter of the optimizer, None for those without; empty before the first
        step of SAM."""

    def cost(self) -> float:
        """Gradients per step, mean over the training."""
        return 1 + self.last_fraction / self.every

    def _state(self) -> dict[str, Any]:
        return super()._state() | {"component": self._component}

    def _load(self, saved: dict[str, Any]) -> None:
        self._component = saved.get("component", [])

    def _will_climb(self, trainer: Trainer) -> bool:
        step = trainer.global_step
        since = step - self._schedule.first_step(self._total) if self._rho_now > 0 else 0
        return super()._will_climb(trainer) and since % self.every == 0

    def _step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer, norm: float
    ) -> dict[str, float]:
        if not self._window:
            return self._look(trainer, pl_module, optimizer, norm)
        parameters = parameters_of(optimizer)
        before = _copies_of_gradients(parameters)
        skipped = self.skipped_steps
        logged = super()._step(trainer, pl_module, optimizer, norm)
        if self.skipped_steps == skipped and norm > 0:
            self._keep(parameters, before)
        return logged

    def _keep(self, parameters: Sequence[Tensor], before: list[Tensor | None]) -> None:
        self._component = []  # free the old one before the new one needs memory
        both = [
            (i, p.grad, old)
            for i, (p, old) in enumerate(zip(parameters, before, strict=True))
            if old is not None and p.grad is not None
        ]
        kept, size = orthogonal_component([new for _, new, _ in both], [old for _, _, old in both])
        if size.item() > 0:
            torch._foreach_div_(kept, size)
        self._component = [None] * len(parameters)
        for (i, _, _), part in zip(both, kept, strict=True):
            self._component[i] = part

    def _look(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer, norm: float
    ) -> dict[str, float]:
        """A step between two steps of SAM."""
        if self._skips_bad_gradient(trainer, pl_module, optimizer, norm):
            return {}
        if self._component:
            pairs = [
                (p.grad, part.to(p.grad))
                for p, part in zip(parameters_of(optimizer), self._component, strict=True)
                if p.grad is not None and part is not None
            ]
            gradients, parts = [list(side) for side in zip(*pairs, strict=True)]
            torch._foreach_add_(gradients, parts, alpha=self.alpha * norm)
            self._counts.followed()
        return {}


def _copies_of_gradients(parameters: Sequence[Tensor]) -> list[Tensor | None]:
    """A copy for each parameter, None without gradient; DDP may reuse the gradients' memory."""
    copies = iter(copied(gradients_of(parameters)))
    return [None if p.grad is None else next(copies) for p in parameters]
