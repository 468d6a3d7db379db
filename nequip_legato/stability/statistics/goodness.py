"""Goodness of the Weibull fit: a lognormal fit for comparison, and Cox-Snell residuals."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_ndtr

from nequip_legato.stability.statistics.survival import Array
from nequip_legato.stability.statistics.weibull import Fit

__all__ = ["cox_snell", "lognormal_log_likelihood", "nelson_aalen"]


def cox_snell(times: Array, columns: Array, fit: Fit) -> Array:
    """(n,) Cox-Snell residuals: the fitted cumulative hazard at each run's time.

    If the model holds they are censored draws of a unit exponential distribution, whose cumulative
    hazard is a straight line of slope one (Cox and Snell 1968).

    Args:
        times: (n,).
        columns: (n, p) of the fit.
        fit: the fit.
    """
    return np.exp((np.log(times) - columns @ fit.beta) / fit.sigma)


def nelson_aalen(residuals: Array, failed: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Residuals of failures in ascending order, and the cumulative hazard up to each of them.

    Args:
        residuals: (n,).
        failed: (n,) False for censored runs.
    """
    order = np.argsort(residuals, kind="stable")
    fails = failed[order]
    at_risk = len(residuals) - np.arange(len(residuals))
    return residuals[order][fails], np.cumsum(fails / at_risk)[fails]


def lognormal_log_likelihood(
    times: Array, failed: NDArray[np.bool_], columns: Array
) -> float | None:
    """Largest log-likelihood (of log t) of the lognormal model with the same columns.

    Args:
        times: (n,) positive.
        failed: (n,).
        columns: (n, p).

    Returns:
        None if the fit does not converge.
    """
    y = np.log(times)
    p = columns.shape[1]

    def negative(theta: Array) -> tuple[float, Array]:
        sigma = np.exp(theta[p])
        z = (y - columns @ theta[:p]) / sigma
        density = -0.5 * (z**2 + np.log(2.0 * np.pi))
        alive = log_ndtr(-z)
        value = np.where(failed, density - theta[p], alive)
        mills = np.exp(density - alive)
        by_z = np.where(failed, -z, -mills)
        by_log_sigma = np.sum(-z * by_z - failed)
        return -float(value.sum()), np.append(columns.T @ by_z / sigma, -by_log_sigma)

    beta, *_ = np.linalg.lstsq(columns, y, rcond=None)
    start = np.append(beta, np.log(max(float(np.std(y - columns @ beta)), 1e-3)))
    found = minimize(negative, start, jac=True, method="L-BFGS-B", options={"maxiter": 2000})
    if not np.isfinite(found.fun) or np.abs(found.jac).max() > 1e-3 * len(y):
        return None
    return -float(found.fun)
