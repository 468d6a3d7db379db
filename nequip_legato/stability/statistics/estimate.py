"""A number with its interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import t as student

__all__ = ["Estimate", "welch"]


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval.

    Attributes:
        value: the estimate; infinite if it lies beyond what was observed.
        error: standard error.
        low: lower end of the interval; NaN if there is none.
        high: upper end.
    """

    value: float
    error: float
    low: float
    high: float

    def without_interval(self) -> "Estimate":
        """The value alone."""
        return Estimate(self.value, math.nan, math.nan, math.nan)


def welch(value: float, *, errors: Sequence[float], degrees: Sequence[float]) -> Estimate:
    """A difference of two independent estimates with Welch's 95 % interval.

    Welch 1947 (doi:10.1093/biomet/34.1-2.28), with Satterthwaite's degrees of freedom.

    Args:
        value: the difference.
        errors: standard error of each estimate.
        degrees: degrees of freedom of each; infinite for a normal distribution.
    """
    variances = [error**2 for error in errors]
    error = math.sqrt(sum(variances))
    parts = sum(v**2 / d for v, d in zip(variances, degrees, strict=True))
    freedom = sum(variances) ** 2 / parts if parts > 0 else math.inf
    half = float(student.ppf(0.975, freedom)) * error
    return Estimate(value, error, value - half, value + half)
