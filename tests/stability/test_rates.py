"""Failures per atom and time: against closed forms, and coverage and power on simulated runs."""

import math

import numpy as np
import pytest
from scipy.stats import chi2

from nequip_legato.stability.records import CENSORED, FAILED, Record
from nequip_legato.stability.statistics.rates import (
    Exposure,
    exposures_of,
    group_rate,
    power_of,
    rate_ratio,
)


def run(group, seed, number, *, atoms=64, steps=1000, failed=True, criterion="closest_ratio"):
    """A run of steps of 1 fs."""
    return Record(
        run=f"{group}-{seed}/{atoms}/nvt-{number}",
        model=f"{group}-{seed}",
        group=group,
        training_seed=str(seed),
        atoms=atoms,
        velocity_seed=number,
        ensemble="nvt",
        temperature=600.0,
        timestep=1.0,
        step_limit=5000,
        outcome=FAILED if failed else CENSORED,
        steps=steps,
        criterion=criterion if failed else None,
        wall=1.0,
    )


def simulated(generator, group, levels, rate, *, first_seed=0, runs=8, limit=5000, scatter=0.0):
    """Exponential times at ``rate`` per 1,000 atom ps and training seed levels on the log scale."""
    records = []
    for seed, level in enumerate(levels, first_seed):
        own = rate * math.exp(level + generator.normal(0, scatter)) / 1000 * 64
        for number in range(runs):
            steps = int(1000 * generator.exponential(1 / own))
            failed = steps < limit
            records.append(
                run(group, seed, number, steps=steps if failed else limit, failed=failed)
            )
    return records


def test_exposure_is_atoms_times_time_of_failed_and_censored_runs():
    records = [
        run("plain", 1, 1, atoms=64, steps=2000),
        run("plain", 1, 2, atoms=256, steps=5000, failed=False),
        run("plain", 2, 1, atoms=64, steps=0),
    ]
    assert exposures_of(records) == [
        Exposure("plain", "1", 1, 64 * 2.0 + 256 * 5.0),
        Exposure("plain", "2", 1, 64 * 0.0005),  # half a step
    ]


def test_one_seed_has_poissons_interval():
    records = [run("plain", 1, n, steps=500) for n in range(3)]
    records += [run("plain", 1, 3, steps=1500, criterion="bonds")]
    rate = group_rate("plain", records)
    exposure = 64 * 3.0
    assert rate.rate.value == pytest.approx(1000 * 4 / exposure)
    # Garwood 1936: quantiles of chi squared
    assert rate.rate.low == pytest.approx(1000 * chi2.ppf(0.025, 8) / 2 / exposure)
    assert rate.rate.high == pytest.approx(1000 * chi2.ppf(0.975, 10) / 2 / exposure)
    assert rate.kinds == {"closest_ratio": 3, "bonds": 1}
    assert "one training seed" in rate.basis


def test_without_failure_there_is_an_upper_end_alone():
    records = [run("wall", s, n, steps=5000, failed=False) for s in (1, 2) for n in range(4)]
    rate = group_rate("wall", records)
    exposure = 64 * 5.0 * 8
    assert rate.rate.value == rate.rate.low == 0
    assert rate.rate.high == pytest.approx(1000 * -math.log(0.025) / exposure)
    failing = [run("plain", s, n, steps=1000) for s in (1, 2) for n in range(4)]
    ratio = rate_ratio("wall", "plain", records + failing)
    assert math.isinf(ratio.ratio.value)
    # 8 failures in a fifth of the exposure: were the ratio smaller, that would be rarer than 2.5 %
    share = ratio.ratio.low / (ratio.ratio.low + 5)
    assert share**8 == pytest.approx(0.025)
    assert rate_ratio("plain", "wall", records + failing).ratio is None


def test_rates_and_ratio_do_not_depend_on_how_runs_are_cut():
    """A run of 4 ps is worth as much as two of 2 ps, and 256 atoms as much as four times 64."""
    whole, cut = [], []
    for seed, steps in enumerate((1000, 3000, 2000)):
        for group, times in (("plain", 1), ("wall", 2)):
            whole.append(run(group, seed, 0, atoms=256, steps=times * steps))
            cut.append(run(group, seed, 0, atoms=64, steps=times * steps))
            cut += [
                run(group, seed, n, atoms=64, steps=times * steps, failed=False) for n in (1, 2, 3)
            ]
    for records in (whole, cut):
        assert rate_ratio("wall", "plain", records).ratio.value == pytest.approx(2.0)
    assert group_rate("wall", whole).rate.low == pytest.approx(group_rate("wall", cut).rate.low)


def test_levels_of_shared_seeds_drop_out_of_a_ratio():
    """Each seed's ratio is 3 whatever its level: the interval is that number."""
    records = []
    for seed, steps in enumerate((30, 300, 3000)):
        records += [run("plain", seed, n, steps=steps) for n in range(4)]
        records += [run("wall", seed, n, steps=3 * steps) for n in range(4)]
    found = rate_ratio("wall", "plain", records)
    assert "within 3 training seeds" in found.basis
    assert found.ratio.value == pytest.approx(3.0)
    assert found.ratio.low == pytest.approx(3.0, rel=1e-3)
    renamed = [r if r.group == "plain" else _other_seed(r) for r in records]
    apart = rate_ratio("wall", "plain", renamed)
    assert "3 against 3" in apart.basis
    assert apart.ratio.low < 1.0 < apart.ratio.high


def _other_seed(record):
    fields = vars(record) | {"training_seed": f"other {record.training_seed}"}
    return Record(**fields)


def test_one_seed_against_one_has_a_ratio_and_no_interval():
    records = [run("plain", 1, 1, steps=1000), run("wall", 2, 1, steps=4000)]
    found = rate_ratio("wall", "plain", records)
    assert found.ratio.value == pytest.approx(4.0)
    assert math.isnan(found.ratio.low)
    assert found.power is None


@pytest.mark.parametrize("paired", [True, False])
def test_intervals_cover_and_power_is_what_it_says(paired):
    """80 studies of ten seeds with a true ratio of 2; binomial error of a share of 0.95: 0.024."""
    generator = np.random.default_rng(4)
    covered = found = 0
    said = []
    for _ in range(80):
        levels = generator.normal(0, 0.7, 10)
        records = simulated(generator, "plain", levels, 10.0, scatter=0.4)
        others = levels if paired else generator.normal(0, 0.7, 10)
        first = 0 if paired else 10
        records += simulated(generator, "wall", others, 5.0, first_seed=first, scatter=0.4)
        result = rate_ratio("wall", "plain", records)
        covered += result.ratio.low <= 2.0 <= result.ratio.high
        found += result.ratio.low > 1.0
        said.append(
            power_of(result.ratio.error, degrees=9 if paired else 18, paired=paired, factor=2.0)
        )
    assert 0.87 <= covered / 80 <= 1.0
    assert found / 80 == pytest.approx(np.mean([p.probability for p in said]), abs=0.12)


def test_power_grows_with_seeds_and_names_how_many_it_takes():
    few = power_of(1.1, degrees=2, paired=True)
    many = power_of(1.1 * math.sqrt(3 / 36), degrees=35, paired=True)
    assert few.probability < 0.15 < 0.85 < many.probability
    # The same scatter, so the same number of seeds is needed.
    assert few.seeds == many.seeds
    assert (
        power_of(1.1 * math.sqrt(3 / few.seeds), degrees=few.seeds - 1, paired=True).probability
        >= 0.8
    )
    assert power_of(100.0, degrees=2, paired=True).seeds is None
