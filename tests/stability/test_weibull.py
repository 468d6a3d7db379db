"""The censored fits against lifelines and against their own symmetries."""

import numpy as np
import pytest
from lifelines import LogNormalAFTFitter, WeibullAFTFitter
from pandas import DataFrame
from synthetic import simulate

from nequip_legato.errors import LegatoError
from nequip_legato.stability.statistics import weibull
from nequip_legato.stability.statistics.goodness import (
    cox_snell,
    lognormal_log_likelihood,
    nelson_aalen,
)
from nequip_legato.stability.statistics.survival import sample_of


def _data(seed=0, **opts):
    """Times, failed, columns (a level for each of 3 seeds, log N), seeds."""
    settings = {"seeds": 3, "level_scatter": 0.4, "limit": lambda atoms: 250_000.0} | opts
    records = simulate(np.random.default_rng(seed), **settings)
    sample = sample_of(records, "plain")
    levels = [(sample.seeds == s).astype(float) for s in sample.labels]
    columns = np.column_stack([*levels, np.log([r.atoms for r in records])])
    return sample.times, sample.failed, columns, sample.seeds


def _lifelines(fitter, times, failed, columns):
    frame = DataFrame(columns, columns=[f"x{k}" for k in range(columns.shape[1])])
    frame["t"], frame["d"] = times, failed
    return fitter(fit_intercept=False).fit(frame, "t", "d")


@pytest.mark.parametrize("seed", range(2))
def test_fit_equals_that_of_lifelines(seed):
    times, failed, columns, _ = _data(seed, runs=6)
    assert 0 < failed.sum() < len(failed)
    found = weibull.fit(times, failed, columns, np.zeros(len(times)))
    other = _lifelines(WeibullAFTFitter, times, failed, columns)
    beta = [other.params_["lambda_", f"x{k}"] for k in range(columns.shape[1])]
    np.testing.assert_allclose(found.beta, beta, rtol=1e-4, atol=1e-4)
    assert 1 / found.sigma == pytest.approx(np.exp(other.params_["rho_", "Intercept"]), rel=1e-4)
    # lifelines' density is of t, ours of log t.
    of_log = other.log_likelihood_ + np.log(times[failed]).sum()
    assert found.log_likelihood == pytest.approx(of_log, rel=1e-6)
    error = other.standard_errors_["lambda_", f"x{columns.shape[1] - 1}"]
    assert found.coefficient(columns.shape[1] - 1).error == pytest.approx(error, rel=1e-3)


def test_lognormal_likelihood_equals_that_of_lifelines():
    times, failed, columns, _ = _data(runs=6)
    other = _lifelines(LogNormalAFTFitter, times, failed, columns)
    of_log = other.log_likelihood_ + np.log(times[failed]).sum()
    assert lognormal_log_likelihood(times, failed, columns) == pytest.approx(of_log, abs=1e-3)


def test_units_of_time_change_levels_alone():
    times, failed, columns, seeds = _data()
    one = weibull.fit(times, failed, columns, seeds)
    other = weibull.fit(times * 1000.0, failed, columns, seeds)
    np.testing.assert_allclose(other.beta[:3] - one.beta[:3], np.log(1000.0), rtol=1e-5)
    assert other.sigma == pytest.approx(one.sigma, rel=1e-5)
    slopes = one.coefficient(3), other.coefficient(3)
    assert slopes[0].value == pytest.approx(slopes[1].value, abs=1e-5)
    assert slopes[0].error == pytest.approx(slopes[1].error, rel=1e-4)


def test_more_runs_of_each_seed_do_not_make_seeds_more():
    """Copies of every run add no information: errors over training seeds stay as they are."""
    times, failed, columns, seeds = _data(slope_scatter=0.1)
    one = weibull.fit(times, failed, columns, seeds).coefficient(3)
    again = [np.concatenate([x] * 4) for x in (times, failed, columns, seeds)]
    copied = weibull.fit(*again).coefficient(3)
    assert copied.error == pytest.approx(one.error, rel=1e-4)
    naive = [
        weibull.fit(*data[:3], np.zeros(len(data[0]))).coefficient(3).error
        for data in ((times, failed, columns), again)
    ]
    assert naive[1] == pytest.approx(naive[0] / 2, rel=1e-4)


def test_censoring_is_not_failure():
    """Taking censored runs for failures shortens the lives of small systems, and the slope."""
    times, failed, columns, seeds = _data(runs=200)
    right = weibull.fit(times, failed, columns, seeds).coefficient(3).value
    wrong = weibull.fit(times, np.ones_like(failed), columns, seeds).coefficient(3).value
    assert abs(right + 0.29) < 0.03
    assert wrong > right + 0.03


def test_cox_snell_residuals_of_a_true_model_are_exponential():
    times, failed, columns, seeds = _data(runs=300)
    fit = weibull.fit(times, failed, columns, seeds)
    residuals, hazard = nelson_aalen(cox_snell(times, columns, fit), failed)
    middle = (hazard > 0.1) & (hazard < 1.5)
    assert np.abs(hazard[middle] / residuals[middle] - 1).max() < 0.15
    # Residuals sum to the number of failures at the maximum of the likelihood.
    assert cox_snell(times, columns, fit).sum() == pytest.approx(failed.sum(), rel=1e-3)


def test_too_few_failures_are_refused():
    times, _, columns, seeds = _data()
    failed = np.zeros(len(times), dtype=bool)
    failed[:4] = True
    with pytest.raises(LegatoError, match="too few"):
        weibull.fit(times, failed, columns, seeds)
