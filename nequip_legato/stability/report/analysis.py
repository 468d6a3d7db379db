"""Analysis of records: times to failure of each group and size, exponents, comparisons."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from statistics import median

import numpy as np

from nequip_legato.errors import LegatoError
from nequip_legato.stability.records import Record
from nequip_legato.stability.report.remarks import remarks
from nequip_legato.stability.statistics.bootstrap import has_interval, resample, widened, widening
from nequip_legato.stability.statistics.comparison import Comparison, Group, compare
from nequip_legato.stability.statistics.estimate import Estimate
from nequip_legato.stability.statistics.exponent import Exponent, difference, size_exponent
from nequip_legato.stability.statistics.rates import Rate, RateRatio, group_rate, rate_ratio
from nequip_legato.stability.statistics.survival import Curve, common_horizon, curve, sample_of

__all__ = ["Analysis", "Cell", "Protocol", "analyze", "protocol_of"]

Protocol = tuple[str, float, float]
"""Ensemble, temperature (K), time step (fs). Runs of different protocols are never mixed."""


@dataclass(frozen=True)
class Cell:
    """One group at one size.

    Attributes:
        group: the group.
        atoms: number of atoms N.
        runs: number of runs.
        failures: how many of them failed.
        seeds: number of training seeds.
        median: time that half of the runs survive, ps; infinite: longer than ``longest``.
        longest: longest simulated time of a run, ps.
        restricted_mean: mean time survived up to ``horizon``, ps.
        horizon: the same for all groups at this N, ps.
        criteria: criterion -> how often it ended a run.
        steps_per_second: median over runs.
        atom_steps_per_second: median over runs.
    """

    group: str
    atoms: int
    runs: int
    failures: int
    seeds: int
    median: Estimate
    longest: float
    restricted_mean: Estimate
    horizon: float
    criteria: dict[str, int]
    steps_per_second: float
    atom_steps_per_second: float


@dataclass(frozen=True)
class Analysis:
    """Everything about the runs of one protocol.

    Attributes:
        protocol: ensemble, temperature in K, time step in fs.
        records: the runs.
        groups: names, the reference first.
        sizes: N in ascending order.
        curves: group -> N -> its Kaplan-Meier curve.
        cells: each group at each size.
        exponents: each group's.
        differences: group -> its exponent minus the reference's, where both are known.
        comparisons: with the reference, at each N and over all.
        rates: each group's failures per atom and time.
        rate_ratios: the reference's rate over that of each other group.
        notes: what to know about the data as a whole.
    """

    protocol: Protocol
    records: list[Record]
    groups: list[str]
    sizes: list[int]
    curves: dict[str, dict[int, Curve]]
    cells: list[Cell]
    exponents: list[Exponent]
    differences: dict[str, Estimate]
    comparisons: list[Comparison]
    rates: list[Rate]
    rate_ratios: list[RateRatio]
    notes: list[str]


def protocol_of(record: Record) -> Protocol:
    """The protocol of a run."""
    return record.ensemble, record.temperature, record.timestep


def analyze(
    records: Sequence[Record], *, reference: str | None = None, draws: int = 1000, seed: int = 0
) -> list[Analysis]:
    """One analysis for each protocol among the records.

    Args:
        records: finished runs.
        reference: the group that others are compared with; default: ``plain`` if there is one,
            else the first.
        draws: bootstrap samples.
        seed: of the bootstrap.

    Raises:
        LegatoError: if there are no records, or no such group.
    """
    if not records:
        raise LegatoError("there are no finished runs yet; run the campaign first")
    groups = list(dict.fromkeys(record.group for record in records))
    if reference is not None and reference not in groups:
        raise LegatoError(f"there is no group '{reference}'; the groups are: {' '.join(groups)}")
    first = reference or ("plain" if "plain" in groups else groups[0])
    protocols: dict[Protocol, list[Record]] = {}
    for record in records:
        protocols.setdefault(protocol_of(record), []).append(record)
    return [_analyze(key, own, first, draws, seed) for key, own in protocols.items()]


def _analyze(
    protocol: Protocol, records: list[Record], reference: str, draws: int, seed: int
) -> Analysis:
    names = sorted({r.group for r in records}, key=lambda name: (name != reference, name))
    sizes = sorted({r.atoms for r in records})
    groups = _groups(records, names, sizes, draws, seed)
    horizons, cells = {}, []
    for atoms in sizes:
        here = {name: by_size[atoms] for name, by_size in groups.items() if atoms in by_size}
        horizons[atoms] = common_horizon([group.curve for group in here.values()])
        for name, group in here.items():
            own = [r for r in records if r.group == name and r.atoms == atoms]
            cells.append(_cell(own, group, horizons[atoms]))
    fits = {name: size_exponent(name, [r for r in records if r.group == name]) for name in names}
    differences = {}
    comparisons = []
    others = names[1:] if names[0] == reference else []
    for name in others:
        if fits[name].exponent and fits[reference].exponent:
            differences[name] = difference(fits[name], fits[reference])
        comparisons += compare(
            groups[name],
            groups[reference],
            names=(name, reference),
            horizons=horizons,
            exponents=(fits[name], fits[reference]),
            seed=seed,
        )
    return Analysis(
        protocol=protocol,
        records=records,
        groups=names,
        sizes=sizes,
        curves={name: {n: g.curve for n, g in own.items()} for name, own in groups.items()},
        cells=cells,
        exponents=list(fits.values()),
        differences=differences,
        comparisons=comparisons,
        rates=[group_rate(name, records) for name in names],
        rate_ratios=[rate_ratio(name, reference, records) for name in others],
        notes=remarks(records),
    )


def _groups(
    records: list[Record], names: list[str], sizes: list[int], draws: int, seed: int
) -> dict[str, dict[int, Group]]:
    """The runs of each group at each size, with their curves and bootstrap samples."""
    generator = np.random.default_rng(seed)
    groups: dict[str, dict[int, Group]] = {name: {} for name in names}
    for atoms, name in product(sizes, names):
        sample = sample_of(records, name, atoms)
        if len(sample.times):
            draw = resample(sample, draws=draws, generator=generator)
            groups[name][atoms] = Group(sample, curve(sample), draw)
    return groups


def _cell(own: list[Record], group: Group, horizon: float) -> Cell:
    found, draws = group.curve, group.resampled
    seeds = len(group.sample.labels)
    factor = widening(seeds)
    longest = float(group.sample.times.max())
    mean = widened(found.restricted_mean(horizon), draws.restricted_means(horizon), factor)
    middle = widened(found.median, draws.medians(), factor, beyond=longest)
    if middle.high > found.known_to:
        # Widened beyond the simulated times: all that is known is that there is no upper end.
        middle = replace(middle, error=math.inf, high=math.inf)
    # No restricted mean is longer than its horizon.
    mean = replace(mean, high=min(mean.high, horizon))
    if not has_interval(group.sample):
        middle, mean = middle.without_interval(), mean.without_interval()
    return Cell(
        group=own[0].group,
        atoms=own[0].atoms,
        runs=len(own),
        failures=int(group.sample.failed.sum()),
        seeds=seeds,
        median=middle,
        longest=longest,
        restricted_mean=mean,
        horizon=horizon,
        criteria=dict(Counter(r.criterion for r in own if r.criterion).most_common()),
        steps_per_second=_median([r.steps_per_second for r in own]),
        atom_steps_per_second=_median([r.atom_steps_per_second for r in own]),
    )


def _median(speeds: list[float]) -> float:
    """Median of the known speeds; NaN if none is known."""
    known = [speed for speed in speeds if not math.isnan(speed)]
    return median(known) if known else math.nan
