"""Pictures of training runs: loss, validation errors and sharpness over epochs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nequip_legato.errors import LegatoError
from nequip_legato.files import replacing
from nequip_legato.training_plots.metrics_files import find_metrics, read_metrics

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["PANELS", "TrainingRun", "plot_runs", "read_run"]

SHARPNESS = "legato/sharpness"
_SKIPPED = "legato/skipped_steps"

PANELS: dict[str, tuple[str, ...]] = {
    "training loss": ("train_loss_epoch/weighted_sum", "train_loss_step/weighted_sum"),
    "validation: forces": (
        "val0_epoch/forces_rmse",
        "val0_epoch/forces_mae",
        "val0_epoch/per_type_forces_rmse",
        "val0_epoch/forces_mse",
    ),
    "validation: energy": (
        "val0_epoch/per_atom_energy_rmse",
        "val0_epoch/per_atom_energy_mae",
        "val0_epoch/total_energy_rmse",
        "val0_epoch/total_energy_mae",
    ),
    "validation: stress": ("val0_epoch/stress_rmse", "val0_epoch/stress_mae"),
    "validation: weighted sum": ("val0_epoch/weighted_sum",),
    "sharpness": (SHARPNESS,),
}
"""Title of each panel -> quantities that it can show, in order of preference."""


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """What one run has logged.

    Attributes:
        name: the name of its folder.
        values: one row for each epoch (the index, from 0), one column for each quantity under its
            logged name. Values logged at steps are averaged over the epoch.
        skipped: steps that SAM skipped because a gradient was not finite.
    """

    name: str
    values: "pd.DataFrame"
    skipped: int


def read_run(folder: Path) -> TrainingRun:
    """Read a run of ``nequip-train`` from Lightning's CSV or TensorBoard log in its folder.

    Raises:
        LegatoError: if the folder has no log, or nothing in it that can be shown.
    """
    source = find_metrics(folder)
    rows = read_metrics(source)
    shown = [name for names in PANELS.values() for name in names if name in rows.columns]
    finite = rows[["epoch", *shown]].replace([float("inf"), -float("inf")], float("nan"))
    values = finite.groupby("epoch").mean().dropna(how="all").dropna(axis="columns", how="all")
    if values.empty:
        raise LegatoError(f"{source} has no loss, error or sharpness yet; wait for the first epoch")
    skipped = rows[_SKIPPED].max() if _SKIPPED in rows.columns else 0
    name = folder.resolve().name
    return TrainingRun(name=name, values=values, skipped=int(skipped) if skipped > 0 else 0)


def plot_runs(folders: Sequence[Path], out: Path) -> list[TrainingRun]:
    """Draw several runs into the same panels, and write the picture.

    A panel shows one quantity, the first of its kind (of ``PANELS``) that the most runs have
    logged; panels without any are left out.

    Args:
        folders: the folders of the runs.
        out: the picture; its suffix sets the format (png, pdf, svg).

    Returns:
        The runs, named as in the legend.

    Raises:
        LegatoError: if a folder has no metrics, or the picture cannot be written.
    """
    if not folders:
        raise LegatoError("no folder of a run is given")
    names = _distinct(folders)
    runs = [
        TrainingRun(name=name, values=run.values, skipped=run.skipped)
        for name, run in zip(names, map(read_run, folders), strict=True)
    ]
    _draw(runs, out)
    return runs


def _distinct(folders: Sequence[Path]) -> list[str]:
    """Folder names, with as many of their parents as make them unique."""
    parts = [folder.resolve().parts for folder in folders]
    if len(set(parts)) < len(parts):
        double = next(f for f, p in zip(folders, parts, strict=True) if parts.count(p) > 1)
        raise LegatoError(f"{double} is given twice")
    names = []
    for own in parts:
        depth = 1
        while sum(other[-depth:] == own[-depth:] for other in parts) > 1:
            depth += 1
        names.append("/".join(own[-depth:]))
    return names


def _chosen(runs: Sequence[TrainingRun]) -> dict[str, str]:
    """Panel -> the quantity that it shows."""
    chosen = {}
    for title, candidates in PANELS.items():
        counts = [sum(name in run.values.columns for run in runs) for name in candidates]
        if max(counts) > 0:
            chosen[title] = candidates[counts.index(max(counts))]
    return chosen


def _draw(runs: Sequence[TrainingRun], out: Path) -> None:
    from matplotlib.figure import Figure

    chosen = _chosen(runs)
    columns = min(3, len(chosen))
    rows = -(-len(chosen) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.1 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False)
    for axes in grid.flat[len(chosen) :]:
        axes.remove()
    for axes, (title, quantity) in zip(grid.flat, chosen.items(), strict=False):
        lowest = []
        for number, run in enumerate(runs):
            if quantity in run.values.columns:
                line = run.values[quantity].dropna()
                marker = "o" if len(line) < 15 else None
                axes.plot(line.index + 1, line, marker=marker, markersize=3, **_style(number))
                lowest += list(line)
        if min(lowest) > 0:
            axes.set_yscale("log")
        elif max(map(abs, lowest)) > 0:  # the sharpness of a step may be negative
            axes.set_yscale("symlog", linthresh=min(abs(v) for v in lowest if v != 0))
        axes.set_title(title, fontsize="medium")
        axes.set_ylabel(quantity, fontsize="small")
        axes.set_xlabel("epoch")
        axes.tick_params(labelbottom=True)
        axes.grid(alpha=0.3)
    _legend(figure, runs)
    _write(figure, out)


def _style(number: int) -> dict[str, Any]:
    """Ten colors, then the same ones with other lines."""
    return {"color": f"C{number % 10}", "linestyle": ["-", "--", ":", "-."][number // 10 % 4]}


def _legend(figure: "Figure", runs: Sequence[TrainingRun]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **_style(k)) for k in range(len(runs))]
    labels = [r.name + (f" ({r.skipped} steps skipped)" if r.skipped else "") for r in runs]
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(runs)))


def _write(figure: "Figure", out: Path) -> None:
    """Write the picture under another name, then rename it."""
    kind = out.suffix.removeprefix(".").lower()
    known = figure.canvas.get_supported_filetypes()
    if kind not in known:
        raise LegatoError(f"{out}: the ending must be one of {', '.join(sorted(known))}")
    try:
        with replacing(out) as hidden:
            figure.savefig(hidden, format=kind, dpi=150)
    except OSError as problem:
        raise LegatoError(f"cannot write {out}: {problem.strerror}") from problem
