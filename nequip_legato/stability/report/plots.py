"""Pictures of a stability report: times against N, survival curves, residuals."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from nequip_legato.stability.report.analysis import Analysis, Cell
from nequip_legato.stability.statistics.survival import time_survived

__all__ = ["colors_of", "plain_text", "residual_figure", "survival_figure", "time_figure"]


def colors_of(groups: Sequence[str]) -> dict[str, str]:
    """Color of each group; twenty can be told apart."""
    palette = colormaps["tab20"]  # ten colors, each with a pale one after it
    order = [*range(0, 20, 2), *range(1, 20, 2)]
    return {group: to_hex(palette(order[k % 20])) for k, group in enumerate(groups)}


def plain_text(text: str) -> str:
    """A name that matplotlib does not read as a formula."""
    return text.replace("$", r"\$")


def time_figure(analysis: Analysis) -> Figure:
    """Time to failure against N on log axes: runs, medians, restricted means, fitted lines.

    Crosses are failures, open triangles censored runs; circles medians, squares restricted means,
    each with its interval; dashed lines the medians of the Weibull fits.
    """
    figure = Figure(figsize=(7.5, 5.0), layout="constrained")
    axis = figure.subplots()
    colors = colors_of(analysis.groups)
    for k, group in enumerate(analysis.groups):
        # Groups at one N are drawn side by side.
        shift = np.exp(0.14 * (k - (len(analysis.groups) - 1) / 2))
        color = colors[group]
        own = [r for r in analysis.records if r.group == group]
        for failed, style in ((True, "x"), (False, "^")):
            some = [r for r in own if r.failed == failed]
            axis.plot(
                [r.atoms * shift for r in some],
                [time_survived(r) for r in some],
                style,
                color=color,
                alpha=max(0.05, min(0.35, 60 / len(own))),
                markersize=4,
                fillstyle="none",
                rasterized=True,
            )
        cells = [c for c in analysis.cells if c.group == group]
        _medians(axis, cells, shift * 0.97, color, _label(analysis, group))
        _means(axis, cells, shift * 1.03, color)
        _line(axis, analysis, group, color)
    axis.set(xscale="log", yscale="log", xlabel="number of atoms", ylabel="time to failure (ps)")
    axis.set_xticks(analysis.sizes, [f"{n:,}" for n in analysis.sizes], fontsize="small")
    axis.xaxis.set_minor_locator(NullLocator())
    axis.legend(fontsize="small")
    return figure


def _medians(axis: Axes, cells: Sequence[Cell], shift: float, color: str, label: str) -> None:
    axis.plot([], [], "o--", color=color, label=label)
    for cell in cells:
        found, atoms = cell.median, cell.atoms * shift
        low = min(found.low, cell.longest)
        if np.isfinite(found.value):
            axis.plot([atoms], [found.value], "o", color=color, markersize=6)
        if np.isnan(found.low) and np.isfinite(found.value):
            continue
        low = cell.longest if np.isnan(low) else low
        if np.isfinite(found.high):
            axis.plot([atoms, atoms], [low, found.high], color=color, lw=1.5)
        else:
            # An arrow shows that the interval has no upper end.
            axis.annotate(
                "",
                xy=(atoms, cell.longest * 1.4),
                xytext=(atoms, low),
                arrowprops={"arrowstyle": "->", "color": color, "lw": 1.5},
            )


def _means(axis: Axes, cells: Sequence[Cell], shift: float, color: str) -> None:
    means = [c.restricted_mean for c in cells]
    axis.errorbar(
        [c.atoms * shift for c in cells],
        [m.value for m in means],
        yerr=[
            np.nan_to_num([max(m.value - m.low, 0.0) for m in means]),
            np.nan_to_num([max(m.high - m.value, 0.0) for m in means]),
        ],
        fmt="s",
        fillstyle="none",
        markersize=5,
        capsize=2,
        lw=0.8,
        color=color,
    )


def _label(analysis: Analysis, group: str) -> str:
    exponent = next(e for e in analysis.exponents if e.group == group).exponent
    name = plain_text(group)
    if exponent is None:
        return f"{name} (no exponent)"
    return f"{name}: N^{exponent.value:.2f} [{exponent.low:.2f}, {exponent.high:.2f}]"


def _line(axis: Axes, analysis: Analysis, group: str, color: str) -> None:
    found = next(e for e in analysis.exponents if e.group == group)
    if found.exponent is None:
        return
    atoms = np.array([c.atoms for c in analysis.cells if c.group == group], dtype=float)
    axis.plot(atoms, np.exp(found.level) * atoms**found.slope, "--", color=color, lw=1)


def survival_figure(analysis: Analysis) -> Figure:
    """Kaplan-Meier curves with pointwise intervals, one panel for each size."""
    count = len(analysis.sizes)
    columns = min(count, 3)
    rows = -(-count // columns)
    figure = Figure(figsize=(max(4.0 * columns, 5.0), 3.2 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    colors = colors_of(analysis.groups)
    for axis, atoms in zip(axes, analysis.sizes, strict=False):
        for group in analysis.groups:
            found = analysis.curves[group].get(atoms)
            if found is None:
                continue
            color = colors[group]
            axis.step(
                found.times, found.survival, where="post", color=color, label=plain_text(group)
            )
            axis.fill_between(
                found.times, found.low, found.high, step="post", color=color, alpha=0.15
            )
        axis.set(title=f"{atoms:,} atoms", ylim=(-0.02, 1.02), xlabel="time (ps)")
        axis.set_xlim(left=0.0)
        axis.legend(fontsize="small")
    for axis in axes[count:]:
        axis.set_visible(False)
    axes[0].set_ylabel("survival probability")
    return figure


def residual_figure(analysis: Analysis) -> Figure | None:
    """Cumulative hazard of Cox-Snell residuals: on the diagonal if the Weibull model holds.

    Returns:
        None if no group has a fit.
    """
    fitted = [e for e in analysis.exponents if len(e.residuals)]
    if not fitted:
        return None
    figure = Figure(figsize=(5.0, 4.2), layout="constrained")
    axis = figure.subplots()
    colors = colors_of(analysis.groups)
    for e in fitted:
        axis.step(
            e.residuals, e.hazard, where="post", color=colors[e.group], label=plain_text(e.group)
        )
    low = min(float(e.residuals[0]) for e in fitted)
    high = max(float(e.residuals[-1]) for e in fitted)
    axis.plot([low, high], [low, high], "k:", lw=1)
    axis.set(
        xscale="log", yscale="log", xlabel="Cox-Snell residual", ylabel="its cumulative hazard"
    )
    axis.legend(fontsize="small")
    return figure
