"""Labels that a loss compares with, which not every frame may have."""

from collections.abc import Mapping, Sequence

import torch
from nequip.data import AtomicDataDict
from nequip.train import (
    HuberLoss,
    MeanAbsoluteError,
    MeanSquaredError,
    StratifiedHuberForceLoss,
)
from nequip.train.metrics_manager import MetricEntry
from torch import Tensor, nn

from nequip_legato.errors import LegatoError

__all__ = ["check_labels", "compared", "is_mean", "label_counts"]

_MEANS = (MeanAbsoluteError, MeanSquaredError, HuberLoss, StratifiedHuberForceLoss)


def is_mean(metric: nn.Module) -> bool:
    """Whether a metric is a mean over components, so that groups of frames can be combined."""
    if isinstance(metric, nn.ModuleList):  # one for each type
        return all(map(is_mean, metric))
    # exactly these classes: root mean squares inherit from mean squares
    return type(metric) in _MEANS and getattr(metric, "reduction", "mean") == "mean"


def compared(
    entry: MetricEntry, output: AtomicDataDict.Type, target: AtomicDataDict.Type, type_index: int
) -> tuple:
    """Predictions and labels that nequip's ``MetricsManager`` gives to the metric of a term.

    Args:
        entry: the term.
        output: what the model predicts for a batch.
        target: the batch with its labels.
        type_index: type of the atoms to compare, for terms with one metric per type.
    """
    if entry.field is None:
        return output, target
    predictions, labels = entry.field(output, target)
    if entry.per_type:
        chosen = target[AtomicDataDict.ATOM_TYPE_KEY].view(-1) == type_index
        predictions, labels = predictions[chosen], labels[chosen]
    if entry.ignore_nan:
        known = ~labels.isnan()
        predictions, labels = predictions[known], labels[known]
    return predictions, labels


def label_counts(entry: MetricEntry, target: AtomicDataDict.Type, n_types: int) -> list[int]:
    """How many components a term compares: one number, or one for each type."""
    if entry.field is None:
        return [1]
    # Labels are passed as predictions, which are not needed to count.
    stand_in = {**target, entry.field.field: target[_label_of(entry)]}
    types = range(n_types) if entry.per_type else [0]
    return [compared(entry, stand_in, target, k)[1].numel() for k in types]


def _label_of(entry: MetricEntry) -> str:
    return getattr(entry.field, "target_field", entry.field.field)


def check_labels(
    frames: Sequence[AtomicDataDict.Type], entries: Mapping[str, MetricEntry], where: str
) -> None:
    """Refuse frames without labels that a loss needs.

    Args:
        frames: with labels.
        entries: the terms of the loss.
        where: name of the frames in messages.

    Raises:
        LegatoError: if labels are missing; tells which, and in how many frames.
    """
    for name, entry in entries.items():
        if entry.field is None:
            continue
        key = _label_of(entry)
        compares = f"'{key}', which the loss term '{name}' compares with"
        missing = sum(key not in frame for frame in frames)
        if missing:
            hint = " (its transforms lack AddNaNStressTransform)" if entry.ignore_nan else ""
            raise LegatoError(
                f"{missing} of {len(frames)} frames of {where} have no {compares}{hint}; give "
                "labeled frames with --frames FILE"
            )
        bad = [_is_nan(frame[key]) for frame in frames]
        partly = sum(bool(nan.any()) for nan in bad)
        if partly and not entry.ignore_nan:
            raise LegatoError(
                f"{partly} of {len(frames)} frames of {where} have NaN in {compares} without "
                "ignoring NaN (ignore_nan); give labeled frames with --frames FILE"
            )
        if all(nan.all() for nan in bad):
            raise LegatoError(
                f"none of the {len(frames)} frames of {where} has {compares}; take more with "
                "--n-frames, or others with --frames FILE"
            )


def _is_nan(labels: Tensor) -> Tensor:
    return torch.isnan(labels) if labels.is_floating_point() else torch.zeros(1, dtype=torch.bool)
