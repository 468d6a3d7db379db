"""Pictures of sharpness, with the same axes for all models."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nequip_legato.files import replacing
from nequip_legato.sharpness.loss import TOTAL
from nequip_legato.sharpness.result import Result

__all__ = ["save_all"]


def save_all(results: Sequence[Result], out: Path) -> list[Path]:
    """Write the pictures of what was measured; returns their paths.

    ``measures.png``, ``lines.png``, ``planes.png``, and ``planes_PART.png`` for each part.
    """
    written = []
    planes = {
        "planes.png" if part == TOTAL else f"planes_{part}.png": _planes(results, part)
        for part in _common_parts(results)
    }
    pictures = {"measures.png": _measures(results), "lines.png": _lines(results), **planes}
    for name, figure in pictures.items():
        if figure is not None:
            with replacing(out / name) as hidden:
                figure.savefig(hidden, format="png", dpi=130)
            written.append(out / name)
    return written


def _measures(results: Sequence[Result]) -> Figure | None:
    """A panel for each measure, with a point and its standard error for each model."""
    panels: list[tuple[str, list[tuple[float, float]]]] = []
    first = results[0].values
    for name, label in (("gaussian", "Gaussian noise"), ("relative", "relative noise")):
        if name in first:
            panels.append(
                (f"rise of loss, {label}", [_pair(r.values[name][TOTAL]) for r in results])
            )
    for rho in first.get("sam", {}):
        rises = [(_number(r.values["sam"][rho][TOTAL]), 0.0) for r in results]
        panels.append((f"rise of loss, SAM rho {rho}", rises))
    if "eigenvalue" in first:
        panels.append(
            ("largest eigenvalue", [(r.values["eigenvalue"][TOTAL], 0.0) for r in results])
        )
    if "trace" in first:
        panels.append(("trace of the Hessian", [_pair(r.values["trace"][TOTAL]) for r in results]))
    if not panels:
        return None
    figure = Figure(
        figsize=(2.6 * len(panels) + 1.5, 1.6 + 0.28 * len(results)), layout="constrained"
    )
    axes = np.atleast_1d(figure.subplots(1, len(panels), sharey=True))
    rows = np.arange(len(results))
    for axis, (title, values) in zip(axes, panels, strict=True):
        axis.errorbar([v for v, _ in values], rows, xerr=[e for _, e in values], fmt="o")
        axis.set_title(title, fontsize="small")
        if all(v > 0 for v, _ in values):
            axis.set_xscale("log")
    axes[0].set_yticks(rows, [r.name for r in results])
    axes[0].invert_yaxis()
    return figure


def _pair(entry: dict[str, Any]) -> tuple[float, float]:
    return _number(entry["mean"]), _number(entry["error"])


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _common_parts(results: Sequence[Result]) -> list[str]:
    """The total, and the parts of the loss that all models have."""
    return [p for p in results[0].values["loss"] if all(p in r.values["loss"] for r in results)]


def _lines(results: Sequence[Result]) -> Figure | None:
    """A row for the total and each part, a column for each direction."""
    if "line" not in results[0].values:
        return None
    parts = _common_parts(results)
    figure = Figure(figsize=(9.0, 0.8 + 2.8 * len(parts)), layout="constrained")
    axes = figure.subplots(len(parts), 2, sharex="col", sharey="row", squeeze=False)
    for row, part in zip(axes, parts, strict=True):
        for axis, name in zip(row, ("random", "gradient"), strict=True):
            for result in results:
                line = result.values["line"][name]
                axis.plot(line["x"], [_number(v) for v in line[part]], label=result.name)
            axis.set_yscale("log")
        row[0].set_ylabel("training loss" if part == TOTAL else part)
    for axis, name in zip(axes[-1], ("random", "gradient"), strict=True):
        axis.set_xlabel(f"distance along {name} direction / norm of weights")
    axes[0, 0].legend(fontsize="x-small")
    return figure


def _planes(results: Sequence[Result], part: str) -> Figure | None:
    if "plane" not in results[0].values:
        return None
    grids = [
        np.array([[_number(v) for v in row] for row in r.values["plane"][part]]) for r in results
    ]
    finite = np.concatenate([np.log10(g[np.isfinite(g) & (g > 0)]) for g in grids])
    if finite.size == 0:
        return None
    # Levels must rise, also where the loss is the same everywhere.
    levels = np.linspace(finite.min(), max(finite.max(), finite.min() + 1e-6), 16)
    columns = min(4, len(results))
    rows = -(-len(results) // columns)
    figure = Figure(figsize=(3.2 * columns + 0.8, 3.0 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    drawn: Any = None
    for axis, result, grid in zip(axes, results, grids, strict=False):
        x = result.values["plane"]["x"]
        drawn = axis.contourf(x, x, np.log10(grid), levels=levels, extend="both")
        axis.set_title(result.name, fontsize="small")
    shown: list[Axes] = list(axes[: len(results)])
    for axis in axes[len(results) :]:
        axis.set_visible(False)
    figure.colorbar(drawn, ax=shown, label=f"log10 of {'training loss' if part == TOTAL else part}")
    return figure
