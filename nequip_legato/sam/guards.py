"""What SAM refuses, each with one line that tells what to change."""

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from nequip.train.metrics_manager import MetricsManager
from torch.optim import Optimizer

from nequip_legato.errors import LegatoError, ValueLegatoError

__all__ = [
    "check_choice",
    "check_count",
    "check_eta_used",
    "check_fraction",
    "check_labels",
    "check_module",
    "check_momentum",
    "check_non_negative",
    "check_one_closure_call",
    "check_optimizers",
    "check_switch",
    "check_trainer",
    "refuse_without_momentum",
]


def check_non_negative(name: str, value: Any) -> float:
    """``value`` as a float, if it is a finite number of at least 0."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value < 0:
        raise ValueLegatoError(f"SAM: {name} must be a finite number >= 0, not {value!r}")
    return float(value)


def check_fraction(name: str, value: Any) -> float:
    """``value`` as a float, if it is a number in (0, 1]."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value <= 1:
        raise ValueLegatoError(f"SAM: {name} must be a number above 0 and at most 1, not {value!r}")
    return float(value)


def check_count(name: str, value: Any) -> int:
    """``value``, if it is an integer of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueLegatoError(f"SAM: {name} must be an integer >= 1, not {value!r}")
    return value


def check_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """``value``, if it is one of ``choices``."""
    if value not in choices:
        raise ValueLegatoError(f"SAM: {name} must be one of {', '.join(choices)}, not {value!r}")
    return value


def check_switch(name: str, value: Any) -> bool:
    """``value``, if it is true or false."""
    if not isinstance(value, bool):
        raise ValueLegatoError(f"SAM: {name} must be true or false, not {value!r}")
    return value


def check_eta_used(eta: float, adaptive: bool) -> None:
    """Refuse an eta without ASAM, where it has no effect."""
    if eta and not adaptive:
        raise ValueLegatoError("SAM: eta belongs to ASAM: set adaptive to true or leave eta out")


def check_trainer(trainer: Trainer, kind: type) -> None:
    """Refuse trainer settings under which the second pass would be wrong.

    Args:
        trainer: before training.
        kind: the class of the callback, of which one is allowed.
    """
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    found = [type(c).__name__ for c in callbacks if isinstance(c, kind)]
    if len(found) > 1:
        names = " or ".join(sorted(set(found)))
        raise LegatoError(f"{names} is in trainer.callbacks {len(found)} times: remove all but one")
    if getattr(trainer.precision_plugin, "scaler", None) is not None:
        raise LegatoError(
            "SAM cannot climb along gradients that fp16 AMP has scaled: set trainer.precision to "
            "'32-true' or 'bf16-mixed' instead of '16-mixed'"
        )
    if not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy):
        raise LegatoError(
            "SAM needs whole gradients in every process, which "
            f"{type(trainer.strategy).__name__} may not give: set trainer.strategy to "
            "nequip.train.SimpleDDPStrategy or 'ddp', or use one device"
        )


def check_module(pl_module: LightningModule) -> None:
    """Refuse training modules whose steps SAM cannot repeat."""
    name = type(pl_module).__name__
    if not pl_module.automatic_optimization:
        raise LegatoError(
            f"SAM needs Lightning's automatic optimization, but {name} optimizes by hand: remove "
            "SAM from trainer.callbacks or use a training_module with automatic_optimization = "
            "True, such as nequip.train.EMALightningModule"
        )
    if is_param_in_hook_signature(pl_module.training_step, "dataloader_iter", explicit=True):
        raise LegatoError(
            f"SAM repeats batches, but {name}.training_step takes a dataloader_iter: let it take "
            "batch and batch_idx"
        )


def check_optimizers(optimizers: Sequence[Optimizer]) -> None:
    """Refuse optimizers that do not take one gradient per step."""
    for optimizer in optimizers:
        name = type(optimizer).__name__
        if not isinstance(optimizer, Optimizer):
            raise LegatoError(
                f"SAM needs a torch.optim.Optimizer, which {name} is not: set "
                "training_module.optimizer to one, such as torch.optim.Adam"
            )
        # First-order optimizers take an optional closure; LBFGS requires one.
        closure = inspect.signature(type(optimizer).step).parameters.get("closure")
        if closure is not None and closure.default is inspect.Parameter.empty:
            raise LegatoError(_several_evaluations(name))


def check_momentum(optimizer: Optimizer) -> None:
    """Refuse optimizers that keep no momentum."""
    if optimizer.defaults.get("momentum", None) == 0 and "betas" not in optimizer.defaults:
        refuse_without_momentum(optimizer)


def refuse_without_momentum(optimizer: Optimizer) -> None:
    """Raise the error for an optimizer that keeps no momentum."""
    raise LegatoError(
        f"MomentumSAM moves along the optimizer's momentum, but {type(optimizer).__name__} keeps "
        "none: use torch.optim.Adam, or SGD with momentum"
    )


def check_one_closure_call(calls: int, optimizer: Optimizer) -> None:
    """Refuse an optimizer that has evaluated the loss again within one step."""
    if calls > 1:
        raise LegatoError(_several_evaluations(type(optimizer).__name__))


def _several_evaluations(optimizer: str) -> str:
    return (
        f"SAM cannot work under {optimizer}, which evaluates the loss several times per step: set "
        "training_module.optimizer to one that takes a single gradient, such as torch.optim.Adam"
    )


def check_labels(pl_module: LightningModule, batch: Any) -> None:
    """Refuse training data without a label that nequip's loss compares with.

    Args:
        pl_module: whose ``loss`` is looked at if it is nequip's ``MetricsManager``.
        batch: the first one, a dictionary from field name to tensor.
    """
    loss = getattr(pl_module, "loss", None)
    if not isinstance(loss, MetricsManager) or not isinstance(batch, Mapping):
        return
    for term, entry in loss.entries.items():
        # with a MappedFieldModifier the label has another name than the prediction
        field = getattr(entry.field, "target_field", getattr(entry.field, "field", None))
        if isinstance(field, str) and field not in batch:
            nan = " (for frames without: AddNaNStressTransform)" if entry.ignore_nan else ""
            raise LegatoError(
                f"the training data have no {field!r}, which the loss term {term!r} compares with: "
                f"add {field!r} to the data{nan} or take {term!r} out of training_module.loss"
            )
