"""Tables of what was tried to make SAM help: pairs of variants that differ in one thing."""

import math
from collections.abc import Sequence
from statistics import mean
from typing import Any

import numpy as np
from scipy.stats import t as student

from nequip_legato.stability.records import Record

__all__ = ["criterion_table", "pairs_table", "variants_table"]


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


def _interval(logs: list[float]) -> str:
    if len(logs) < 2:
        return "one seed"
    half = student.ppf(0.975, len(logs) - 1) * np.std(logs, ddof=1) / math.sqrt(len(logs))
    low, middle, high = (math.exp(mean(logs) + k * half) for k in (-1, 0, 1))
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
    """Markdown: failures and time per failure by one other criterion."""
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
