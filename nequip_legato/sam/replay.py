"""The micro-batches of one optimizer step, and running them again."""

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loops.optimization.automatic import ClosureResult
from lightning.pytorch.strategies import ParallelStrategy
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor
from torch.optim import Optimizer

from nequip_legato.sam.isolation import (
    RandomState,
    Stateful,
    buffers_kept,
    logging_discarded,
    metrics_kept,
    random_state_repeated,
)

__all__ = ["MicroBatch", "replay"]


@dataclass
class MicroBatch:
    """What is needed to repeat one call of ``training_step``.

    Attributes:
        batch: as the module got it, on its device.
        batch_idx: its number in the epoch.
        random_state: state of all random number generators before the first pass.
        loss: loss of the first pass, divided by ``accumulate_grad_batches``, shape (), detached;
            None until its backward pass began.
    """

    batch: Any
    batch_idx: int
    random_state: RandomState
    loss: Tensor | None = None

    @classmethod
    def remember(cls, batch: Any, batch_idx: int, device: torch.device) -> "MicroBatch":
        """Keep a shallow copy (the module may add keys to a dictionary) and the random state."""
        return cls(copy.copy(batch), batch_idx, RandomState.capture(device))


def replay(
    trainer: Trainer,
    pl_module: LightningModule,
    optimizer: Optimizer,
    window: Sequence[MicroBatch],
    *,
    stateful: Stateful,
) -> list[Tensor]:
    """Forward and backward once more over all micro-batches; gradients must be cleared.

    Goes through the trainer's strategy, so that precision, DistributedDataParallel and manual
    synchronization act as in the first pass, and each micro-batch gets the same random numbers as
    there. Only the parameters' gradients are changed: metrics, buffers, logged values and the
    random state are restored, even if a pass raises.

    Args:
        trainer: the running trainer.
        pl_module: the module that it trains.
        optimizer: the optimizer whose gradients are replaced.
        window: the micro-batches of the step.
        stateful: modules inside ``pl_module`` whose state is restored.

    Returns:
        One loss per micro-batch, divided by ``accumulate_grad_batches``, shape (), detached.
    """
    strategy = trainer.strategy
    with ExitStack() as traces:
        drawn = traces.enter_context(random_state_repeated(window[0].random_state))
        traces.enter_context(metrics_kept(stateful.metrics))
        traces.enter_context(buffers_kept(stateful.buffers))
        traces.enter_context(logging_discarded(trainer, pl_module))
        traces.enter_context(torch.enable_grad())
        losses = []
        for micro in window:
            # As in Lightning's loop: gradients are synchronized with the last backward pass.
            is_last = micro is window[-1]
            wait: AbstractContextManager[Any] = nullcontext()
            if isinstance(strategy, ParallelStrategy) and not is_last:
                wait = strategy.block_backward_sync()
            if drawn:
                micro.random_state.restore()
            with wait:
                losses.append(_one_pass(trainer, pl_module, optimizer, micro))
        return losses


@cache
def _takes_batch_idx(training_step: Callable[..., Any]) -> bool:
    # Lightning's own test, but cached, because inspecting signatures is slow.
    return is_param_in_hook_signature(training_step, "batch_idx", min_args=2)


def _one_pass(
    trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer, micro: MicroBatch
) -> Tensor:
    arguments = [copy.copy(micro.batch)]
    step = pl_module.training_step
    if _takes_batch_idx(getattr(step, "__func__", step)):
        arguments.append(micro.batch_idx)
    output = trainer.strategy.training_step(*arguments)
    result = ClosureResult.from_training_step_output(output, trainer.accumulate_grad_batches)
    if result.closure_loss is None or result.loss is None:
        raise RuntimeError(
            "training_step returned a loss for a batch, then None for the same batch when SAM "
            "repeated it: under SAM, training_step must depend on batch, weights and random "
            "numbers only"
        )
    # Strategy.backward without its hooks, so that other callbacks see one backward pass.
    strategy = trainer.strategy
    strategy.pre_backward(result.closure_loss)
    strategy.precision_plugin.backward(result.closure_loss, pl_module, optimizer)
    strategy.post_backward(result.loss)
    return result.loss
