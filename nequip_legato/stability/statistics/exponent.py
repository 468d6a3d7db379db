"""How the time to failure depends on the number of atoms: t ~ N^exponent."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nequip_legato.errors import LegatoError
from nequip_legato.stability.records import Record
from nequip_legato.stability.statistics import weibull
from nequip_legato.stability.statistics.estimate import Estimate, welch
from nequip_legato.stability.statistics.goodness import (
    cox_snell,
    lognormal_log_likelihood,
    nelson_aalen,
)
from nequip_legato.stability.statistics.survival import Array, sample_of
from nequip_legato.stability.statistics.weibull import Fit

__all__ = ["Exponent", "difference", "size_exponent"]

MIN_SIZES = 3
MIN_SPAN = 4.0
MIN_FAILURES = 8


@dataclass(frozen=True)
class Exponent:
    """How the time to failure of a group depends on N: t ~ N^exponent.

    Attributes:
        group: the group.
        problem: why there is no exponent; empty if there is one.
        exponent: with its interval.
        basis: what the exponent is based on, in words.
        shape: Weibull shape at fixed N within a training seed, 1 / sigma.
        median_levels: log of the Weibull median of t (ps) at N = 1, of each training seed.
        middle: geometric mean of the N of all runs in the fit.
        excess: exponent + sigma: 0 if the N atoms are independent chances to fail.
        verdict: meaning of ``excess``, in words.
        degrees: degrees of freedom of the intervals; 0: over velocity seeds only.
        aic_lognormal: Akaike's criterion of a lognormal fit minus that of the Weibull fit; positive
            if Weibull fits better. None if that fit fails.
        rival: meaning of ``aic_lognormal``, in words.
        never_failed: training seeds that are left out because none of their runs failed.
        notes: further remarks.
        residuals: Cox-Snell residuals of failures in ascending order.
        hazard: their Nelson-Aalen cumulative hazard; equal to ``residuals`` if the model holds.
    """

    group: str
    problem: str = ""
    exponent: Estimate | None = None
    basis: str = ""
    shape: float = math.nan
    median_levels: list[float] = field(default_factory=list)
    middle: float = math.nan
    excess: Estimate | None = None
    verdict: str = ""
    degrees: int = 0
    aic_lognormal: float | None = None
    rival: str = ""
    never_failed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    residuals: Array = field(default_factory=lambda: np.empty(0))
    hazard: Array = field(default_factory=lambda: np.empty(0))

    @property
    def slope(self) -> float:
        """The exponent; NaN if there is none."""
        return self.exponent.value if self.exponent else math.nan

    @property
    def level(self) -> float:
        """Mean of ``median_levels``."""
        return float(np.mean(self.median_levels)) if self.median_levels else math.nan


def size_exponent(group: str, records: Sequence[Record]) -> Exponent:
    """The exponent of one group, or why there is none.

    Args:
        group: its name.
        records: its runs.
    """
    sample = sample_of(records, group)
    atoms = np.array([r.atoms for r in records if r.group == group], dtype=float)
    alive = [s for s in sample.labels if not sample.failed[sample.seeds == s].any()]
    used = [s for s in sample.labels if s not in alive]
    problem = _too_little(atoms[sample.failed], len(used) + 3)
    if problem:
        return Exponent(group, problem=problem, never_failed=alive)
    keep = np.isin(sample.seeds, used)
    atoms, seeds = atoms[keep], sample.seeds[keep]
    times, failed = sample.times[keep], sample.failed[keep]
    columns = np.column_stack([*((seeds == s).astype(float) for s in used), np.log(atoms)])
    try:
        fit = weibull.fit(times, failed, columns, seeds)
    except LegatoError as cause:
        return Exponent(group, problem=str(cause), never_failed=alive)
    slope = len(used)
    rival = lognormal_log_likelihood(times, failed, columns)
    # Both models have the same number of unknowns.
    aic = None if rival is None else 2.0 * (fit.log_likelihood - rival)
    residuals, hazard = nelson_aalen(cox_snell(times, columns, fit), failed)
    excess = _excess(fit, slope)
    return Exponent(
        group,
        exponent=fit.coefficient(slope),
        basis=_basis(atoms, failed, used),
        shape=1.0 / fit.sigma,
        # The median of W is log log 2.
        median_levels=(fit.beta[:slope] + fit.sigma * math.log(math.log(2.0))).tolist(),
        middle=math.exp(float(np.mean(np.log(atoms)))),
        excess=excess,
        verdict=_verdict(excess),
        degrees=fit.clusters - 1,
        aic_lognormal=aic,
        rival=_rival(aic),
        never_failed=alive,
        notes=_notes(atoms, failed, used, alive),
        residuals=residuals,
        hazard=hazard,
    )


def _too_little(failures: Array, unknowns: int) -> str:
    """Why ``failures`` (the N of each failed run) give no exponent; empty if they do."""
    sizes = sorted({int(n) for n in failures})
    if len(sizes) < MIN_SIZES or max(sizes) < MIN_SPAN * min(sizes):
        found = ", ".join(map(str, sizes)) or "none"
        return (
            f"no exponent: it needs failures at {MIN_SIZES} or more sizes that span a factor of "
            f"{MIN_SPAN:g}; there are failures at: {found}"
        )
    needed = max(MIN_FAILURES, unknowns)
    if len(failures) < needed:
        return f"no exponent: {len(failures)} failures are too few, {needed} are needed"
    return ""


def _basis(atoms: Array, failed: NDArray[np.bool_], used: Sequence[str]) -> str:
    sizes = sorted({int(n) for n in atoms})
    over = f"Student's t over {len(used)} training seeds"
    if len(used) == 1:
        over = "interval over velocity seeds of one training seed only"
    return (
        f"{int(failed.sum())} failures in {len(failed)} runs at {len(sizes)} sizes "
        f"({sizes[0]:,} to {sizes[-1]:,} atoms); {over}"
    )


def _notes(
    atoms: Array, failed: NDArray[np.bool_], used: Sequence[str], alive: Sequence[str]
) -> list[str]:
    notes = []
    if len(used) == 1:
        notes.append(
            "one training seed: the interval is over its velocity seeds only, and does not cover "
            "other trainings of the same kind"
        )
    elif len(used) == 2:
        notes.append("two training seeds: intervals are very wide; train more models")
    if alive:
        notes.append(
            f"training seeds that never failed are left out, because their level is unknown: "
            f"{', '.join(alive)}; the exponent is that of the others"
        )
    without = [int(n) for n in sorted(set(atoms)) if not failed[atoms == n].any()]
    if without:
        notes.append(
            f"no run failed at {', '.join(map(str, without))} atoms: there the fit rests on the "
            "Weibull shape"
        )
    if failed.mean() < 0.3:
        notes.append(
            f"{100 * (1 - failed.mean()):.0f} % of the runs are censored: the exponent depends on "
            "the Weibull shape; longer runs would make it more reliable"
        )
    return notes


def _excess(fit: Fit, slope: int) -> Estimate:
    """Exponent + sigma, by linearization: d sigma = sigma d log sigma."""
    weights = np.zeros(len(fit.beta) + 1)
    weights[slope], weights[-1] = 1.0, fit.sigma
    linear = fit.combination(weights)
    value = float(fit.beta[slope]) + fit.sigma
    shift = value - linear.value
    return Estimate(value, linear.error, linear.low + shift, linear.high + shift)


def _verdict(excess: Estimate) -> str:
    if excess.low <= 0.0 <= excess.high:
        return (
            "agrees with N independent chances to fail: the scatter at fixed N predicts the slope"
        )
    if excess.value > 0:
        return (
            "times fall more slowly with N than their scatter at fixed N predicts: failures are "
            "not N independent chances to fail"
        )
    return (
        "times fall faster with N than their scatter at fixed N predicts: larger systems have more "
        "than more chances, or runs at one N are alike"
    )


def _rival(aic: float | None) -> str:
    if aic is None:
        return "the lognormal fit failed"
    # Differences below 2 are no evidence (Burnham and Anderson 2002, sec. 2.6).
    if abs(aic) < 2.0:
        return "Weibull and lognormal times fit equally well"
    if aic > 0:
        return "Weibull times fit better than lognormal ones"
    return "lognormal times fit better than Weibull ones: mistrust the check of scatter and slope"


def difference(one: Exponent, other: Exponent) -> Estimate:
    """One exponent minus another, with Welch's interval.

    Raises:
        LegatoError: if one of them has none.
    """
    first, second = one.exponent, other.exponent
    if first is None or second is None:
        raise LegatoError("both exponents must be known for their difference")
    return welch(
        first.value - second.value,
        errors=[first.error, second.error],
        # Errors over velocity seeds only come from many runs: normal distribution.
        degrees=[one.degrees or math.inf, other.degrees or math.inf],
    )
