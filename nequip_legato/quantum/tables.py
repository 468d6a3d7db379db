"""Tables of a quantum report, and the remarks below them."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
from scipy.stats import chi2

from nequip_legato.quantum.analysis import Cell, Key, Options
from nequip_legato.quantum.blocks import Mean
from nequip_legato.quantum.comparisons import heat_capacities, isotope_effects, stretches
from nequip_legato.quantum.settings import CLASSICAL, PIGLET, PIMD
from nequip_legato.quantum.table import Table, mean_text

__all__ = ["all_tables", "enough_beads"]

_TOLERANCE = 0.01  # of the kinetic energy; beads are enough if it changes by less
_GEOMETRY_UNITS = {"bond": ("bond length", "Angstrom"), "angle": ("angle", "degrees")}


def all_tables(cells: Sequence[Cell], options: Options) -> list[Table]:
    """Every table that has a row."""
    whole = [cell for cell in cells if cell.measured]
    tables = [
        _energies(whole),
        _species(whole),
        _convergence(whole),
        _geometry(whole),
        stretches(whole, options),
        isotope_effects(whole),
        heat_capacities(whole),
        _failures(cells),
    ]
    return [table for table in tables if table.rows]


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
            table.rows.append(
                [*row, mean_text(c.kinetic), mean_text(c.potential), mean_text(c.total)]
            )
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
                mean_text(kind[name].scaled(1000)) if name in kind else "-"
                for kind in (c.virial, c.primitive)
            ]
            table.rows.append([c.key.label, name, *energies, mean_text(c.gyration[name])])
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
        return replace(cell.key, method=PIMD, beads=0)

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
                row = [where, number, name, mean_text(c.virial[name].scaled(1000))]
                table.rows.append([*row, mean_text(c.gyration[name])])
            numbers = [c.key.beads for c in paths]
            verdict = enough_beads(numbers, [c.virial[name] for c in paths])
            table.notes.append(f"{where}, {name}: {verdict}")
    return table


def _geometry(cells: Sequence[Cell]) -> Table:
    table = Table("Bonds and angles", ["runs of", "mean of", "value", "width"], [])
    for c in cells:
        for name, mean in c.means.items():
            centers, density, _ = c.distributions[name]
            weights = density / density.sum() if density.sum() else density
            middle = float(weights @ centers)
            width = float(np.sqrt(weights @ (centers - middle) ** 2))
            what, unit = _GEOMETRY_UNITS[name]
            row = [c.key.label, f"{what}, {unit}", mean_text(mean), f"{width:.3g}"]
            table.rows.append(row)
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
