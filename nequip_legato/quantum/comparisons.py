"""Tables that compare runs: shifts of the stretch, isotope effects, heat capacities."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby, pairwise

import numpy as np

from nequip_legato.quantum.analysis import Cell, Options
from nequip_legato.quantum.blocks import Mean, mean_of
from nequip_legato.quantum.isotopes import MASSES
from nequip_legato.quantum.settings import CLASSICAL, PIGLET, PIMD
from nequip_legato.quantum.spectra import peak_position
from nequip_legato.quantum.table import Table, mean_text
from nequip_legato.quantum.thermodynamics import (
    fractionation,
    heat_capacity,
    substitution_free_energy,
)

__all__ = ["heat_capacities", "isotope_effects", "stretches"]

_COARSE = 200.0  # 1/cm; spectra with broader lines give no band position


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


def stretches(cells: Sequence[Cell], options: Options) -> Table:
    """Position of the hydrogen stretch, its shift from classical runs, and H/D ratios."""
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
        classical = replace(key, method=CLASSICAL, beads=1)
        base = found.get((classical, name))
        shift = mean_text(value - base, 1) if base and key.method != CLASSICAL else "-"
        table.rows.append([key.label, name, mean_text(value, 1), shift])
    for (key, name), value in found.items():
        for (other, heavy), lower in found.items():
            same = replace(key, isotopes="") == replace(other, isotopes="")
            if same and name == "H" and heavy in ("D", "T"):
                ratio = value.value / lower.value
                error = ratio * np.hypot(value.error / value.value, lower.error / lower.value)
                table.notes.append(
                    f"H/{heavy} ratio, {key.label} to {other.isotopes}: "
                    f"{mean_text(Mean(ratio, float(error)))}."
                )
    if table.rows:
        widest = max(s.resolution for c in cells for s in c.spectra.values())
        table.notes.append(f"Resolution {widest:.0f} 1/cm or better.")
    return table


def isotope_effects(cells: Sequence[Cell]) -> Table:
    """Free energies of substitution by mass integration, and fractionation between systems."""
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
            table.rows.append([where[4], what, *ends, mean_text(change.scaled(1000))])
            changes.setdefault((*where[:4], *ends), {})[where[4:]] = change
    for (model, temperature, method, beads, light, heavy), systems in changes.items():
        names = list(systems)
        for a, first in enumerate(names):
            for second in names[a + 1 :]:
                value = fractionation(systems[first], systems[second], temperature)
                table.notes.append(
                    f"{model}, {temperature:g} K, {method} P={beads}: fractionation 1000 ln alpha "
                    f"of {heavy} against {light} between {first[0]} and {second[0]}: "
                    f"{mean_text(value, 1)}."
                )
    return table


def heat_capacities(cells: Sequence[Cell]) -> Table:
    """Heat capacities from total energies at neighboring temperatures."""
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
                table.rows.append([label, f"{pair[0]:g} to {pair[1]:g}", mean_text(value, 3)])
    return table
