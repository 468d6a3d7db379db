"""One group of models against another: ratio of their times to failure, and tests."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nequip_legato.stability.statistics.bootstrap import Resampled, has_interval, widened, widening
from nequip_legato.stability.statistics.estimate import Estimate, welch
from nequip_legato.stability.statistics.exponent import Exponent
from nequip_legato.stability.statistics.logrank import independent_logrank, seed_permutation
from nequip_legato.stability.statistics.survival import Curve, Sample, curve

__all__ = ["Comparison", "Group", "compare"]


@dataclass(frozen=True)
class Group:
    """The runs of one group at one size.

    Attributes:
        sample: the runs.
        curve: their survival curve.
        resampled: bootstrap samples of the curve.
    """

    sample: Sample
    curve: Curve
    resampled: Resampled


@dataclass(frozen=True)
class Comparison:
    """A group against the reference group.

    Attributes:
        group: the group.
        reference: what it is compared with.
        atoms: N; None for all sizes together.
        ratio: time to failure, group over reference; None if it is not known.
        basis: how ``ratio`` and its interval were made, or why there is none.
        logrank: p-value for independent runs (too small if a model has several).
        permutation: p-value over whole training seeds.
        smallest: the smallest p-value possible with this number of training seeds.
    """

    group: str
    reference: str
    atoms: int | None
    ratio: Estimate | None
    basis: str
    logrank: float
    permutation: float
    smallest: float


def compare(
    one: dict[int, Group],
    other: dict[int, Group],
    *,
    names: tuple[str, str],
    horizons: dict[int, float],
    exponents: tuple[Exponent, Exponent],
    seed: int,
) -> list[Comparison]:
    """A group against another, at each size that both have, and over all of these.

    Args:
        one: the group at each size.
        other: what it is compared with.
        names: of both.
        horizons: N -> time up to which means are taken, ps.
        exponents: of both, whose fits give the ratio of Weibull medians.
        seed: of permutations, where there are too many to list.
    """
    sizes = sorted(set(one) & set(other))
    found = []
    for atoms in sizes:
        strata = [(one[atoms].sample, other[atoms].sample)]
        ratio, basis = _mean_ratio(one[atoms], other[atoms], horizons[atoms])
        p, smallest = seed_permutation(strata, seed=seed)
        found.append(
            Comparison(*names, atoms, ratio, basis, independent_logrank(strata), p, smallest)
        )
    if len(sizes) > 1:
        strata = [(one[atoms].sample, other[atoms].sample) for atoms in sizes]
        tests = independent_logrank(strata), *seed_permutation(strata, seed=seed)
        several: list[tuple[Estimate | None, str]] = [
            _seedwise_ratio(strata, [horizons[atoms] for atoms in sizes]),
            _weibull_ratio(*exponents),
        ]
        for either, basis in several:
            found.append(Comparison(*names, None, either, basis, *tests))
    return found


def _mean_ratio(one: Group, other: Group, horizon: float) -> tuple[Estimate, str]:
    """Ratio of restricted means with its widened bootstrap interval."""
    value = one.curve.restricted_mean(horizon) / other.curve.restricted_mean(horizon)
    draws = one.resampled.restricted_means(horizon) / other.resampled.restricted_means(horizon)
    counts = len(one.sample.labels), len(other.sample.labels)
    factor, over = 1.0, "velocity seeds only"
    if min(counts) > 1:
        factor, over = widening(min(counts), sum(counts) - 2), "training seeds"
    basis = f"restricted means up to {horizon:.4g} ps; bootstrap over {over}"
    if not (one.sample.failed.any() or other.sample.failed.any()):
        basis += "; no run failed, so this carries no information"
    ratio = widened(value, draws, factor)
    if not (has_interval(one.sample) and has_interval(other.sample)):
        # Without failures, or with few runs, bootstrap samples do not scatter.
        return ratio.without_interval(), f"{basis}; too few runs or failures for an interval"
    return ratio, basis


def _seedwise_ratio(
    strata: Sequence[tuple[Sample, Sample]], horizons: Sequence[float]
) -> tuple[Estimate | None, str]:
    """Ratio of restricted means, geometric mean over sizes and training seeds; Welch's interval.

    Each training seed counts as one observation: the mean over sizes of the log of its own
    restricted mean.
    """
    levels: list[list[float]] = []
    for side in (0, 1):
        samples = [pair[side] for pair in strata]
        everywhere = set.intersection(*(set(s.labels) for s in samples))
        levels.append(
            [
                float(
                    np.mean(
                        [
                            math.log(curve(s.of_seed(label)).restricted_mean(horizon))
                            for s, horizon in zip(samples, horizons, strict=True)
                        ]
                    )
                )
                for label in sorted(everywhere)
            ]
        )
    if not (levels[0] and levels[1]):
        return None, "restricted means: no training seed was run at every size"
    return _ratio(levels[0], levels[1], "restricted means, geometric mean over sizes")


def _weibull_ratio(one: Exponent, other: Exponent) -> tuple[Estimate | None, str]:
    """Ratio of the Weibull medians at the middle of the sizes, over training seeds."""
    what = "Weibull medians at the middle of the sizes"
    for each in (one, other):
        if each.exponent is None:
            return None, f"{what}: '{each.group}' has no fit"
        if each.never_failed:
            return None, f"{what}: '{each.group}' has training seeds that never failed"
    if not math.isclose(one.middle, other.middle, rel_tol=0.02):
        return None, f"{what}: the groups were run at different sizes"
    medians = [
        [level + each.slope * math.log(each.middle) for level in each.median_levels]
        for each in (one, other)
    ]
    return _ratio(medians[0], medians[1], f"{what} ({one.middle:.0f} atoms)")


def _ratio(one: Sequence[float], other: Sequence[float], what: str) -> tuple[Estimate, str]:
    """Exponential of the difference of means, with Welch's interval."""
    value = float(np.mean(one) - np.mean(other))
    if min(len(one), len(other)) < 2:
        nan = math.nan
        ratio = Estimate(math.exp(value), nan, nan, nan)
        return ratio, f"{what}; fewer than two training seeds, hence no interval"
    log = welch(
        value,
        errors=[float(np.std(x, ddof=1)) / math.sqrt(len(x)) for x in (one, other)],
        degrees=[len(one) - 1, len(other) - 1],
    )
    ratio = Estimate(
        math.exp(value), math.exp(value) * log.error, math.exp(log.low), math.exp(log.high)
    )
    return ratio, f"{what}; Welch's t over {len(one)} and {len(other)} training seeds"
