"""Tables of variants that were to make SAM help: pairs of variants that differ in one setting."""

import math
from collections.abc import Sequence
from statistics import mean
from typing import Any

import numpy as np
from scipy.stats import chi2
from scipy.stats import t as student

from nequip_legato.stability.records import Record

__all__ = ["against_best_table", "criterion_table", "pairs_table", "variants_table"]


def variants_table(
    records: Sequence[Record], rows: Sequence[dict[str, Any]], sharpness: dict[str, dict[str, Any]]
) -> str:
    """Markdown: cost, error, sharpness, and failures at each size of every variant.

    Args:
        records: finished runs.
        rows: from `collect.errors`.
        sharpness: model -> measures, as in ``sharpness.json``.
    """
    sizes = sorted({record.atoms for record in records})
    failures = " | ".join(f"failed of runs, time per failure (ps), {n:,} atoms" for n in sizes)
    lines = [f"| variant | gradients | force RMSE (meV/Å) | Gaussian sharpness | {failures} |"]
    lines.append("| --- | ---: | ---: | ---: |" + " ---: |" * len(sizes))
    for variant in dict.fromkeys(row["variant"] for row in rows):
        chosen = [row for row in rows if row["variant"] == variant]
        rmse = ", ".join(f"{row['force_rmse_meV_A']:.0f}" for row in chosen)
        sharp = ", ".join(_sharpness(sharpness.get(row["model"])) for row in chosen)
        cells = [f"{chosen[0]['gradient_evaluations']:,}", rmse, sharp]
        for atoms in sizes:
            own = [r for r in records if r.group == variant and r.atoms == atoms]
            failed = sum(r.failed for r in own)
            cells.append(f"{failed} of {len(own)}, {_shown_time(own)}")
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _sharpness(found: dict[str, Any] | None) -> str:
    return "-" if found is None else f"{found['gaussian']['total']['mean']:.3g}"


def pairs_table(
    records: Sequence[Record], rows: Sequence[dict[str, Any]], pairs: Sequence[Sequence[str]]
) -> str:
    """Markdown: ratio of the time per failure of two variants, training seed by training seed.

    The interval is Student's t of the logarithms of the seeds' ratios, each the mean over sizes.

    Args:
        records: finished runs.
        rows: from `collect.errors`.
        pairs: a variant and what it is compared with.
    """
    seeds = sorted({row["seed"] for row in rows})
    there = {(record.group, record.training_seed) for record in records}
    lines = [
        f"| variant | against | {' | '.join(f'seed {s}' for s in seeds)} | mean [95 %] |",
        "| --- | --- |" + " ---: |" * (len(seeds) + 1),
    ]
    for variant, reference in pairs:
        logs = {
            seed: _log_ratio(records, variant, reference, str(seed))
            for seed in seeds
            if {(variant, str(seed)), (reference, str(seed))} <= there
        }
        if logs:
            shown = [f"{math.exp(logs[seed]):.2f}" if seed in logs else "-" for seed in seeds]
            middle = _interval(list(logs.values()))
            lines.append(f"| {variant} | {reference} | {' | '.join(shown)} | {middle} |")
    return "\n".join(lines) + "\n"


def against_best_table(records: Sequence[Record], rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: every variant against the most stable one, in order of cost.

    The best has the largest time per failure, geometric mean over training seeds and sizes. There
    are two 95 % intervals: for the ratio to the best, that of `pairs_table` over training seeds;
    for the best itself, at each size, that of an exponential distribution over all of its runs,
    which is too narrow because runs of one model are alike. A variant is marked as within if none
    of its times is below the latter interval.

    Args:
        records: finished runs.
        rows: from `collect.errors`.
    """
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    seeds = sorted({row["seed"] for row in rows})
    sizes = sorted({record.atoms for record in records})
    life = {
        v: mean(_log_time(records, v, str(s), n) for s in seeds for n in sizes) for v in variants
    }
    best = max(variants, key=life.__getitem__)
    cost = {row["variant"]: row["gradient_evaluations"] for row in rows}
    heads = [f"variant | cost | against {best}", *(f"ps per failure, {n:,} atoms" for n in sizes)]
    lines = [
        f"| {' | '.join(heads)} | within |",
        "| --- |" + " ---: |" * (2 + len(sizes)) + " --- |",
    ]
    for variant in sorted(variants, key=lambda v: (cost[v], -life[v])):
        logs = [_log_ratio(records, variant, best, str(seed)) for seed in seeds]
        cells = [f"{cost[variant] / min(cost.values()):.2f}"]
        cells.append("1" if variant == best else _interval(logs))
        within = True
        for atoms in sizes:
            own, its = (
                [r for r in records if (r.group, r.atoms) == (v, atoms)] for v in (variant, best)
            )
            low, high = _exponential_limits(its)
            cells.append(_shown_time(own) + (f" [{low:.2f}, {high:.2f}]" * (variant == best)))
            within &= _time_per_failure(own) >= low
        cells.append("yes" if within else "no")
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _exponential_limits(records: Sequence[Record]) -> tuple[float, float]:
    """95 % interval of the mean time to failure, for runs that are censored at a fixed time.

    Source: Meeker & Escobar, Statistical Methods for Reliability Data (1998), chapter 7.
    """
    time, failed = sum(r.time for r in records), sum(r.failed for r in records)
    high = 2 * time / chi2.ppf(0.025, 2 * failed) if failed else math.inf
    return 2 * time / chi2.ppf(0.975, 2 * failed + 2), high


def _limits(logs: Sequence[float]) -> tuple[float, float, float]:
    half = student.ppf(0.975, len(logs) - 1) * np.std(logs, ddof=1) / math.sqrt(len(logs))
    return mean(logs) - half, mean(logs), mean(logs) + half


def _interval(logs: list[float]) -> str:
    if len(logs) < 2:
        return "one seed"
    low, middle, high = map(math.exp, _limits(logs))
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def _log_ratio(records: Sequence[Record], variant: str, reference: str, seed: str) -> float:
    sizes = {r.atoms for r in records if r.group == variant}
    sizes &= {r.atoms for r in records if r.group == reference}
    return mean(
        _log_time(records, variant, seed, n) - _log_time(records, reference, seed, n) for n in sizes
    )


def _log_time(records: Sequence[Record], variant: str, seed: str, atoms: int) -> float:
    own = [r for r in records if (r.group, r.training_seed, r.atoms) == (variant, seed, atoms)]
    return math.log(_time_per_failure(own))


def _time_per_failure(records: Sequence[Record]) -> float:
    return sum(r.time for r in records) / max(sum(r.failed for r in records), 0.5)


def _shown_time(records: Sequence[Record]) -> str:
    bound = "" if any(r.failed for r in records) else "> "
    return f"{bound}{_time_per_failure(records):.2f}"


def criterion_table(records: Sequence[Record]) -> str:
    """Markdown: failures and time per failure with another criterion."""
    lines = ["| variant | failed of runs | time per failure (ps), seed by seed |"]
    lines.append("| --- | ---: | --- |")
    for variant in dict.fromkeys(record.group for record in records):
        own = [r for r in records if r.group == variant]
        times = []
        for seed in sorted({r.training_seed for r in own}):
            times.append(_shown_time([r for r in own if r.training_seed == seed]))
        failed = sum(r.failed for r in own)
        lines.append(f"| {variant} | {failed} of {len(own)} | {', '.join(times)} |")
    return "\n".join(lines) + "\n"
