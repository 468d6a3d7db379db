"""Skipping an optimizer step: weights, optimizer state and averaged weights stay the same."""

import copy
from typing import Any

import torch
from lightning.pytorch import LightningModule
from nequip.train.ema import EMAWeights
from torch.optim import Optimizer

__all__ = ["SkippedStep"]


class SkippedStep:
    """Makes the current optimizer step have no effect.

    Lightning's callbacks cannot cancel a step. Without gradients most optimizers do nothing, but
    not all (nequip's Muon decays weights, schedule-free ones count), so a hook that torch calls
    after the step restores weights and state. nequip updates its averaged weights later, so
    :meth:`finish` restores those.

    Args:
        optimizer: its ``step`` has evaluated the closure and is about to update.
        pl_module: the module in which nequip's ``EMAWeights`` are searched.
    """

    def __init__(self, optimizer: Optimizer, pl_module: LightningModule):
        optimizer.zero_grad(set_to_none=True)
        self._parameters = [p.detach() for g in optimizer.param_groups for p in g["params"]]
        self._weights = [p.clone() for p in self._parameters]
        self._state = {p: copy.deepcopy(state) for p, state in optimizer.state.items()}
        self._groups = [_settings(group) for group in optimizer.param_groups]
        self._averages = [
            (module, {name: copy.deepcopy(v) for name, v in module.state_dict().items()})
            for module in pl_module.modules()
            if isinstance(module, EMAWeights)
        ]
        self._hook = optimizer.register_step_post_hook(self._undo)

    @torch.no_grad()
    def _undo(self, optimizer: Optimizer, *_: Any) -> None:
        if self._parameters:
            torch._foreach_copy_(self._parameters, self._weights)
        optimizer.state.clear()
        optimizer.state.update(self._state)
        for group, settings in zip(optimizer.param_groups, self._groups, strict=True):
            for name in group.keys() - settings.keys() - {"params"}:
                del group[name]
            group.update(settings)

    def finish(self) -> None:
        """After the step: restore the averaged weights, and remove the hook."""
        self._hook.remove()
        for module, state in self._averages:
            module.load_state_dict(state)


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    return {name: copy.deepcopy(value) for name, value in group.items() if name != "params"}
