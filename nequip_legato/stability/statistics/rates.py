"""Failures per atom and time: rates of groups, their ratios, and the power of comparisons.

If failures are independent local events, their number is Poisson distributed with a mean
proportional to the number of atoms times the simulated time (the exposure), for any size of the
system; models of different training seeds have different rates. A rate uses every run in full,
including censored ones.
"""

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import statsmodels.api as sm
from scipy.optimize import brentq
from scipy.stats import chi2, nct
from scipy.stats import t as student
from statsmodels.genmod.generalized_linear_model import GLMResults
from statsmodels.tools.sm_exceptions import PerfectSeparationWarning

from nequip_legato.stability.records import Record
from nequip_legato.stability.statistics.estimate import Estimate

__all__ = [
    "FACTOR",
    "Exposure",
    "Power",
    "Rate",
    "RateRatio",
    "exposures_of",
    "group_rate",
    "power_of",
    "rate_ratio",
]

FACTOR = 3.0
"""Ratio of rates for which the power is given."""

UNIT = 1000.0  # rates are per 1,000 atom ps
_MOST_SEEDS = 1000
_LARGEST_SCATTER = 100.0
_LEVEL = 0.975


@dataclass(frozen=True)
class Exposure:
    """All runs of one training seed of one group.

    Attributes:
        group: the group.
        training_seed: the seed.
        failures: number of runs that failed.
        atom_ps: number of atoms times the time survived in ps, summed over runs.
    """

    group: str
    training_seed: str
    failures: int
    atom_ps: float


@dataclass(frozen=True)
class Rate:
    """Failures of a group per 1,000 atom ps.

    Attributes:
        group: the group.
        failures: number of all failures.
        atom_ps: number of atoms times time in ps, summed over all runs.
        seeds: number of training seeds.
        rate: with its interval.
        kinds: criterion -> number of failures at which it fired.
        basis: how the interval was made.
    """

    group: str
    failures: int
    atom_ps: float
    seeds: int
    rate: Estimate
    kinds: dict[str, int]
    basis: str


@dataclass(frozen=True)
class Power:
    """The statistical power of a comparison.

    Attributes:
        factor: assumed true ratio of rates.
        probability: probability of an interval that excludes 1, for this factor and these runs.
        seeds: training seeds per group (pairs, if paired) for a probability of 0.8; None if more
            than 1,000.
    """

    factor: float
    probability: float
    seeds: int | None


@dataclass(frozen=True)
class RateRatio:
    """Rate of the reference over that of a group: above 1, the group fails less often.

    Attributes:
        group: the group.
        reference: what it is compared with.
        ratio: reference over group, with its interval; None if it is not known.
        basis: how it was made, or why there is none.
        power: power of the comparison; None without an interval.
    """

    group: str
    reference: str
    ratio: Estimate | None
    basis: str
    power: Power | None


def exposures_of(records: Iterable[Record]) -> list[Exposure]:
    """Failures and exposure of each training seed of each group, in the order of the records.

    A run that failed at step 0 counts as half a step.
    """
    found: dict[tuple[str, str], tuple[int, float]] = {}
    for record in records:
        key = record.group, record.training_seed
        failures, atom_ps = found.get(key, (0, 0.0))
        time = max(record.time, 0.5 * record.timestep / 1000.0)
        found[key] = failures + record.failed, atom_ps + record.atoms * time
    return [Exposure(g, s, n, t) for (g, s), (n, t) in found.items()]


def group_rate(group: str, records: Sequence[Record]) -> Rate:
    """The rate of a group: all failures over all exposure.

    With several training seeds, their rates are gamma distributed about the group's: a negative
    binomial regression whose scatter is that which Pearson's statistic asks for (Breslow 1984,
    doi:10.2307/2347661), with Student's t (G - 1 degrees of freedom). The rate is then a mean over
    seeds, not over runs. With one seed, or with no failure, the interval is Poisson's own (Garwood
    1936, doi:10.2307/2333958), which describes these models but not their kind of training.

    Args:
        group: the group.
        records: all runs; those of other groups are ignored.
    """
    own = [record for record in records if record.group == group]
    exposures = exposures_of(own)
    failures = sum(e.failures for e in exposures)
    total = sum(e.atom_ps for e in exposures)
    kinds = dict(Counter(r.criterion for r in own if r.criterion).most_common())
    value = UNIT * failures / total
    if failures and len(exposures) > 1:
        log, error = _between_seeds(exposures, np.ones((len(exposures), 1)))
        rate = _exponential(log + math.log(UNIT), error, len(exposures) - 1)
        basis = f"over {len(exposures)} training seeds"
    else:
        low = chi2.ppf(1 - _LEVEL, 2 * failures) / 2 if failures else 0.0
        high = chi2.ppf(_LEVEL, 2 * failures + 2) / 2
        rate = Estimate(value, math.nan, UNIT * low / total, UNIT * high / total)
        few = "no failure" if len(exposures) > 1 else "one training seed"
        basis = f"{few}: Poisson's interval over runs"
    return Rate(group, failures, total, len(exposures), rate, kinds, basis)


def rate_ratio(group: str, reference: str, records: Sequence[Record]) -> RateRatio:
    """Rate of ``reference`` over rate of ``group``.

    If both groups have the same training seeds (the same initial weights and order of the data),
    each seed has its own level and the ratio is taken within seeds: a Poisson regression with
    fixed effects of seeds and errors clustered by seed (Cameron and Miller 2015,
    doi:10.3368/jhr.50.2.317). Otherwise the groups' mean rates are compared, see
    `nequip_legato.stability.statistics.rates.group_rate`.

    Args:
        group: the group.
        reference: what it is compared with.
        records: all runs.
    """
    chosen = [e for e in exposures_of(records) if e.group in (group, reference)]
    seeds = {
        name: sorted({e.training_seed for e in chosen if e.group == name})
        for name in (group, reference)
    }
    failures = {
        name: sum(e.failures for e in chosen if e.group == name) for name in (group, reference)
    }
    if failures[reference] == 0:
        basis = f"no failure of {reference}: no ratio"
        return RateRatio(group, reference, None, basis, None)
    if failures[group] == 0:
        basis = f"no failure of {group}: lower end for independent runs"
        return RateRatio(group, reference, _at_least(chosen, group, reference), basis, None)
    if seeds[group] == seeds[reference] and len(seeds[group]) > 1:
        # A seed without any failure has no information about the ratio.
        used = [s for s in seeds[group] if any(e.failures for e in _of_seed(chosen, s))]
        several = "seeds" if len(used) > 1 else "seed"
        basis = f"within {len(used)} training {several} that both groups have"
        degrees, paired = len(used) - 1, True
        fitted = _within_seeds([e for s in used for e in _of_seed(chosen, s)], reference)
    else:
        basis = f"{len(seeds[group])} against {len(seeds[reference])} training seeds"
        degrees, paired = len(chosen) - 2, False
        is_reference = [float(e.group == reference) for e in chosen]
        fitted = _between_seeds(chosen, np.column_stack([is_reference, np.ones(len(chosen))]))
    log, error = fitted
    if degrees < 1:
        alone = Estimate(math.exp(log), math.nan, math.nan, math.nan)
        return RateRatio(group, reference, alone, f"{basis}: no interval", None)
    power = power_of(error, degrees=degrees, paired=paired)
    return RateRatio(group, reference, _exponential(log, error, degrees), basis, power)


def power_of(
    error: float, *, degrees: int, paired: bool, factor: float = FACTOR, target: float = 0.8
) -> Power:
    """The probability of detecting a ratio of rates, and the training seeds needed for ``target``.

    Student's t test of the logarithm of the ratio. Its standard error is that of the present runs
    and falls with the square root of the number of seeds.

    Args:
        error: standard error of the logarithm of the ratio.
        degrees: degrees of freedom of that error.
        paired: whether both groups have the same seeds.
        factor: the true ratio.
        target: the probability to be reached.
    """
    estimated = 1 if paired else 2
    present = degrees + estimated

    def probability(units: int) -> float:
        freedom = units - estimated
        limit = student.ppf(_LEVEL, freedom)
        center = math.log(factor) / (error * math.sqrt(present / units))
        found = 1 - nct.cdf(limit, freedom, center)
        # Where the noncentral distribution cannot be computed, the probability is practically 1.
        return float(found) if math.isfinite(found) else 1.0

    step = 1 if paired else 2
    numbers = range(2 * step, step * _MOST_SEEDS + 1, step)
    seeds = next((n // step for n in numbers if probability(n) >= target), None)
    return Power(factor, probability(present), seeds)


def _of_seed(exposures: Sequence[Exposure], seed: str) -> list[Exposure]:
    return [e for e in exposures if e.training_seed == seed]


def _at_least(exposures: Sequence[Exposure], group: str, reference: str) -> Estimate:
    """Lower end of the ratio if only the reference failed, for independent runs."""
    totals = {g: sum(e.atom_ps for e in exposures if e.group == g) for g in (group, reference)}
    share = (1 - _LEVEL) ** (1 / sum(e.failures for e in exposures))
    low = share / (1 - share) * totals[group] / totals[reference]
    return Estimate(math.inf, math.nan, low, math.inf)


def _within_seeds(exposures: Sequence[Exposure], reference: str) -> tuple[float, float]:
    """Log of the ratio and its standard error, with a level for each seed."""
    labels = [e.training_seed for e in exposures]
    codes = {label: k for k, label in enumerate(dict.fromkeys(labels))}
    levels = [[float(label == own) for own in codes] for label in labels]
    is_reference = [float(e.group == reference) for e in exposures]
    count = len(codes)
    # statsmodels' own correction would count the levels of seeds as parameters.
    clusters = {"groups": np.array([codes[s] for s in labels]), "use_correction": False}
    fit = _fit(exposures, np.column_stack([is_reference, levels]), 0.0, clusters)
    correction = math.sqrt(count / (count - 1)) if count > 1 else math.nan
    return float(fit.params[0]), float(fit.bse[0]) * correction


def _between_seeds(exposures: Sequence[Exposure], design: np.ndarray) -> tuple[float, float]:
    """First coefficient on the log scale and its error, for rates that scatter between seeds."""
    degrees = len(exposures) - design.shape[1]

    def excess(scatter: float) -> float:
        return float(_fit(exposures, design, scatter).pearson_chi2) - degrees

    if degrees < 1 or excess(0.0) <= 0:
        scatter = 0.0  # not more than Poisson's
    elif excess(_LARGEST_SCATTER) >= 0:
        scatter = _LARGEST_SCATTER
    else:
        scatter = float(brentq(excess, 0.0, _LARGEST_SCATTER))
    fit = _fit(exposures, design, scatter)
    return float(fit.params[0]), float(fit.bse[0])


def _fit(
    exposures: Sequence[Exposure],
    design: np.ndarray,
    scatter: float,
    clusters: dict[str, object] | None = None,
) -> GLMResults:
    """Regression of failures; ``scatter``: variance over squared mean of the seeds' rates."""
    families = sm.families
    family = families.NegativeBinomial(alpha=scatter) if scatter else families.Poisson()
    model = sm.GLM(
        np.array([e.failures for e in exposures], dtype=float),
        design,
        family=family,
        offset=np.log([e.atom_ps for e in exposures]),
    )
    with warnings.catch_warnings():
        # A perfect fit is not a problem here.
        warnings.simplefilter("ignore", PerfectSeparationWarning)
        # Without degrees of freedom the scale is undefined; it is not used.
        warnings.filterwarnings("ignore", "divide by zero", RuntimeWarning)
        if clusters is None:
            return model.fit()
        return model.fit(cov_type="cluster", cov_kwds=clusters)


def _exponential(log: float, error: float, degrees: int) -> Estimate:
    half = float(student.ppf(_LEVEL, degrees)) * error
    return Estimate(math.exp(log), error, math.exp(log - half), math.exp(log + half))
