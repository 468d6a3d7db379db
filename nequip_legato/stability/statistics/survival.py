"""Survival of groups of runs at one size: Kaplan-Meier curves, medians, restricted means.

Runs that reached their step limit are censored there. Curve: Kaplan and Meier 1958
(doi:10.2307/2281868), by lifelines; restricted mean survival time: Royston and Parmar 2013
(doi:10.1186/1471-2288-13-152).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from lifelines import KaplanMeierFitter
from numpy.typing import NDArray

from nequip_legato.stability.records import Record

__all__ = [
    "Array",
    "Curve",
    "Sample",
    "common_horizon",
    "curve",
    "medians",
    "restricted_means",
    "sample_of",
    "time_survived",
]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """Runs of one group at one size.

    Attributes:
        times: (n,) ps survived, positive.
        failed: (n,) False for censored runs.
        seeds: (n,) training seed of each run.
    """

    times: Array
    failed: NDArray[np.bool_]
    seeds: NDArray[np.str_]

    @property
    def labels(self) -> list[str]:
        """The training seeds."""
        return sorted(set(self.seeds.tolist()))

    def of_seed(self, label: str) -> "Sample":
        """The runs of one training seed."""
        own = self.seeds == label
        return Sample(self.times[own], self.failed[own], self.seeds[own])


@dataclass(frozen=True)
class Curve:
    """A Kaplan-Meier curve: survival drops at ``times`` to ``survival``.

    Attributes:
        times: (m,) ps, beginning with 0.
        survival: (m,) probability of surviving longer.
        low: (m,) lower end of the pointwise 95 % interval, for independent runs.
        high: (m,) its upper end.
        known_to: the curve is known up to here, ps; infinite if it has fallen to zero.
    """

    times: Array
    survival: Array
    low: Array
    high: Array
    known_to: float

    @property
    def median(self) -> float:
        """The time that half of the runs survive, ps; infinite if more than half never fail."""
        return float(medians(self.times, self.survival[None, :])[0])

    def restricted_mean(self, horizon: float) -> float:
        """Mean time survived up to ``horizon``, ps: the area under the curve."""
        return float(restricted_means(self.times, self.survival[None, :], horizon)[0])


def time_survived(record: Record) -> float:
    """Time survived, ps: at least half a step, so that its logarithm exists."""
    return max(record.steps, 0.5) * record.timestep / 1000.0


def sample_of(records: Sequence[Record], group: str, atoms: int | None = None) -> Sample:
    """The runs of a group, at one size or all."""
    own = [r for r in records if r.group == group and atoms in (None, r.atoms)]
    return Sample(
        np.array([time_survived(r) for r in own]),
        np.array([r.failed for r in own], dtype=bool),
        np.array([r.training_seed for r in own], dtype=str),
    )


def curve(sample: Sample) -> Curve:
    """The Kaplan-Meier curve with Greenwood's (log-log) pointwise intervals."""
    fitter = KaplanMeierFitter().fit(sample.times, sample.failed)
    interval = fitter.confidence_interval_survival_function_.to_numpy()
    survival = fitter.survival_function_.to_numpy()[:, 0]
    # lifelines leaves the interval open (NaN) before the first failure: the curve is 1 there.
    low, high = np.where(np.isnan(interval), survival[:, None], interval).T
    return Curve(
        times=fitter.survival_function_.index.to_numpy(dtype=float),
        survival=survival,
        low=low,
        high=high,
        known_to=float("inf") if survival[-1] < 1e-12 else float(sample.times.max()),
    )


def common_horizon(curves: Sequence[Curve]) -> float:
    """The longest time up to which every one of the curves is known, ps."""
    known = min(each.known_to for each in curves)
    return known if np.isfinite(known) else float(max(each.times[-1] for each in curves))


def medians(times: Array, survival: Array) -> Array:
    """First time at which survival is one half or less.

    Args:
        times: (m,) ps.
        survival: (curves, m) after each time.

    Returns:
        (curves,) ps; infinite where there is none.
    """
    # Products of fractions may miss 1/2 by rounding.
    below = survival <= 0.5 + 1e-9
    return np.where(below.any(axis=1), times[below.argmax(axis=1)], np.inf)


def restricted_means(times: Array, survival: Array, horizon: float) -> Array:
    """Area under each curve up to ``horizon``.

    Args:
        times: (m,) ps.
        survival: (curves, m) after each time; 1 before the first.
        horizon: ps.

    Returns:
        (curves,) ps.
    """
    inside = times < horizon
    edges = np.concatenate([[0.0], times[inside], [horizon]])
    ones = np.ones((len(survival), 1))
    return np.concatenate([ones, survival[:, inside]], axis=1) @ np.diff(edges)
