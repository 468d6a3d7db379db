"""Tables, ratios against their targets, and a plot, from the raw measurements."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

import matplotlib
from matplotlib.axes import Axes

from nequip_legato.files import write_atomically

matplotlib.use("Agg")
import matplotlib.pyplot as plt

__all__ = ["report"]

_OTHERS = 0.15
"""Cores that other programs may take while more than one thread or rank is measured."""


def report(folder: Path, *, machine: dict[str, str]) -> None:
    """Write ``tables.md``, ``ratios.json`` and ``speed.png`` beside the measurements.

    Times are medians over repeats. Ratios are medians of the ratios within each repeat.
    """
    whole, block, md = (_read(folder / f"{name}.json") for name in ("whole", "block", "md"))
    ratios = _ratios(whole, md)
    lines = [
        "# Measurements",
        " ".join(f"{key}: {value}." for key, value in machine.items()),
        "",
        "Times in microseconds per atom and evaluation: processor time of all threads, and wall "
        "clock. Where other programs ran beside (see the load), only the first says something. "
        "Numbers of two threads or ranks are of those repeats alone in which other programs took "
        f"less than {_OTHERS} cores; '-': there was none, or it was not run. Processor time in "
        "LAMMPS is what it prints: without the kernel's, of which pair_allegro has much.",
        "",
    ]
    lines += _ratio_table(ratios)
    lines += ["", "## Energies and forces in one process", ""]
    lines += _table(whole, ("name", "atoms", "threads"), extra=_whole_extra)
    lines += ["", "## Size of blocks, 432 atoms, one thread", ""]
    lines += _table(block, ("name", "block"), extra=_faults)
    lines += ["", "## Molecular dynamics in LAMMPS", ""]
    lines += _table(md, ("name", "atoms", "ranks", "threads"), extra=_md_extra)
    write_atomically(folder / "tables.md", "\n".join(lines) + "\n")
    write_atomically(
        folder / "ratios.json", json.dumps({"machine": machine, "ratios": ratios}, indent=1) + "\n"
    )
    _plot(md, block, folder / "speed.png")
    print("\n".join(_ratio_table(ratios)))


def _read(path: Path) -> list[dict]:
    return json.loads(path.read_text()) if path.is_file() else []


def _key(row: dict, names: Iterable[str]) -> tuple:
    return tuple(row.get(name) for name in names)


def _groups(rows: list[dict], names: tuple[str, ...]) -> dict[tuple, list[dict]]:
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault(_key(row, names), []).append(row)
    return groups


def _undisturbed(rows: list[dict]) -> list[dict]:
    """Rows during which other programs hardly used the cores, as two threads or ranks need."""
    return [row for row in rows if row.get("others", 1.0) < _OTHERS]


def _per_atom(rows: list[dict], clock: str) -> float:
    return 1e6 * median(row[clock] / row["atoms"] for row in rows)


def _pick(rows: list[dict], **wanted) -> list[dict]:
    return [row for row in rows if all(row.get(k) == v for k, v in wanted.items())]


def _ratio(above: list[dict], below: list[dict], clock: str) -> float | None:
    """Median over repeats of (time per atom above) / (time per atom below)."""
    other = {row["repeat"]: row for row in below}
    pairs = [(row, other[row["repeat"]]) for row in above if row["repeat"] in other]
    values = [a[clock] / a["atoms"] / (b[clock] / b["atoms"]) for a, b in pairs if b[clock] > 0]
    return median(values) if values else None


def _ratios(whole: list[dict], md: list[dict]) -> list[dict]:
    found = []

    def add(what: str, target: str, cpu: float | None, wall: float | None = None) -> None:
        found.append({"what": what, "target": target, "cpu": cpu, "wall": wall})

    def both(what, target, above, below):
        add(what, target, _ratio(above, below, "cpu"), _ratio(above, below, "wall"))

    for atoms in sorted({row["atoms"] for row in whole if row["name"] == "whole: TorchScript"}):
        rows = _pick(whole, atoms=atoms)
        base = _pick(rows, name="whole: TorchScript")
        for kind, least in (("TorchScript", 2.2), ("AOTInductor", 4.0)):
            target = f">= {least}" if atoms >= 3456 else ">= 1"
            mine = _pick(rows, name=f"blocks: {kind}", threads=1)
            both(f"whole TorchScript / blocks {kind}, {atoms} atoms", target, base, mine)
            same = _pick(rows, name="whole: deployed TorchScript")
            both(f"whole deployed TorchScript / blocks {kind}, {atoms} atoms", "", same, mine)
        both(
            f"whole AOTInductor, 2 threads / blocks AOTInductor, 2 threads, {atoms} atoms",
            ">= 1.5 (wall)",
            _undisturbed(_pick(rows, name="whole: AOTInductor", threads=2)),
            _undisturbed(_pick(rows, name="blocks: AOTInductor", threads=2)),
        )
        ase = _pick(rows, name="ase: TorchScript")
        mine = _pick(rows, name="blocks: AOTInductor", threads=1)
        both(f"nequip's ASE calculator / blocks AOTInductor, {atoms} atoms", "", ase, mine)
    for row in _groups(whole, ("name", "atoms", "threads")).values():
        if row[0]["name"].startswith("blocks") and row[0]["threads"] == 1:
            share = median(1 - r["model"] / r["engine"] for r in row)
            what = f"outside of the model, {row[0]['name'][8:]}, {row[0]['atoms']} atoms"
            add(what, "< 0.03 at 432 atoms and more", share)
    for kind in ("TorchScript", "AOTInductor"):
        both(
            f"energy alone / energy and forces, {kind}",
            "< 0.5",
            _pick(whole, name=f"energy: {kind}"),
            _pick(whole, name=f"blocks: {kind}", atoms=432, threads=1),
        )
    both(
        "fixed shape / any shape, AOTInductor, a block of 128",
        "< 1 to be kept",
        _pick(whole, name="static: AOTInductor"),
        _pick(whole, name="dynamic: AOTInductor"),
    )
    for kind in ("TorchScript", "AOTInductor"):
        mine = _pick(md, name=kind, ranks=1, threads=1)
        sizes = sorted({row["atoms"] for row in mine})
        for atoms in sizes[1:]:
            both(
                f"time per atom, {atoms} / {sizes[0]} atoms, LAMMPS, {kind}",
                "0.95 to 1.05",
                _pick(mine, atoms=atoms),
                _pick(mine, atoms=sizes[0]),
            )
        none = _pick(md, name="no model")
        if len(sizes) > 1 and none:
            add(
                f"bytes of memory per atom beyond LAMMPS' own, {kind}",
                "< 3000",
                _memory(mine, sizes) - _memory(none, sizes),
            )
        for atoms in sizes:
            style = _pick(md, name=f"pair_allegro, {kind}", atoms=atoms)
            what = f"pair_allegro / allegro_legato, LAMMPS, {kind}, {atoms} atoms"
            if style:
                both(what, "", style, _pick(mine, atoms=atoms))
    for name, least, wanted in (("ranks", 1.9, {"ranks": 2}), ("threads", 1.8, {"threads": 2})):
        mine = _pick(md, name="AOTInductor", atoms=3456)
        both(
            f"1 / 2 {name}, LAMMPS, AOTInductor, 3456 atoms",
            f">= {least} (wall); 1 (cpu)",
            _pick(mine, ranks=1, threads=1),
            _undisturbed(_pick(mine, **wanted)),
        )
    return found


def _memory(rows: list[dict], sizes: list[int]) -> float:
    small, large = (
        median(r["memory"] for r in _pick(rows, atoms=n)) for n in (sizes[0], sizes[-1])
    )
    return (large - small) / (sizes[-1] - sizes[0])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _ratio_table(ratios: list[dict]) -> list[str]:
    lines = [
        "| ratio | target | by processor time | by wall clock |",
        "| --- | --- | ---: | ---: |",
    ]
    for row in ratios:
        lines.append(
            f"| {row['what']} | {row['target']} | {_number(row['cpu'])} | {_number(row['wall'])} |"
        )
    return lines


def _table(rows: list[dict], names: tuple[str, ...], *, extra) -> list[str]:
    groups = _groups(rows, names)
    if not groups:
        return ["not measured"]
    head = [*names, "cpu", "wall", *extra(next(iter(groups.values())))]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    for key, members in groups.items():
        several = members[0]["threads"] * members[0].get("ranks", 1) > 1
        counted = _undisturbed(members) if several else members
        if counted:
            cells = [f"{_per_atom(counted, clock):.1f}" for clock in ("cpu", "wall")]
            cells += extra(counted).values()
        else:
            cells = ["-"] * (len(head) - len(names))
        cells = [*(str(k) for k in key), *cells]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _whole_extra(rows: list[dict]) -> dict[str, str]:
    difference = rows[0].get("force_difference")
    padding = rows[0].get("padding")
    return {
        "largest difference of forces (eV/Å)": "" if difference is None else f"{difference:.1e}",
        "page faults per atom": f"{median(r['faults'] / r['atoms'] for r in rows):.2g}",
        "padding": "" if padding is None else f"{padding:.2f}",
    }


def _faults(rows: list[dict]) -> dict[str, str]:
    outside = median(1 - r["model"] / r["engine"] for r in rows)
    return {
        "outside of the model": f"{outside:.3f}",
        "page faults per atom": f"{median(r['faults'] / r['atoms'] for r in rows):.2g}",
    }


def _md_extra(rows: list[dict]) -> dict[str, str]:
    speed = median(r["atoms"] / r["wall"] for r in rows)
    memory = median(r["memory"] for r in rows) / 1e6
    return {
        "atom-steps per second": f"{speed:.0f}",
        "memory (MB)": f"{memory:.0f}" if rows[0]["ranks"] == 1 else "",
    }


def _plot(md: list[dict], block: list[dict], path: Path) -> None:
    # Wall time for LAMMPS, whose processor time leaves out the time in the kernel, a third of that
    # of pair_allegro.
    figure, (speed, memory, sizes) = plt.subplots(
        1, 3, figsize=(12, 3.8), constrained_layout=True, gridspec_kw={"wspace": 0.08}
    )
    kinds = ("TorchScript", "AOTInductor", "pair_allegro, TorchScript", "pair_allegro, AOTInductor")
    lammps_alone = {
        atoms: median(row["memory"] for row in rows)
        for (atoms,), rows in _groups(_pick(md, name="no model"), ("atoms",)).items()
    }
    for kind, marker in zip(kinds, "os^v", strict=True):
        rows = _pick(md, name=kind, ranks=1, threads=1)
        style = {"marker": marker, "label": kind}
        _curve(
            speed,
            _undisturbed(rows) or rows,
            "atoms",
            lambda row: row["atoms"] / row["wall"],
            **style,
        )
        _curve(
            memory,
            [row for row in rows if row["atoms"] in lammps_alone],
            "atoms",
            lambda row: (row["memory"] - lammps_alone[row["atoms"]]) / 1e6,
            **style,
        )
        _curve(
            sizes,
            _pick(block, name=f"blocks: {kind}"),
            "block",
            lambda row: 1e6 * row["cpu"] / row["atoms"],
            **style,
        )
    speed.set_title("LAMMPS, one thread")
    speed.set(xscale="log", xlabel="atoms", ylabel="atom-steps per second", ylim=(0, None))
    memory.set_title("LAMMPS, one thread")
    memory.set(xscale="log", yscale="log", xlabel="atoms", ylabel="memory beyond LAMMPS' own (MB)")
    sizes.set_title("432 atoms, one thread")
    sizes.set(
        xscale="log",
        xlabel="centers in a block",
        ylabel="processor time per atom (µs)",
        ylim=(0, None),
    )
    ticks = sorted({row["block"] for row in block})
    sizes.set_xticks(ticks, labels=[str(size) for size in ticks], minor=False)
    sizes.set_xticks([], minor=True)
    for axes in (speed, memory, sizes):
        axes.grid(alpha=0.3)
    handles = (speed if speed.has_data() else sizes).get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=4)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _curve(
    axes: Axes, rows: list[dict], of: str, value: Callable[[dict], float], **style: str
) -> None:
    """Draw medians of ``value`` against the size in the column ``of``."""
    groups = {key[0]: group for key, group in _groups(rows, (of,)).items()}
    if groups:
        at = sorted(groups)
        axes.plot(at, [median(map(value, groups[n])) for n in at], ls="-", **style)
