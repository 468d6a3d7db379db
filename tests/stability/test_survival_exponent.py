"""The size exponent: recovered as often as it says, refused where there is too little."""

import numpy as np
import pytest
from scipy.stats import binom
from synthetic import simulate

from nequip_legato.errors import LegatoError
from nequip_legato.stability.statistics import weibull
from nequip_legato.stability.statistics.exponent import difference, size_exponent
from nequip_legato.stability.statistics.survival import sample_of

REPEATS = 200


def _least(share):
    """Hits that so many repeats fall short of once in a thousand."""
    return binom.ppf(1e-3, REPEATS, share)


@pytest.mark.parametrize(
    ("seeds", "scatter", "limit"),
    [
        (3, {}, 1e9),
        (3, {"level_scatter": 0.4, "slope_scatter": 0.08}, 450_000.0),
        (5, {"level_scatter": 0.4}, 250_000.0),
    ],
    ids=["alike", "scattered-censored", "levels-censored"],
)
def test_interval_holds_the_exponent_as_often_as_it_says(seeds, scatter, limit):
    generator = np.random.default_rng(seeds)
    truth = -0.29
    hits = agrees = 0
    for _ in range(REPEATS):
        records = simulate(
            generator, exponent=truth, seeds=seeds, runs=8, limit=lambda _: limit, **scatter
        )
        found = size_exponent("plain", records)
        assert found.exponent is not None
        hits += found.exponent.low <= truth <= found.exponent.high
        agrees += found.excess.low <= 0.0 <= found.excess.high
    assert hits >= _least(0.94)
    # The weakest link: exponent + sigma = 0 on average.
    assert agrees >= _least(0.92)


def test_independent_errors_would_be_too_small():
    """What the choice of construction is for: slopes that differ between training seeds."""
    generator = np.random.default_rng(1)
    hits = 0
    for _ in range(REPEATS):
        records = simulate(generator, seeds=4, runs=10, slope_scatter=0.12, shape=3.0)
        sample = sample_of(records, "plain")
        levels = [(sample.seeds == s).astype(float) for s in sample.labels]
        columns = np.column_stack([*levels, np.log([r.atoms for r in records])])
        fit = weibull.fit(sample.times, sample.failed, columns, np.zeros(len(records)))
        found = fit.coefficient(4)
        hits += found.low <= -0.29 <= found.high
    assert hits < 0.75 * REPEATS


def test_difference_of_exponents_is_covered():
    generator = np.random.default_rng(2)
    hits = 0
    for _ in range(REPEATS // 2):
        pair = [
            size_exponent(
                "plain",
                simulate(generator, exponent=b, seeds=3, runs=6, slope_scatter=0.05, shape=2.0),
            )
            for b in (-0.29, -0.14)
        ]
        found = difference(*pair)
        hits += found.low <= -0.15 <= found.high
    assert hits >= binom.ppf(1e-3, REPEATS // 2, 0.94)


def test_step_limits_that_depend_on_size_do_not_bias():
    records = simulate(
        np.random.default_rng(3),
        runs=400,
        sizes=(64, 512, 4096),
        limit=lambda atoms: {64: 200_000, 512: 150_000, 4096: 300_000}[atoms],
    )
    found = size_exponent("plain", records)
    assert found.slope == pytest.approx(-0.29, abs=0.03)


def test_scatter_that_disagrees_with_the_slope_is_told():
    generator = np.random.default_rng(4)
    wide = size_exponent("plain", simulate(generator, exponent=-0.14, shape=1.2, runs=60))
    assert "more slowly" in wide.verdict
    tight = size_exponent("plain", simulate(generator, exponent=-0.5, shape=8.0, runs=60))
    assert "faster" in tight.verdict
    link = size_exponent("plain", simulate(generator, exponent=-0.29, runs=60))
    assert "agrees" in link.verdict


def test_weibull_times_are_told_from_lognormal_ones():
    generator = np.random.default_rng(5)
    weibull_times = simulate(generator, runs=200)
    assert "Weibull times fit better" in size_exponent("plain", weibull_times).rival
    from dataclasses import replace

    lognormal = [
        replace(r, steps=int(1e5 * (r.atoms / 512) ** -0.29 * np.exp(0.5 * generator.normal())))
        for r in weibull_times
    ]
    assert "lognormal times fit better" in size_exponent("plain", lognormal).rival


@pytest.mark.parametrize(
    ("opts", "words"),
    [
        ({"sizes": (64, 4096)}, "3 or more sizes"),
        ({"sizes": (64, 128, 250)}, "a factor of 4"),
        ({"limit": lambda atoms: 1.0}, "failures at: none"),
        ({"seeds": 1, "runs": 2}, "too few"),
    ],
)
def test_too_little_gives_a_reason_and_no_exponent(opts, words):
    found = size_exponent("plain", simulate(np.random.default_rng(6), **opts))
    assert found.exponent is None
    assert found.problem.startswith("no exponent")
    assert words in found.problem
    with pytest.raises(LegatoError, match="both exponents"):
        difference(found, found)


def test_one_training_seed_is_said():
    found = size_exponent("plain", simulate(np.random.default_rng(7), seeds=1))
    assert found.degrees == 0
    assert "velocity seeds" in found.basis
    assert any("does not cover other trainings" in note for note in found.notes)


def test_seeds_that_never_failed_are_named():
    from dataclasses import replace

    records = [
        replace(r, outcome="censored", criterion=None) if r.training_seed == "2" else r
        for r in simulate(np.random.default_rng(8))
    ]
    found = size_exponent("plain", records)
    assert found.never_failed == ["2"]
    assert found.degrees == 2
    assert any("never failed" in note for note in found.notes)
