"""Tables of a quantum report, and the remarks below them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise

import numpy as np
from scipy.stats import chi2

from nequip_legato.quantum.analysis import Cell, Key, Options
from nequip_legato.quantum.blocks import Mean, mean_of
from nequip_legato.quantum.isotopes import MASSES
from nequip_legato.quantum.settings import CLASSICAL, PIGLET, PIMD
from nequip_legato.quantum.spectra import peak_position
from nequip_legato.quantum.thermodynamics import (
    fractionation,
    heat_capacity,
    substitution_free_energy,
)

__all__ = ["Table", "all_tables", "enough_beads"]

_COARSE = 200.0  # 1/cm; spectra with broader lines give no band position
_TOLERANCE = 0.01  # of the kinetic energy; beads are enough if it changes by less
_GEOMETRY_UNITS = {"bond": ("bond length", "Angstrom"), "angle": ("angle", "degrees")}


@dataclass
class Table:
    """A table with its remarks.

    Attributes:
        title: what it shows.
        header: names of the columns.
        rows: cells of each row, as many as there are columns.
        notes: sentences below it.
    """

    title: str
    header: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """The table for a terminal or README."""
        lines = [f"### {self.title}", "", "| " + " | ".join(self.header) + " |"]
        lines.append("| --- |" + " ---: |" * (len(self.header) - 1))
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        return "\n".join([*lines, "", *self.notes, ""])


def all_tables(cells: Sequence[Cell], options: Options) -> list[Table]:
    """Every table that has a row."""
    whole = [cell for cell in cells if cell.measured]
    tables = [
        _energies(whole),
        _species(whole),
        _convergence(whole),
        _geometry(whole),
        _stretches(whole, options),
        _isotope_effects(whole),
        _heat_capacities(whole),
        _failures(cells),
    ]
    return [table for table in tables if table.rows]


def text(mean: Mean, digits: int = 4) -> str:
    """A mean with its standard error, rounded to two digits of the error."""
    if not np.isfinite(mean.error):
        return f"{mean.value:.{digits}f} (no error)"
    if mean.error <= 1e-9 * abs(mean.value):  # rounding errors of a constant
        return f"{mean.value:.{digits}f}"
    places = int(np.clip(1 - np.floor(np.log10(mean.error)), 0, 9))
    return f"{mean.value:.{places}f} ± {mean.error:.{places}f}"


def _energies(cells: Sequence[Cell]) -> Table:
    table = Table(
        "Energies of the whole system",
        ["runs of", "runs", "kinetic, eV", "potential, eV", "total, eV"],
        [],
        ["Kinetic energies by the centroid virial. Errors are standard errors of block averages."],
    )
    for c in cells:
        if c.kinetic and c.potential and c.total:
            row = [c.key.label, str(len(c.records) - c.failed)]
            table.rows.append([*row, text(c.kinetic), text(c.potential), text(c.total)])
    return table


def _species(cells: Sequence[Cell]) -> Table:
    table = Table(
        "Quantum kinetic energy and size of the ring polymers, per atom",
        ["runs of", "species", "centroid virial, meV", "primitive, meV", "gyration, Angstrom"],
        [],
    )
    for c in cells:
        for name in c.virial:
            energies = [
                text(kind[name].scaled(1000)) if name in kind else "-"
                for kind in (c.virial, c.primitive)
            ]
            table.rows.append([c.key.label, name, *energies, text(c.gyration[name])])
    apart = [
        f"{c.key.label}, {name}: the two estimators differ by {abs(gap.value) / gap.error:.1f} "
        "standard errors; the run is too short or its time step too long."
        for c in cells
        for name in c.primitive
        if (gap := c.primitive[name] - c.virial[name]).error > 0 and abs(gap.value) > 4 * gap.error
    ]
    table.notes += apart
    return table


def enough_beads(beads: Sequence[int], kinetic: Sequence[Mean]) -> str:
    """How many beads are enough, in words.

    Args:
        beads: at least two numbers of beads, ascending.
        kinetic: kinetic energy per atom for each of them, eV.
    """
    last = kinetic[-1]
    good = beads[-1]
    for p, value in list(zip(beads, kinetic, strict=True))[-2::-1]:
        gap = last - value
        if abs(gap.value) > _TOLERANCE * last.value + 2 * gap.error:
            break
        good = p
    if good == beads[-1]:
        # the error of P beads falls as 1/P^2
        x = 1.0 / np.square(np.array(beads[-2:], dtype=float))
        slope = (kinetic[-2].value - last.value) / (x[0] - x[1])
        missing = -slope * x[1] / (last.value - slope * x[1])
        return (
            f"{good} beads are not shown to be enough: from {beads[-2]} to {good} the kinetic "
            f"energy still changes; extrapolated by 1/P^2, about {100 * abs(missing):.1f} % are "
            "missing, or more if that law does not hold yet. Take more."
        )
    return (
        f"{good} beads are enough for kinetic energies within {100 * _TOLERANCE:.0f} % of those of "
        f"{beads[-1]} beads and twice the standard error."
    )


def _convergence(cells: Sequence[Cell]) -> Table:
    table = Table(
        "Convergence with the number of beads",
        ["system", "beads", "species", "kinetic energy per atom, meV", "gyration, Angstrom"],
        [],
    )

    def place(cell: Cell) -> Key:
        return Key(*[*_fields(cell.key)[:4], PIMD, 0])

    some = [c for c in cells if c.key.method in (PIMD, CLASSICAL, PIGLET)]

    def order(cell: Cell) -> tuple:
        return place(cell), cell.key.method == PIGLET, cell.key.beads

    for key, group in groupby(sorted(some, key=order), place):
        members = list(group)
        paths = [c for c in members if c.key.method == PIMD]
        if len(paths) < 2:
            continue
        where = f"{key.system} {key.isotopes} {key.temperature:g} K"
        for name in paths[0].virial:
            for c in members:
                number = {
                    CLASSICAL: "classical",
                    PIGLET: f"{c.key.beads}, PIGLET",
                }.get(c.key.method, str(c.key.beads))
                row = [where, number, name, text(c.virial[name].scaled(1000))]
                table.rows.append([*row, text(c.gyration[name])])
            numbers = [c.key.beads for c in paths]
            verdict = enough_beads(numbers, [c.virial[name] for c in paths])
            table.notes.append(f"{where}, {name}: {verdict}")
    return table


def _fields(key: Key) -> list:
    return [key.model, key.system, key.isotopes, key.temperature, key.method, key.beads]


def _geometry(cells: Sequence[Cell]) -> Table:
    table = Table("Bonds and angles", ["runs of", "mean of", "value", "width"], [])
    for c in cells:
        for name, mean in c.means.items():
            centers, density, _ = c.distributions[name]
            weights = density / density.sum() if density.sum() else density
            middle = float(weights @ centers)
            width = float(np.sqrt(weights @ (centers - middle) ** 2))
            what, unit = _GEOMETRY_UNITS[name]
            row = [c.key.label, f"{what}, {unit}", text(mean), f"{width:.3g}"]
            table.rows.append(row)
    return table


def _stretch(cell: Cell, name: str, options: Options) -> Mean | None:
    low = options.stretch_above * np.sqrt(MASSES["H"] / cell.masses[name])
    spectrum = cell.spectra.get(name)
    if (
        spectrum is None
        or spectrum.resolution > _COARSE
        or spectrum.wavenumbers[-1] <= low
        or cell.masses[name] > 4.0
    ):
        return None
    value, error = mean_of(peak_position(spectrum, low))
    return Mean(float(value), float(error))


def _stretches(cells: Sequence[Cell], options: Options) -> Table:
    table = Table(
        "Stretch of hydrogen",
        ["runs of", "species", "wavenumber, 1/cm", "shift from classical, 1/cm"],
        [],
        [],
    )
    found = {
        (c.key, name): value
        for c in cells
        for name in c.spectra
        if (value := _stretch(c, name, options)) is not None
    }
    for (key, name), value in found.items():
        classical = Key(*[*_fields(key)[:4], CLASSICAL, 1])
        base = found.get((classical, name))
        shift = text(value - base, 1) if base and key.method != CLASSICAL else "-"
        table.rows.append([key.label, name, text(value, 1), shift])
    for (key, name), value in found.items():
        for (other, heavy), lower in found.items():
            same = _fields(key)[:2] + _fields(key)[3:] == _fields(other)[:2] + _fields(other)[3:]
            if same and name == "H" and heavy in ("D", "T"):
                ratio = value.value / lower.value
                error = ratio * np.hypot(value.error / value.value, lower.error / lower.value)
                table.notes.append(
                    f"H/{heavy} ratio, {key.label} to {other.isotopes}: "
                    f"{text(Mean(ratio, float(error)))}."
                )
    if table.rows:
        widest = max(s.resolution for c in cells for s in c.spectra.values())
        table.notes.append(f"Resolution {widest:.0f} 1/cm or better.")
    return table


def _isotope_effects(cells: Sequence[Cell]) -> Table:
    table = Table(
        "Isotope effects by mass integration",
        ["system", "model, temperature, beads", "from", "to", "free energy per atom, meV"],
        [],
    )
    changes: dict[tuple, dict[tuple, Mean]] = {}

    def place(cell: Cell) -> tuple:
        k = cell.key
        return k.model, k.temperature, k.method, k.beads, k.system

    paths = sorted((c for c in cells if c.key.method in (PIMD, PIGLET)), key=place)
    for where, group in groupby(paths, place):
        points: dict[str, dict[float, tuple[str, Mean]]] = {}
        for c in group:
            kinds = {
                r.species[n]: r.model_types[n] for r in c.records for n in range(len(r.species))
            }
            for name, mean in c.virial.items():
                points.setdefault(kinds[name], {})[c.masses[name]] = name, mean
        for by_mass in points.values():
            masses = sorted(by_mass)
            if len(masses) < 2:
                continue
            change = substitution_free_energy(masses, [by_mass[m][1] for m in masses])
            ends = by_mass[masses[0]][0], by_mass[masses[-1]][0]
            what = f"{where[0]}, {where[1]:g} K, {where[2]} P={where[3]}"
            table.rows.append([where[4], what, *ends, text(change.scaled(1000))])
            changes.setdefault((*where[:4], *ends), {})[where[4:]] = change
    for (model, temperature, method, beads, light, heavy), systems in changes.items():
        names = list(systems)
        for a, first in enumerate(names):
            for second in names[a + 1 :]:
                value = fractionation(systems[first], systems[second], temperature)
                table.notes.append(
                    f"{model}, {temperature:g} K, {method} P={beads}: fractionation 1000 ln alpha "
                    f"of {heavy} against {light} between {first[0]} and {second[0]}: "
                    f"{text(value, 1)}."
                )
    return table


def _heat_capacities(cells: Sequence[Cell]) -> Table:
    table = Table("Heat capacity by differences", ["system", "between, K", "C / k per atom"], [])

    def place(cell: Cell) -> tuple:
        k = cell.key
        return k.model, k.system, k.isotopes, k.method, k.beads

    ordered = sorted(cells, key=lambda c: (*place(c), c.key.temperature))
    for where, group in groupby(ordered, place):
        members = list(group)
        for low, high in pairwise(members):
            if low.total and high.total:
                pair = low.key.temperature, high.key.temperature
                atoms = sum(low.counts.values())
                value = heat_capacity(low.total, high.total, pair).scaled(1.0 / atoms)
                label = f"{where[0]} {where[1]} {where[2]} {where[3]} P={where[4]}"
                table.rows.append([label, f"{pair[0]:g} to {pair[1]:g}", text(value, 3)])
    return table


def _failures(cells: Sequence[Cell]) -> Table:
    table = Table(
        "Failures of the model",
        [
            "group",
            "method",
            "runs",
            "failed",
            "simulated, ps",
            "failures per ns [95 %]",
            "criteria",
        ],
        [],
        [
            "Averages leave out failed runs. Rates are failures over simulated time, with exact "
            "Poisson intervals; a step with P beads counts as one step.",
            "`nequip-legato stability report` on this folder gives survival curves.",
        ],
    )

    def by(cell: Cell) -> tuple[str, str, int]:
        return cell.records[0].group, cell.key.method, cell.key.beads

    for (group, method, beads), members in groupby(sorted(cells, key=by), by):
        records = [r for c in members for r in c.records]
        failed = [r for r in records if r.failed]
        time = sum(r.time for r in records)
        n = len(failed)
        low = chi2.ppf(0.025, 2 * n) / 2 if n else 0.0
        high = chi2.ppf(0.975, 2 * n + 2) / 2
        criteria: dict[str, int] = {}
        for r in failed:
            what = f"{r.criterion} (bead {r.failed_bead})" if r.failed_bead else str(r.criterion)
            criteria[what] = criteria.get(what, 0) + 1
        rates = (
            f"{1000 * n / time:.3g} [{1000 * low / time:.3g}, {1000 * high / time:.3g}]"
            if time
            else "-"
        )
        label = method if beads == 1 else f"{method} P={beads}"
        causes = ", ".join(f"{k}: {v}" for k, v in sorted(criteria.items())) or "none"
        row = [group, label, str(len(records)), str(n), f"{time:.3g}", rates, causes]
        table.rows.append(row)
    return table
