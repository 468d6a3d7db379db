"""Pictures of a quantum report."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from nequip_legato.quantum.analysis import Cell
from nequip_legato.quantum.settings import PIMD

__all__ = ["all_figures"]

_TITLES = {"bond": "bond length (Angstrom)", "angle": "angle (degrees)"}


def all_figures(cells: Sequence[Cell]) -> dict[str, Figure]:
    """Name -> picture; pictures without data are left out."""
    whole = [cell for cell in cells if cell.measured]
    names = sorted({name for cell in whole for name in cell.distributions})
    figures = {
        "convergence": _convergence(whole),
        **{_file(name): _distribution(whole, name) for name in names},
        "spectra": _spectra(whole),
    }
    return {name: figure for name, figure in figures.items() if figure is not None}


def _file(name: str) -> str:
    return name if name in _TITLES else f"rdf_{name}"


def _convergence(cells: Sequence[Cell]) -> Figure | None:
    lines: dict[str, list[tuple[int, float, float]]] = {}
    for cell in cells:
        if cell.key.method == PIMD:
            k = cell.key
            for name, mean in cell.virial.items():
                label = f"{k.system} {k.isotopes} {k.temperature:g} K, {name}"
                lines.setdefault(label, []).append((k.beads, mean.value, mean.error))
    lines = {label: sorted(points) for label, points in lines.items() if len(points) > 1}
    if not lines:
        return None
    figure = Figure(figsize=(7.5, 5.0), layout="constrained")
    axis = figure.subplots()
    for label, points in lines.items():
        beads, value, error = np.array(points).T
        axis.errorbar(beads, 1000 * value, 1000 * error, marker="o", capsize=3, label=label)
    axis.set(xscale="log", xlabel="beads", ylabel="kinetic energy per atom (meV)")
    axis.set_xticks(sorted({p[0] for points in lines.values() for p in points}))
    axis.get_xaxis().set_major_formatter("{x:.0f}")
    axis.minorticks_off()
    axis.legend(fontsize="small")
    return figure


def _distribution(cells: Sequence[Cell], name: str) -> Figure:
    figure = Figure(figsize=(7.5, 5.0), layout="constrained")
    axis = figure.subplots()
    for cell in cells:
        if name in cell.distributions:
            x, y, error = cell.distributions[name]
            (line,) = axis.plot(x, y, label=cell.key.label)
            axis.fill_between(x, y - error, y + error, alpha=0.3, color=line.get_color())
    label = _TITLES.get(name, f"{name} distance (Angstrom)")
    axis.set(xlabel=label, ylabel="density" if name in _TITLES else "g(r)")
    if name not in _TITLES:
        axis.set_ylim(0, 5)  # the peaks of bonded pairs are far higher
    axis.legend(fontsize="small")
    return figure


def _spectra(cells: Sequence[Cell]) -> Figure | None:
    some = [cell for cell in cells if cell.spectra]
    if not some:
        return None
    names = sorted({name for cell in some for name in cell.spectra})
    figure = Figure(figsize=(7.5, 2.8 * len(names)), layout="constrained")
    axes = figure.subplots(len(names), sharex=True, squeeze=False)[:, 0]
    for axis, name in zip(axes, names, strict=True):
        for cell in some:
            if name in cell.spectra:
                spectrum = cell.spectra[name]
                density = spectrum.density.mean(axis=0)
                axis.plot(spectrum.wavenumbers, density, label=cell.key.label, linewidth=0.8)
        axis.set(ylabel=f"{name} (cm)", xlim=(0, 4500))
        axis.legend(fontsize="small")
    axes[-1].set(xlabel="wavenumber (1/cm)")
    return figure
