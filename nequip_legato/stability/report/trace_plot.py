"""Temperature and largest force of failed runs up to their failure."""

import csv
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from nequip_legato.stability.records import Record
from nequip_legato.stability.report.analysis import Analysis, Protocol, protocol_of
from nequip_legato.stability.report.plots import colors_of, plain_text
from nequip_legato.stability.statistics.survival import Array, time_survived
from nequip_legato.stability.trace import TRACE

__all__ = ["Folders", "read_trace", "traces_figure"]

Folders = Mapping[tuple[Protocol, str], Path]
"""(protocol, run) -> folder of the run."""

_COLUMNS = (("temperature", "temperature (K)"), ("largest_force", "largest force (eV/Å)"))
_MOST = 6  # runs of each group: more could not be distinguished
_POINTS = 2000


def traces_figure(analysis: Analysis, folders: Folders) -> Figure | None:
    """Temperature and largest force over the time left to the failure.

    Shown are runs of the smallest and of the largest N at which a group failed, those whose times
    are nearest to the median of the failures there.

    Args:
        analysis: the runs.
        folders: (protocol, run) -> folder of the run, for those that have one.

    Returns:
        None if no failed run has a trace.
    """
    sizes = sorted({r.atoms for r in analysis.records if r.failed})
    shown_sizes = sorted({sizes[0], sizes[-1]}) if sizes else []
    rows = []
    for atoms in shown_sizes:
        found = [
            (group, left, trace)
            for group in analysis.groups
            for left, trace in _near_median(analysis, group, atoms, folders)
        ]
        if found:
            rows.append((atoms, found))
    if not rows:
        return None
    figure = Figure(figsize=(9.0, 3.3 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 2, squeeze=False)
    colors = colors_of(analysis.groups)
    for row, (atoms, found) in zip(axes, rows, strict=True):
        for axis, (column, label) in zip(row, _COLUMNS, strict=True):
            named = set()
            for group, left, trace in found:
                if column not in trace:
                    continue
                name = None if group in named else plain_text(group)
                named.add(group)
                axis.plot(left, trace[column], color=colors[group], lw=0.8, alpha=0.7, label=name)
            axis.set(xlabel="time before failure (ps)", ylabel=label, title=f"{atoms:,} atoms")
            if named:
                axis.legend(fontsize="small")
        if any("largest_force" in trace for _, _, trace in found):
            row[1].set_yscale("log")
    return figure


def _near_median(
    analysis: Analysis, group: str, atoms: int, folders: Folders
) -> list[tuple[Array, dict[str, Array]]]:
    own = [r for r in analysis.records if r.failed and r.group == group and r.atoms == atoms]
    middle = float(np.median([math.log(time_survived(r)) for r in own])) if own else 0.0
    own.sort(key=lambda r: (abs(math.log(time_survived(r)) - middle), r.run))
    found = []
    for record in own:
        trace = _trace_of(record, folders)
        if trace is not None:
            left = (trace["step"] - record.steps) * record.timestep / 1000.0
            found.append((left, trace))
        if len(found) == _MOST:
            break
    return found


def _trace_of(record: Record, folders: Folders) -> dict[str, Array] | None:
    folder = folders.get((protocol_of(record), record.run))
    return None if folder is None else read_trace(folder / TRACE)


def read_trace(path: Path) -> dict[str, Array] | None:
    """The columns of a ``trace.csv``, thinned to a few thousand rows.

    Values that are not finite become NaN; rows without a step are left out.

    Returns:
        Column -> (rows,) values, among them ``step``; None if there is no such file or no row.
    """
    try:
        with path.open(newline="", encoding="utf-8", errors="replace") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, csv.Error):
        return None
    if not rows or "step" not in rows[0]:
        return None
    # All rows of the end stay, which shows the failure.
    every = max(1, len(rows) // _POINTS)
    rows = rows[:-100:every] + rows[-100:] if len(rows) > _POINTS else rows
    columns = {
        name: np.array([_finite(row.get(name)) for row in rows])
        for name in rows[0]
        if name is not None
    }
    known = np.isfinite(columns["step"])
    if not known.any():
        return None
    return {name: values[known] for name, values in columns.items()}


def _finite(text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
