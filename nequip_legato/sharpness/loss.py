"""The training loss as a function of the weights: value, gradient, Hessian times vector."""

from collections.abc import Iterator, Sequence
from functools import reduce
from pathlib import Path

import torch
from nequip.data import AtomicDataDict
from nequip.train.metrics_manager import MetricEntry
from torch import Tensor

from nequip_legato.errors import LegatoError
from nequip_legato.sharpness.labels import check_labels, compared, is_mean, label_counts
from nequip_legato.sharpness.model import Trained

__all__ = ["TOTAL", "TrainingLoss"]

TOTAL = "total"
_BATCH = 4  # frames evaluated at once: bounds the memory

_Group = tuple[AtomicDataDict.Type, dict[str, list[float]]]


class TrainingLoss:
    """The loss that a model was trained with, on fixed frames, in float64.

    It is nequip's loss of all frames as one batch: a mean over all components that have a label.
    Means are computed for groups of four frames and weighted by their numbers of labels; other
    metrics, such as root mean squares, need all frames at once. The parts (energy, forces, stress)
    include their coefficients, so they add up to the total.

    Args:
        trained: the model and its loss.
        frames: with labels, atom types and edges.

    Attributes:
        parameters: the model's own weights w: changing them changes the loss.
        twice_differentiable: whether `hessian_times` works, as far as is known.

    Raises:
        LegatoError: if the loss is not one of nequip's weighted sums, or if labels that it needs
            are missing.
    """

    def __init__(self, trained: Trained, frames: Sequence[AtomicDataDict.Type]) -> None:
        self._module = trained.module
        self.twice_differentiable = True
        self.parameters = [p for p in trained.module.model.parameters() if p.requires_grad]
        entries = getattr(trained.module.loss, "entries", None)
        if not entries or not getattr(trained.module.loss, "do_weighted_sum", False):
            raise LegatoError(f"{trained.path}: its loss is not one of nequip's weighted sums")
        self._entries: dict[str, MetricEntry] = {
            name: entry for name, entry in entries.items() if entry.coeff is not None
        }
        check_labels(frames, self._entries, str(trained.path))
        self._groups = self._weighted(self._batches(frames, trained.path))

    def _batches(
        self, frames: Sequence[AtomicDataDict.Type], path: Path
    ) -> list[AtomicDataDict.Type]:
        alike: dict[frozenset[str], list[AtomicDataDict.Type]] = {}
        for frame in frames:  # frames with other fields cannot share a batch
            alike.setdefault(frozenset(frame), []).append(frame)
        size = _BATCH
        if not all(is_mean(self._module.loss[name]) for name in self._entries):
            size = len(frames)
            if len(alike) > 1:
                differ = ", ".join(sorted(frozenset.union(*alike) - frozenset.intersection(*alike)))
                raise LegatoError(
                    f"the loss of {path} is not a mean over labels, so it needs all frames in one "
                    f"batch, but not all of them have {differ}; give others with --frames FILE"
                )
        return [
            AtomicDataDict.batched_from_list(own[k : k + size])
            for own in alike.values()
            for k in range(0, len(own), size)
        ]

    def _weighted(self, batches: list[AtomicDataDict.Type]) -> list[_Group]:
        """Each batch with the weights of its terms by part; per-type terms have one per type."""
        n_types = len(getattr(self._module.loss, "type_names", []))
        counts = [
            {name: label_counts(entry, target, n_types) for name, entry in self._entries.items()}
            for target in map(self._target, batches)
        ]
        groups = []
        for batch, own in zip(batches, counts, strict=True):
            weights = {}
            for name, entry in self._entries.items():
                totals = [sum(c) for c in zip(*(count[name] for count in counts), strict=True)]
                shares = entry.per_type_coeffs or [1.0] * len(totals)
                whole = sum(s for s, n in zip(shares, totals, strict=True) if n)
                weights[name] = [
                    s / whole * n / total if n else 0.0
                    for s, n, total in zip(shares, own[name], totals, strict=True)
                ]
            groups.append((batch, weights))
        return groups

    @property
    def parts(self) -> list[str]:
        """Names of what ``value`` returns: the total first."""
        return [TOTAL, *self._entries]

    def value(self) -> dict[str, float]:
        """Total and parts at the present weights."""
        sums = dict.fromkeys(self.parts, 0.0)
        for group in self._groups:
            for name, term in self._terms(group, list(self._entries)).items():
                sums[name] += term.item()
        sums[TOTAL] = sum(sums[name] for name in self._entries)
        return sums

    def gradient(self, part: str = TOTAL) -> list[Tensor]:
        """Gradient of the total or of one part, one tensor for each parameter."""
        with _training(self._module):
            parts = [
                torch.autograd.grad(loss, self.parameters, materialize_grads=True)
                for loss in self._losses(part)
            ]
        return self._summed(parts)

    def hessian_times(self, vector: Sequence[Tensor], part: str = TOTAL) -> list[Tensor]:
        """Hessian of the total or of one part times a vector, exactly, by differentiating twice.

        For losses with forces these are third derivatives of the energy, which nequip's and
        Allegro's eager models have; custom kernels may not.

        Raises:
            RuntimeError: if the loss cannot be differentiated twice.
        """
        with _training(self._module):
            parts = []
            for loss in self._losses(part):
                gradient = torch.autograd.grad(
                    loss, self.parameters, create_graph=True, materialize_grads=True
                )
                products = [(g * v).sum() for g, v in zip(gradient, vector, strict=True)]
                product = reduce(torch.add, products)
                parts.append(torch.autograd.grad(product, self.parameters, materialize_grads=True))
        return self._summed(parts)

    def _summed(self, parts: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        if not parts:
            return [torch.zeros_like(p) for p in self.parameters]
        return [torch.stack(own).sum(0) for own in zip(*parts, strict=True)]

    def _losses(self, part: str) -> Iterator[Tensor]:
        """The contribution of each group to the total or to one part, if it has any."""
        wanted = list(self._entries) if part == TOTAL else [part]
        for group in self._groups:
            terms = self._terms(group, wanted)
            if terms:
                yield reduce(torch.add, terms.values())

    def _terms(self, group: _Group, names: Sequence[str]) -> dict[str, Tensor]:
        """Contributions of a group to the parts, with coefficients.

        Parts without labels in this group are left out: their mean and its derivatives are NaN.
        """
        batch, weights = group
        wanted = [name for name in names if any(weights[name])]
        if not wanted:
            return {}
        target = self._target(batch)
        output = self._module(batch)
        terms = {}
        for name in wanted:
            entry = self._entries[name]
            metrics = self._module.loss[name]
            metrics = list(metrics) if entry.per_type else [metrics]
            term = 0.0
            for k, weight in enumerate(weights[name]):
                if weight:
                    found = metrics[k](*compared(entry, output, target, k))
                    term = term + weight * found
            terms[name] = entry.coeff * term
        self._module.loss.reset()  # else its averages over batches would include our values
        return terms

    def _target(self, batch: AtomicDataDict.Type) -> AtomicDataDict.Type:
        return self._module.process_target(batch, 0, 0)


class _training:  # noqa: N801  a context like torch.no_grad
    """Context in which forces can be differentiated: nequip keeps their graph only in training."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = module

    def __enter__(self) -> None:
        self._module.train()

    def __exit__(self, *_: object) -> None:
        self._module.eval()
