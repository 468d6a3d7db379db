"""Running a forward pass without side effects on metrics, buffers, logging and random numbers."""

import pickle
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from nequip.train import NequIPLightningModule
from nequip.train.ema import EMAWeights
from torch import Tensor, nn
from torchmetrics import Metric

from nequip_legato.sam.perturbation import copied

__all__ = [
    "RandomState",
    "Stateful",
    "buffers_kept",
    "logging_discarded",
    "metrics_kept",
    "random_state_repeated",
]


@dataclass(frozen=True)
class RandomState:
    """State of every random number generator that a training step may draw from."""

    python: Any
    numpy: dict[str, Any]
    cpu: Tensor
    device: torch.device
    accelerator: Tensor | None

    @classmethod
    def capture(cls, device: torch.device) -> "RandomState":
        """The present state; ``device`` is that of the model."""
        accelerator = None
        if device.type != "cpu":
            accelerator = torch.get_device_module(device).get_rng_state(device)
        return cls(
            python=random.getstate(),
            numpy=np.random.get_state(legacy=False),
            cpu=torch.get_rng_state(),
            device=device,
            accelerator=accelerator,
        )

    def same_as(self, other: "RandomState") -> bool:
        """Whether no number has been drawn between the two."""
        return (
            self.python == other.python
            # compared as bytes, because the entries depend on the bit generator
            and pickle.dumps(self.numpy) == pickle.dumps(other.numpy)
            and torch.equal(self.cpu, other.cpu)
            and (
                self.accelerator is None
                or other.accelerator is None
                or torch.equal(self.accelerator, other.accelerator)
            )
        )

    def restore(self) -> None:
        """Put every generator back to this state."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.cpu)
        if self.accelerator is not None:
            module = torch.get_device_module(self.device)
            module.set_rng_state(self.accelerator, self.device)


@contextmanager
def random_state_repeated(first: RandomState) -> Iterator[bool]:
    """Context in which the random numbers since ``first`` can be drawn again.

    Yields whether any were drawn. If so, the present state is restored at the end; if not, nothing
    has to be restored, which saves time.
    """
    present = RandomState.capture(first.device)
    drawn = not present.same_as(first)
    try:
        yield drawn
    finally:
        if drawn:
            present.restore()


@dataclass(frozen=True)
class Stateful:
    """The modules inside one whose state a forward pass may change.

    Attributes:
        metrics: torchmetrics' metrics and the modules that hold them, such as nequip's
            ``MetricsManager``, whose last values other callbacks read (e.g. SoftAdapt).
        buffers: modules with buffers (e.g. running statistics); averaged weights, which no forward
            pass changes, are left out.
    """

    metrics: list[nn.Module]
    buffers: list[nn.Module]

    @classmethod
    def find(cls, module: nn.Module) -> "Stateful":
        """The stateful modules inside ``module``; the search is slow, so keep the result."""

        def holds_metric(child: nn.Module | None) -> bool:
            return child is not None and any(isinstance(m, Metric) for m in child.modules())

        # not ``module`` itself, which is the whole training module
        children = list(module.children())
        if getattr(type(module), "training_step", None) is NequIPLightningModule.training_step:
            # these are all it changes; getattr, because torch types module attributes as tensors
            children = [getattr(module, name) for name in ("loss", "train_metrics")]
        return cls(
            metrics=[m for c in children if holds_metric(c) for m in c.modules()],
            buffers=[
                m
                for m in module.modules()
                if not isinstance(m, EMAWeights) and any(True for _ in m.buffers(recurse=False))
            ],
        )


@contextmanager
def metrics_kept(holders: Sequence[nn.Module]) -> Iterator[None]:
    """Context after which the attributes of all ``holders`` are as they were."""
    saved = [(holder, _attributes(holder)) for holder in holders]
    try:
        yield
    finally:
        for holder, attributes in saved:
            now = vars(holder)
            for name in now.keys() - attributes.keys() if len(now) > len(attributes) else ():
                del now[name]
            now.update(attributes)


def _attributes(module: nn.Module) -> dict[str, Any]:
    """Attributes of a module; what a metric may change in place is copied."""
    attributes = dict(vars(module))
    for name, value in attributes.items():
        if type(value) is list:
            attributes[name] = list(value)
        elif isinstance(value, Tensor) and not value.requires_grad:
            attributes[name] = value.clone()
    return attributes


@contextmanager
def buffers_kept(owners: Sequence[nn.Module]) -> Iterator[None]:
    """Context after which the buffers of all ``owners`` are as they were."""
    owned = [
        (owner, name, buffer)
        for owner in owners
        for name, buffer in owner.named_buffers(recurse=False)
    ]
    buffers = [buffer.detach() for _, _, buffer in owned]
    saved = copied(buffers)
    try:
        yield
    finally:
        if buffers:
            torch._foreach_copy_(buffers, saved)
        for owner, name, buffer in owned:
            if getattr(owner, name) is not buffer:
                setattr(owner, name, buffer)


@contextmanager
def logging_discarded(trainer: Trainer, pl_module: LightningModule) -> Iterator[None]:
    """Context in which ``self.log`` works but its values are discarded.

    Lightning has no public switch for this. Logged values go to the training loop's result
    collection, so another one of the same class replaces it temporarily.
    """
    loop = trainer.fit_loop.epoch_loop
    results, hook = loop._results, pl_module._current_fx_name
    loop._results = type(results)(training=True)
    # Lightning checks the options of `self.log` by hook: allow those of the first pass.
    pl_module._current_fx_name = "training_step"
    try:
        yield
    finally:
        loop._results, pl_module._current_fx_name = results, hook
