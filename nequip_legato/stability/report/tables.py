"""Tables of a report as CSV, Markdown and JSON, and the format of its numbers."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from nequip_legato.stability.records import Record
from nequip_legato.stability.report.analysis import Analysis, Cell
from nequip_legato.stability.statistics.estimate import Estimate
from nequip_legato.stability.statistics.exponent import Exponent
from nequip_legato.stability.statistics.rates import Power

__all__ = [
    "cells_table",
    "chance",
    "exponent_text",
    "jsonable",
    "kinds_text",
    "markdown",
    "median_text",
    "number",
    "power_text",
    "runs_table",
    "span",
    "title",
    "words",
]


def number(value: float | None) -> str:
    """Three significant digits; a dash for NaN or None."""
    if value is None or math.isnan(value):
        return "-"
    if math.isinf(value):
        return "∞"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def span(estimate: Estimate | None, *, form: str | None = None) -> str:
    """An estimate with its interval, or a dash.

    Args:
        estimate: what to write.
        form: of the numbers, as in ``format``; default: three significant digits.
    """
    if estimate is None:
        return "-"
    texts = [
        format(x, form) if form and math.isfinite(x) else number(x)
        for x in (estimate.value, estimate.low, estimate.high)
    ]
    if math.isnan(estimate.low):
        return f"{texts[0]} [no interval]"
    return f"{texts[0]} [{texts[1]}, {texts[2]}]"


def exponent_text(estimate: Estimate | None) -> str:
    """An exponent with its interval."""
    return span(estimate, form=".2f")


def chance(p: float | None) -> str:
    """A p-value."""
    if p is None or math.isnan(p):
        return "-"
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def median_text(cell: Cell) -> str:
    """A median with its interval; '> limit' if more than half of the runs reached the limit."""
    if math.isnan(cell.median.low):
        beyond = math.isinf(cell.median.value)
        value = f"> {number(cell.longest)}" if beyond else number(cell.median.value)
        return f"{value} [no interval]"
    low = f"> {number(cell.longest)}" if math.isinf(cell.median.low) else number(cell.median.low)
    if math.isinf(cell.median.value):
        return f"> {number(cell.longest)} [{low}, ∞]"
    return f"{number(cell.median.value)} [{low}, {number(cell.median.high)}]"


def words(exponent: Exponent) -> str:
    """The remarks about an exponent."""
    parts = [exponent.problem, exponent.verdict, exponent.rival, *exponent.notes]
    return "; ".join(part for part in parts if part)


def kinds_text(kinds: dict[str, int]) -> str:
    """How often each criterion ended a run."""
    return ", ".join(f"{name} {count}" for name, count in kinds.items()) or "none"


def power_text(power: Power | None) -> str:
    """The power of a comparison, in words."""
    if power is None:
        return "-"
    seeds = f"{power.seeds} training seeds" if power.seeds else "more than 1,000 training seeds"
    return (
        f"a factor of {power.factor:g} would have been found with probability "
        f"{power.probability:.2f}; 0.8 takes {seeds} per group"
    )


def title(analysis: Analysis) -> str:
    """The protocol."""
    ensemble, temperature, timestep = analysis.protocol
    return f"{ensemble}, {temperature:g} K, steps of {timestep:g} fs"


def markdown(analysis: Analysis) -> str:
    """Exponents, times and ratios as short tables for a README."""
    head = analysis.groups[0]
    lines = [f"**{title(analysis)}**", ""]
    lines += ["| group | exponent [95 %] | basis |", "| --- | ---: | --- |"]
    lines += [
        f"| {_cell(e.group)} | {exponent_text(e.exponent)} | {_cell(e.basis or e.problem)} |"
        for e in analysis.exponents
    ]
    lines += [
        f"| {_cell(group)} - {_cell(head)} | {exponent_text(estimate)} | Welch's t |"
        for group, estimate in analysis.differences.items()
    ]
    lines += [
        "",
        "| group | atoms | failed/runs | median, ps [95 %] | restricted mean, ps [95 %] | ratio to "
        f"{_cell(head)} [95 %] | p (smallest possible) |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    ratios = {(c.group, c.atoms): c for c in analysis.comparisons if c.atoms is not None}
    for c in analysis.cells:
        row = f"| {_cell(c.group)} | {c.atoms:,} | {c.failures}/{c.runs} | {median_text(c)} "
        row += f"| {span(c.restricted_mean)} up to {number(c.horizon)} "
        found = ratios.get((c.group, c.atoms))
        if found:
            row += f"| {span(found.ratio)} | {chance(found.permutation)} ({chance(found.smallest)})"
        else:
            row += "| | "
        lines.append(row + " |")
    overall = [c for c in analysis.comparisons if c.atoms is None]
    if overall:
        lines.append("")
    for over_all in overall:
        if over_all.ratio is None:
            continue
        lines.append(
            f"- {_cell(over_all.group)} / {_cell(over_all.reference)} over all sizes: "
            f"{span(over_all.ratio)} ({over_all.basis}); p = {chance(over_all.permutation)} with "
            f"whole training seeds permuted, of at best {chance(over_all.smallest)}"
        )
    return "\n".join([*lines, *_rates(analysis)]) + "\n"


def _rates(analysis: Analysis) -> list[str]:
    lines = ["", "| group | failures | atom·ps | failures per 1,000 atom·ps [95 %] | of which |"]
    lines.append("| --- | ---: | ---: | ---: | --- |")
    lines += [
        f"| {_cell(r.group)} | {r.failures} | {r.atom_ps:,.0f} | {span(r.rate)} | "
        f"{_cell(kinds_text(r.kinds))} |"
        for r in analysis.rates
    ]
    if analysis.rate_ratios:
        lines.append("")
    for r in analysis.rate_ratios:
        text = f"- rate of {_cell(r.reference)} / rate of {_cell(r.group)}: {span(r.ratio)}"
        text += f" ({_cell(r.basis)})"
        lines.append(text + (f"; {power_text(r.power)}" if r.power else ""))
    return lines


def _cell(text: str) -> str:
    """Text escaped for a cell of a Markdown table."""
    return " ".join(text.replace("|", "\\|").split())


def runs_table(origins: Sequence[tuple[Record, Path]]) -> str:
    """CSV: one row for each run."""
    return _csv(
        [
            asdict(record)
            | {
                "time_ps": record.time,
                "steps_per_second": _rounded(record.steps_per_second, 3),
                "atom_steps_per_second": _rounded(record.atom_steps_per_second, 1),
                "source": str(source),
            }
            for record, source in origins
        ]
    )


def _rounded(value: float, digits: int) -> float | None:
    return round(value, digits) if math.isfinite(value) else None


def cells_table(analyses: Sequence[Analysis]) -> str:
    """CSV: one row for each group at each size; ``inf`` is a median beyond the longest run."""
    rows = []
    for analysis in analyses:
        ensemble, temperature, timestep = analysis.protocol
        for c in analysis.cells:
            row: dict[str, Any] = {
                "ensemble": ensemble,
                "temperature_K": temperature,
                "timestep_fs": timestep,
                "group": c.group,
                "atoms": c.atoms,
                "runs": c.runs,
                "failures": c.failures,
                "training_seeds": c.seeds,
                "longest_ps": c.longest,
                "horizon_ps": c.horizon,
                "steps_per_second": _rounded(c.steps_per_second, 3),
                "atom_steps_per_second": _rounded(c.atom_steps_per_second, 1),
                "criteria": " ".join(f"{name}:{count}" for name, count in c.criteria.items()),
            }
            for name, e in (("median_ps", c.median), ("restricted_mean_ps", c.restricted_mean)):
                row |= {name: e.value, f"{name}_low": e.low, f"{name}_high": e.high}
            rows.append(row)
    return _csv(rows)


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def jsonable(value: Any) -> Any:
    """A value for JSON: infinities and NaN become null, arrays become lists."""
    if isinstance(value, dict):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [jsonable(v) for v in value]
    if isinstance(value, np.generic):
        return jsonable(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
