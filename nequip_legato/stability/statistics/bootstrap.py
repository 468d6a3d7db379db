"""Intervals of survival statistics from a bootstrap over training seeds and the runs within each.

A sample of the hierarchical bootstrap (Davison and Hinkley, Bootstrap Methods and their
Application, 1997, sec. 3.8) draws training seeds with replacement, and then runs of each drawn seed
with replacement. With few training seeds its percentile intervals are too short: the variance
between G seeds is reduced by (G - 1) / G, and Student's t is ignored. They are therefore widened
about the estimate, on the scale of log t, by

    f = t(0.975; G - 1) / 1.96 * sqrt(G / (G - 1)),

which is 2.7 for 3 seeds, 1.6 for 5 and 1.1 for 20. docs/stability_report.md has the measured
coverage.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from scipy.stats import t as student

from nequip_legato.stability.statistics.estimate import Estimate
from nequip_legato.stability.statistics.survival import Array, Sample, medians, restricted_means

__all__ = ["Resampled", "has_interval", "resample", "widened", "widening"]

_CHUNK = 2_000_000  # weights held at once
_FEWEST = 5  # runs of a single training seed that are needed for an interval


class Resampled:
    """Kaplan-Meier curves of bootstrap samples.

    Attributes:
        times: (m,) ps.
        survival: (draws, m) after each time.
    """

    def __init__(self, times: Array, survival: Array) -> None:
        self.times = times
        self.survival = survival

    def medians(self) -> Array:
        """(draws,) ps; infinite where more than half survive."""
        return medians(self.times, self.survival)

    def restricted_means(self, horizon: float) -> Array:
        """(draws,) ps, up to ``horizon`` (ps)."""
        return restricted_means(self.times, self.survival, horizon)


def resample(sample: Sample, *, draws: int, generator: np.random.Generator) -> Resampled:
    """Curves of ``draws`` bootstrap samples.

    Runs are weighted by how often they are drawn, which is the same as repeating them.
    """
    order = np.argsort(sample.times, kind="stable")
    times, failed, seeds = sample.times[order], sample.failed[order], sample.seeds[order]
    moments, first = np.unique(times, return_index=True)
    rows = max(1, _CHUNK // len(times))
    parts = []
    for start in range(0, draws, rows):
        weights = _weights(seeds, min(rows, draws - start), generator)
        deaths = np.add.reduceat(weights * failed, first, axis=1)
        leaving = np.add.reduceat(weights, first, axis=1)
        at_risk = np.cumsum(leaving[:, ::-1], axis=1)[:, ::-1]
        # After the last run that was drawn nothing is at risk: the curve stays constant.
        parts.append(np.cumprod(1.0 - deaths / np.maximum(at_risk, 1), axis=1))
    return Resampled(moments, np.concatenate(parts))


def _weights(
    seeds: NDArray[np.str_], draws: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """(draws, runs): how often each bootstrap sample holds each run."""
    labels = np.unique(seeds)
    count = len(labels)
    often = generator.multinomial(count, np.full(count, 1.0 / count), size=draws)
    weights = np.zeros((draws, len(seeds)), dtype=np.int64)
    for column, label in enumerate(labels):
        own = np.flatnonzero(seeds == label)
        chances = np.full(len(own), 1.0 / len(own))
        weights[:, own] = generator.multinomial(often[:, column] * len(own), chances)
    return weights


def has_interval(sample: Sample) -> bool:
    """Whether a bootstrap of the runs gives a meaningful interval.

    Without a failure, or with few runs of one training seed, all bootstrap samples are alike, and
    the interval would have almost no width.
    """
    alone = len(sample.labels) < 2
    return bool(sample.failed.any()) and not (alone and len(sample.times) < _FEWEST)


def widening(seeds: int, degrees: int | None = None) -> float:
    """Factor by which percentile intervals are widened on the log scale.

    Args:
        seeds: number of training seeds (of the smaller group, where two are compared).
        degrees: degrees of freedom; default: one less than ``seeds``.
    """
    if seeds < 2:
        return 1.0
    quantile = student.ppf(0.975, seeds - 1 if degrees is None else degrees)
    return float(quantile / norm.ppf(0.975) * math.sqrt(seeds / (seeds - 1)))


def widened(value: float, draws: Array, factor: float, *, beyond: float = math.inf) -> Estimate:
    """A positive statistic with its 95 % interval: percentiles of ``draws``, widened.

    Args:
        value: the estimate; infinite if it lies beyond what was observed.
        draws: its bootstrap samples; may be infinite.
        factor: from `widening`.
        beyond: what an infinite ``value`` is known to exceed; the interval is widened about that.

    Returns:
        The estimate; ``error`` is half the interval's width on the log scale over 1.96, times
        the value; infinite where the interval is.
    """
    # No interpolation, which would turn infinities into NaN.
    ends = np.quantile(draws, [0.025, 0.975], method="inverted_cdf")
    center = value if math.isfinite(value) else beyond
    low, high = (
        center * (float(end) / center) ** factor if np.isfinite(end) else math.inf for end in ends
    )
    # The interval includes the estimate even if that is outside the percentiles.
    low, high = min(low, value), max(high, value)
    width = math.log(high / low) / 2 if math.isfinite(high) and low > 0 else math.inf
    return Estimate(value, value * width / float(norm.ppf(0.975)), low, high)
