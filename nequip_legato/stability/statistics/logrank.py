"""Log-rank tests: of independent runs, and with whole training seeds permuted.

The log-rank statistic sums, over the runs of a group, observed minus expected failures: the score
of a run is (1 if it failed) - H(t), where H is the Nelson-Aalen hazard of both groups together
(Peto and Peto 1972, doi:10.2307/2344317). Strata (system sizes) add up.

Its usual p-value takes every run as independent. Runs of one model are not: a bad model fails early
in all of its runs. With several runs of each of a few models the usual p-value is therefore far too
small. Permuting whole training seeds between the groups keeps what runs of a model have in common:
under the null hypothesis every division of the models into two groups is equally likely.
"""

from collections.abc import Sequence
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from nequip_legato.stability.statistics.survival import Array, Sample

__all__ = ["Strata", "independent_logrank", "seed_permutation"]

Strata = Sequence[tuple[Sample, Sample]]
_LISTED = 20_000  # divisions that are listed; if there are more, this number is drawn at random


def independent_logrank(strata: Strata) -> float:
    """p-value of the stratified log-rank test that takes all runs as independent.

    Args:
        strata: (first, second) group at each size.
    """
    difference = variance = 0.0
    for first, second in strata:
        times, failed, is_first = _pooled(first, second)
        moments, inverse = np.unique(times, return_inverse=True)
        deaths = np.bincount(inverse, weights=failed, minlength=len(moments))
        at_risk = len(times) - np.searchsorted(np.sort(times), moments)
        of_first = is_first.sum() - np.searchsorted(np.sort(times[is_first]), moments)
        share = of_first / at_risk
        difference += failed[is_first].sum() - float(deaths @ share)
        left = np.maximum(at_risk - 1, 1)
        variance += float(np.sum(deaths * share * (1 - share) * (at_risk - deaths) / left))
    return float(chi2.sf(difference**2 / variance, 1)) if variance > 0 else 1.0


def seed_permutation(strata: Strata, *, seed: int = 0) -> tuple[float, float]:
    """Permutation test of the stratified log-rank statistic over whole training seeds.

    All divisions of the training seeds into two groups are listed if they are few (then p is
    exact); otherwise some are drawn at random.

    Args:
        strata: (first, second) group at each size.
        seed: of the drawn divisions.

    Returns:
        The two-sided p-value, and the smallest possible one with this number of training seeds.
    """
    scores: list[dict[str, float]] = [{}, {}]
    for pair in strata:
        times, failed, is_first = _pooled(*pair)
        each = failed - _hazard(times, failed)
        for side, sample in enumerate(pair):
            own = each[is_first] if side == 0 else each[~is_first]
            for label in sample.labels:
                total = float(own[sample.seeds == label].sum())
                scores[side][label] = scores[side].get(label, 0.0) + total
    first = len(scores[0])
    values = np.array([*scores[0].values(), *scores[1].values()])
    observed = abs(values[:first].sum()) - 1e-9
    total = comb(len(values), first)
    smallest = (2 if 2 * first == len(values) else 1) / total
    if total <= _LISTED:
        chosen = np.array(list(combinations(range(len(values)), first)))
        sums = np.abs(values[chosen].sum(axis=1))
        return float(np.mean(sums >= observed)), smallest
    generator = np.random.default_rng(seed)
    shuffled = generator.permuted(np.tile(values, (_LISTED, 1)), axis=1)
    sums = np.abs(shuffled[:, :first].sum(axis=1))
    return (1 + int(np.sum(sums >= observed))) / (_LISTED + 1), smallest


def _pooled(first: Sample, second: Sample) -> tuple[Array, Array, NDArray[np.bool_]]:
    times = np.concatenate([first.times, second.times])
    failed = np.concatenate([first.failed, second.failed]).astype(float)
    return times, failed, np.arange(len(times)) < len(first.times)


def _hazard(times: Array, failed: Array) -> Array:
    """(n,) Nelson-Aalen hazard up to and at each run's time."""
    moments, inverse = np.unique(times, return_inverse=True)
    deaths = np.bincount(inverse, weights=failed, minlength=len(moments))
    at_risk = len(times) - np.searchsorted(np.sort(times), moments)
    return np.cumsum(deaths / at_risk)[inverse]
