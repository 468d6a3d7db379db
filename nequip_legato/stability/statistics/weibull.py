"""Censored Weibull accelerated-failure-time fits.

The model (Kalbfleisch and Prentice, The Statistical Analysis of Failure Time Data, 2002, ch. 2.3;
``WeibullAFTFitter`` of lifelines is the same)::

    log t = x . beta + sigma W,    P(W > w) = exp(-exp(w))

so that at fixed x times are Weibull distributed with shape k = 1 / sigma. With x = log N, beta is
the size exponent: t ~ N^beta. Runs that reached their limit contribute the probability of surviving
it.

Runs of one training seed are not independent. Their common level is fitted (one intercept each),
and errors are taken over whole training seeds: the cluster-robust sandwich (Liang and Zeger 1986)
with the factor G / (G - 1) for G seeds, and Student's t with G - 1 degrees of freedom (Cameron and
Miller 2015, sec. VI.D, doi:10.3368/jhr.50.2.317).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import norm
from scipy.stats import t as student

from nequip_legato.errors import LegatoError
from nequip_legato.stability.statistics.estimate import Estimate

__all__ = ["Fit", "fit"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Fit:
    """A fitted model.

    Attributes:
        beta: (p,) coefficients of the columns.
        sigma: scale of the scatter of log t; 1 / shape.
        covariance: (p + 1, p + 1) of beta and log sigma, robust if ``clusters`` > 1.
        clusters: number of independent training seeds.
        log_likelihood: of log t at the maximum.
    """

    beta: Array
    sigma: float
    covariance: Array
    clusters: int
    log_likelihood: float

    def combination(self, weights: Array, *, level: float = 0.95) -> Estimate:
        """Estimate of weights . (beta, log sigma).

        Args:
            weights: (p + 1,).
            level: confidence level of the interval.
        """
        values = np.append(self.beta, np.log(self.sigma))
        value = float(weights @ values)
        error = float(np.sqrt(max(float(weights @ self.covariance @ weights), 0.0)))
        half = self._quantile(level) * error
        return Estimate(value, error, value - half, value + half)

    def coefficient(self, column: int, *, level: float = 0.95) -> Estimate:
        """Estimate of one coefficient."""
        weights = np.zeros(len(self.beta) + 1)
        weights[column] = 1.0
        return self.combination(weights, level=level)

    def _quantile(self, level: float) -> float:
        upper = 0.5 + level / 2
        if self.clusters > 1:
            return float(student.ppf(upper, self.clusters - 1))
        return float(norm.ppf(upper))


def fit(times: Array, failed: NDArray[np.bool_], columns: Array, clusters: NDArray) -> Fit:
    """Fit by maximum likelihood.

    Args:
        times: (n,) times of failure or censoring, positive.
        failed: (n,) whether it is a failure.
        columns: (n, p) covariates, with a column of ones (or one per cluster) for the level.
        clusters: (n,) labels of the independent clusters (training seeds); with a single label,
            errors are those of independent runs.

    Raises:
        LegatoError: if there are fewer failures than unknowns, or the fit does not converge.
    """
    n, p = columns.shape
    if failed.sum() < p + 1:
        raise LegatoError(
            f"{int(failed.sum())} failures are too few for a fit with {p + 1} unknowns; add runs "
            "or raise the step limit"
        )
    y = np.log(times)
    d = failed.astype(float)

    def negative(theta: Array) -> tuple[float, Array]:
        score = _scores(theta, y, d, columns)
        z = (y - columns @ theta[:p]) / np.exp(theta[p])
        value = np.sum(d * (z - theta[p]) - np.exp(np.minimum(z, 300.0)))
        return -float(value), -score.sum(axis=0)

    # Start at the least-squares fit of log t with sigma = 1.
    start = np.zeros(p + 1)
    start[:p] = np.linalg.lstsq(columns, y, rcond=None)[0]
    found = minimize(
        negative,
        start,
        jac=True,
        hess=lambda theta: _information(theta, y, d, columns),
        method="trust-exact",
        options={"maxiter": 300, "gtol": 1e-6 * n},
    )
    theta = found.x
    if not np.all(np.isfinite(theta)) or np.abs(found.jac).max() > 1e-4 * n:
        raise LegatoError(f"the Weibull fit does not converge ({found.message})")
    bread = np.linalg.pinv(_information(theta, y, d, columns))
    labels = np.unique(clusters)
    covariance: Any = bread
    if len(labels) > 1:
        score = _scores(theta, y, d, columns)
        sums = np.array([score[clusters == label].sum(axis=0) for label in labels])
        g = len(labels)
        covariance = bread @ (sums.T @ sums) @ bread * g / (g - 1)
    covariance = np.asarray(covariance, dtype=np.float64)
    return Fit(theta[:p], float(np.exp(theta[p])), covariance, len(labels), -float(found.fun))


def _scores(theta: Array, y: Array, d: Array, columns: Array) -> Array:
    """(n, p + 1) derivatives of each run's log-likelihood by beta and log sigma."""
    p = columns.shape[1]
    sigma = np.exp(theta[p])
    z = (y - columns @ theta[:p]) / sigma
    excess = np.exp(np.minimum(z, 300.0)) - d
    by_beta = columns * (excess / sigma)[:, None]
    by_log_sigma = z * excess - d
    return np.column_stack([by_beta, by_log_sigma])


def _information(theta: Array, y: Array, d: Array, columns: Array) -> Array:
    """(p + 1, p + 1) negative Hessian of the log-likelihood."""
    p = columns.shape[1]
    sigma = np.exp(theta[p])
    z = (y - columns @ theta[:p]) / sigma
    e = np.exp(np.minimum(z, 300.0))
    information = np.empty((p + 1, p + 1))
    information[:p, :p] = columns.T @ (columns * (e / sigma**2)[:, None])
    cross = columns.T @ ((z * e + e - d) / sigma)
    information[:p, p] = information[p, :p] = cross
    information[p, p] = np.sum(z * (e - d) + z**2 * e)
    return information
