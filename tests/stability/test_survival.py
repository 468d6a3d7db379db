"""Kaplan-Meier curves, restricted means, bootstrap and log-rank tests."""

import math
from itertools import combinations

import numpy as np
import pytest
from lifelines import KaplanMeierFitter
from lifelines.statistics import logrank_test
from lifelines.utils import restricted_mean_survival_time
from synthetic import simulate

from nequip_legato.stability.statistics.bootstrap import _weights, resample, widened, widening
from nequip_legato.stability.statistics.logrank import independent_logrank, seed_permutation
from nequip_legato.stability.statistics.survival import Sample, common_horizon, curve, sample_of


def _sample(times, failed, seeds=None):
    seeds = ["1"] * len(times) if seeds is None else seeds
    return Sample(np.array(times, float), np.array(failed, bool), np.array(seeds, str))


def _group(seed=0, atoms=512, **opts):
    settings = {"limit": lambda atoms: 250_000.0, "level_scatter": 0.3} | opts
    return sample_of(simulate(np.random.default_rng(seed), **settings), "plain", atoms)


def test_curve_by_hand():
    """Six runs: S = 5/6, then 5/6 * 3/4, then that * 1/2 (Kaplan and Meier's product)."""
    found = curve(_sample([1, 2, 3, 3, 4, 5], [1, 0, 1, 0, 0, 1]))
    assert found.survival[np.searchsorted(found.times, 1.0)] == pytest.approx(5 / 6)
    assert found.survival[np.searchsorted(found.times, 3.0)] == pytest.approx(5 / 6 * 3 / 4)
    assert found.survival[-1] == 0.0
    assert found.median == 5.0
    # 1 + 5/6 * 2 + 5/8 * (4 - 3)
    assert found.restricted_mean(4.0) == pytest.approx(1 + 5 / 6 * 2 + 5 / 8)
    assert math.isinf(found.known_to)


@pytest.mark.parametrize("seed", range(3))
def test_means_and_medians_equal_those_of_lifelines(seed):
    sample = _group(seed)
    found = curve(sample)
    fitter = KaplanMeierFitter().fit(sample.times, sample.failed)
    assert found.median == fitter.median_survival_time_
    for horizon in (50.0, 120.0, 250.0):
        expected = restricted_mean_survival_time(fitter, horizon)
        assert found.restricted_mean(horizon) == pytest.approx(expected, rel=1e-6)
    assert np.all(found.low <= found.survival + 1e-12)
    assert np.all(found.survival <= found.high + 1e-12)


def test_nothing_failed():
    found = curve(_sample([3, 3, 3], [0, 0, 0]))
    assert math.isinf(found.median)
    assert found.restricted_mean(3.0) == 3.0
    assert found.known_to == 3.0


def test_horizon_is_where_every_curve_is_known():
    dead, alive = curve(_sample([1, 2], [1, 1])), curve(_sample([5, 7], [1, 0]))
    assert common_horizon([dead, alive]) == 7.0
    assert common_horizon([dead, curve(_sample([3, 9], [1, 1]))]) == 9.0


def test_bootstrap_curves_are_those_of_repeated_runs():
    sample = _group()
    draws = resample(sample, draws=20, generator=np.random.default_rng(3))
    order = np.argsort(sample.times, kind="stable")
    weights = _weights(sample.seeds[order], 20, np.random.default_rng(3))
    for k in range(20):
        times = np.repeat(sample.times[order], weights[k])
        failed = np.repeat(sample.failed[order], weights[k])
        expected = curve(Sample(times, failed, times.astype(str)))
        assert draws.medians()[k] == expected.median
        assert draws.restricted_means(200.0)[k] == pytest.approx(expected.restricted_mean(200.0))


def test_bootstrap_draws_whole_training_seeds():
    seeds = np.array(["a"] * 5 + ["b"] * 10 + ["c"] * 3)
    weights = _weights(seeds, 400, np.random.default_rng(0))
    for label, size in (("a", 5), ("b", 10), ("c", 3)):
        own = weights[:, seeds == label].sum(axis=1)
        assert set(np.unique(own // size)) == {0, 1, 2, 3}
        assert np.all(own % size == 0)
    often = weights[:, 0]
    assert often.mean() == pytest.approx(1.0, abs=0.3)


def test_intervals_are_wider_with_fewer_training_seeds():
    factors = [widening(n) for n in (2, 3, 5, 20, 1000)]
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] == pytest.approx(1.0, abs=0.01)
    assert widening(1) == 1.0
    draws = np.linspace(90.0, 110.0, 1001)
    narrow, wide = widened(100.0, draws, 1.0), widened(100.0, draws, 2.0)
    assert narrow.low == pytest.approx(90.5, rel=0.01)
    assert math.log(100 / wide.low) == pytest.approx(2 * math.log(100 / narrow.low))


def test_an_unreached_median_has_no_upper_end():
    draws = np.array([50.0] * 100 + [math.inf] * 900)
    found = widened(math.inf, draws, 1.5, beyond=80.0)
    assert math.isinf(found.value)
    assert math.isinf(found.high)
    assert found.low == pytest.approx(80 * (50 / 80) ** 1.5)


@pytest.mark.parametrize("seed", range(3))
def test_independent_logrank_equals_that_of_lifelines(seed):
    one, other = _group(seed), _group(seed + 10, scale=260.0)
    expected = logrank_test(one.times, other.times, one.failed, other.failed).p_value
    assert independent_logrank([(one, other)]) == pytest.approx(expected, rel=1e-6)


def test_strata_that_never_meet_add_up():
    """The same table twice: statistic and variance double, so chi square doubles."""
    pair = (_group(1), _group(12, scale=240.0))
    once = logrank_test(pair[0].times, pair[1].times, pair[0].failed, pair[1].failed)
    from scipy.stats import chi2

    expected = chi2.sf(2 * once.test_statistic, 1)
    assert independent_logrank([pair, pair]) == pytest.approx(expected, rel=1e-6)


def test_groups_without_failures_do_not_differ():
    pair = (_sample([3, 3], [0, 0], ["1", "2"]), _sample([3, 3], [0, 0], ["1", "2"]))
    assert independent_logrank([pair]) == 1.0
    assert seed_permutation([pair])[0] == 1.0


def test_permutation_lists_every_division():
    """Against brute force: relabel the seeds, and take lifelines' observed minus expected."""
    one, other = _group(1, seeds=3, runs=4), _group(12, seeds=3, runs=4, scale=260.0)
    times = np.concatenate([one.times, other.times])
    failed = np.concatenate([one.failed, other.failed])
    seeds = np.concatenate([np.char.add("a", one.seeds), np.char.add("b", other.seeds)])
    labels = sorted(set(seeds))

    def statistic(chosen):
        """Observed minus expected failures of the chosen seeds, by a sum over times."""
        inside = np.isin(seeds, chosen)
        total = 0.0
        for moment in np.unique(times[failed]):
            risk = times >= moment
            dead = failed & (times == moment)
            total += (dead & inside).sum() - dead.sum() * (risk & inside).sum() / risk.sum()
        return abs(total)

    observed = statistic([x for x in labels if x[0] == "a"])
    values = [statistic(chosen) for chosen in combinations(labels, 3)]
    expected = np.mean([v >= observed - 1e-9 for v in values])
    p, smallest = seed_permutation([(one, other)])
    assert p == pytest.approx(expected)
    assert smallest == pytest.approx(0.1)


def test_three_and_three_seeds_reach_a_tenth_at_best():
    one = [1.0, 1.1, 1.2]
    other = [50.0, 51.0, 52.0]
    names = ["1", "2", "3"]
    pair = _sample(one, [1] * 3, names), _sample(other, [1] * 3, names)
    p, smallest = seed_permutation([pair])
    assert p == smallest == pytest.approx(0.1)


def test_many_divisions_are_drawn_and_reproducible():
    one, other = _group(1, seeds=12, runs=2), _group(2, seeds=12, runs=2)
    first = seed_permutation([(one, other)], seed=5)
    assert first == seed_permutation([(one, other)], seed=5)
    assert 0.0 < first[0] <= 1.0
    assert first[1] < 1e-5


def test_permutation_keeps_its_level_where_the_usual_test_does_not():
    """No difference between groups, but models that differ: 3 and 3 seeds, 10 runs each."""
    generator = np.random.default_rng(0)
    exact, usual = [], []
    for _ in range(150):
        pair = tuple(
            sample_of(
                simulate(generator, seeds=3, sizes=(512,), level_scatter=0.5, shape=3.0), "plain"
            )
            for _ in range(2)
        )
        exact.append(seed_permutation([pair])[0])
        usual.append(independent_logrank([pair]))
    # Five standard errors of a share of 0.1 among 150.
    assert np.mean(np.array(exact) <= 0.1 + 1e-9) < 0.1 + 5 * 0.0245
    assert np.mean(np.array(usual) <= 0.05) > 0.3
