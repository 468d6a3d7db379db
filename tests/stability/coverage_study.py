"""Measure how often the report's intervals hold the truth: python coverage_study.py [REPEATS].

Beyond the tables in docs/stability_report.md, over the whole report at once. Two groups
of a true exponent of -0.29 and -0.14, Weibull shape 2, 8 velocity seeds at 64, 512 and 4,096
atoms, step limit 400 ps.
"""

import sys
from collections import Counter

import numpy as np
from synthetic import simulate

from nequip_legato.stability.records import Record
from nequip_legato.stability.report.analysis import analyze
from nequip_legato.stability.statistics.bootstrap import resample
from nequip_legato.stability.statistics.survival import curve, sample_of

LIMIT = 400.0
SETTINGS = {"shape": 2.0, "limit": lambda _: LIMIT * 1000}
GROUPS = {
    "plain": {"group": "plain", "exponent": -0.29, "scale": 150.0},
    "sam": {"group": "sam", "exponent": -0.14, "scale": 250.0},
}


def truth(scatter: dict[str, float]) -> dict[str, float]:
    """Values in a large population of training seeds."""
    generator = np.random.default_rng(0)
    found = {"exponent": -0.29, "difference": 0.15}
    means, logs = [], []
    for opts in GROUPS.values():
        runs = simulate(generator, seeds=3000, runs=4, sizes=(512,), **SETTINGS, **scatter, **opts)
        # `sizes` centers the level: at 512 atoms, the middle of the three sizes, it is the same.
        population = curve(sample_of(runs, opts["group"]))
        means.append(population.restricted_mean(LIMIT))
        found.setdefault("median", population.median)
        found.setdefault("mean", means[0])
        many = simulate(generator, seeds=200, runs=200, **SETTINGS, **scatter, **opts)
        logs.append(np.mean(_seed_logs(many)))
    found["ratio"] = means[1] / means[0]
    found["overall"] = float(np.exp(logs[1] - logs[0]))
    found["weibull"] = 250.0 / 150.0
    return found


def _seed_logs(records: list[Record]) -> list[float]:
    times: dict[tuple[str, int], list[float]] = {}
    for r in records:
        times.setdefault((r.training_seed, r.atoms), []).append(min(r.time, LIMIT))
    return [float(np.log(np.mean(own))) for own in times.values()]


def measure(seeds: int, scatter: dict[str, float], repeats: int) -> dict[str, float]:
    """Shares of intervals that hold the truth."""
    true = truth(scatter)
    hits, counts = Counter(), Counter()

    def note(name, estimate, what):
        if estimate is not None:
            counts[name] += 1
            hits[name] += estimate.low <= true[what] <= estimate.high

    generator = np.random.default_rng(seeds)
    for _ in range(repeats):
        records = [
            r
            for opts in GROUPS.values()
            for r in simulate(generator, seeds=seeds, runs=8, **SETTINGS, **scatter, **opts)
        ]
        (found,) = analyze(records, draws=200)
        note("exponent", found.exponents[0].exponent, "exponent")
        note("difference", found.differences.get("sam"), "difference")
        cell = next(c for c in found.cells if (c.group, c.atoms) == ("plain", 512))
        note("median", cell.median, "median")
        note("mean", cell.restricted_mean, "mean")
        at = [c for c in found.comparisons if c.atoms in (512, None)]
        for name, comparison in zip(("ratio", "overall", "weibull"), at, strict=True):
            note(name, comparison.ratio, name)
        # What plain percentiles would give.
        draws = resample(sample_of(records, "plain", 512), draws=200, generator=generator)
        low, high = np.quantile(draws.restricted_means(LIMIT), [0.025, 0.975])
        counts["percentile mean"] += 1
        hits["percentile mean"] += low <= true["mean"] <= high
    return {name: round(hits[name] / counts[name], 3) for name in counts}


if __name__ == "__main__":
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    for seeds in (3, 5):
        for scatter in ({}, {"level_scatter": 0.4, "slope_scatter": 0.08}):
            print(seeds, scatter, measure(seeds, scatter, repeats), flush=True)
