"""A report's pictures as files and as data URLs."""

import base64
import io
from pathlib import Path

from matplotlib.figure import Figure

from nequip_legato.files import replacing
from nequip_legato.stability.report import plots, trace_plot
from nequip_legato.stability.report.analysis import Analysis

__all__ = ["save", "save_all"]


def save_all(
    analysis: Analysis, folders: trace_plot.Folders, folder: Path, *, tag: str
) -> dict[str, str]:
    """Write every picture of an analysis.

    Args:
        analysis: what to draw.
        folders: (protocol, run) -> folder of that run.
        folder: where the files go.
        tag: end of the files' names, before the suffix.

    Returns:
        Name -> data URL; empty for a picture that has nothing to show.
    """
    figures = {
        "time": plots.time_figure(analysis),
        "survival": plots.survival_figure(analysis),
        "residuals": plots.residual_figure(analysis),
        "traces": trace_plot.traces_figure(analysis, folders),
    }
    urls = {}
    for name, figure in figures.items():
        path = folder / f"{name}{tag}.png"
        urls[name] = ""
        if figure is None:
            # A picture of an earlier report would be out of date.
            path.unlink(missing_ok=True)
            continue
        urls[name] = save(figure, path)
    return urls


def save(figure: Figure, path: Path) -> str:
    """Write a picture as PNG; returns it as a data URL."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    with replacing(path) as hidden:
        hidden.write_bytes(buffer.getvalue())
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
