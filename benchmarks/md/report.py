"""Tables, ratios against their targets, and a plot, from the raw measurements."""

import json
from collections.abc import Callable
from pathlib import Path
from statistics import median

import matplotlib
from matplotlib.axes import Axes
from ratios import ratios
from rows import OTHERS, groups, per_atom, pick, undisturbed

from nequip_legato.files import write_atomically

matplotlib.use("Agg")
import matplotlib.pyplot as plt

__all__ = ["report"]


def report(folder: Path, *, machine: dict[str, str]) -> None:
    """Write ``tables.md``, ``ratios.json`` and ``speed.png`` beside the measurements.

    Times are medians over repeats. Ratios are medians of the ratios within each repeat.
    """
    whole, block, md = (_read(folder / f"{name}.json") for name in ("whole", "block", "md"))
    compared = ratios(whole, md)
    lines = [
        "# Measurements",
        " ".join(f"{key}: {value}." for key, value in machine.items()),
        "",
        "Times in microseconds per atom and evaluation: processor time of all threads, and wall "
        "clock. Where other programs ran beside (see the load), only the first says something. "
        "Numbers of two threads or ranks are of those repeats alone in which other programs took "
        f"less than {OTHERS} cores; '-': there was none, or it was not run. Processor time in "
        "LAMMPS is what it prints: without the kernel's, of which pair_allegro has much.",
        "",
    ]
    lines += _ratio_table(compared)
    lines += ["", "## Energies and forces in one process", ""]
    lines += _table(whole, ("name", "atoms", "threads"), extra=_whole_extra)
    lines += ["", "## Size of blocks, 432 atoms, one thread", ""]
    lines += _table(block, ("name", "block"), extra=_faults)
    lines += ["", "## Molecular dynamics in LAMMPS", ""]
    lines += _table(md, ("name", "atoms", "ranks", "threads"), extra=_md_extra)
    write_atomically(folder / "tables.md", "\n".join(lines) + "\n")
    write_atomically(
        folder / "ratios.json",
        json.dumps({"machine": machine, "ratios": compared}, indent=1) + "\n",
    )
    _plot(md, block, folder / "speed.png")
    print("\n".join(_ratio_table(compared)))


def _read(path: Path) -> list[dict]:
    return json.loads(path.read_text()) if path.is_file() else []


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
    grouped = groups(rows, names)
    if not grouped:
        return ["not measured"]
    head = [*names, "cpu", "wall", *extra(next(iter(grouped.values())))]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    for key, members in grouped.items():
        several = members[0]["threads"] * members[0].get("ranks", 1) > 1
        counted = undisturbed(members) if several else members
        if counted:
            cells = [f"{per_atom(counted, clock):.1f}" for clock in ("cpu", "wall")]
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
    figure, (speed, memory, sizes) = plt.subplots(
        1, 3, figsize=(12, 3.8), constrained_layout=True, gridspec_kw={"wspace": 0.08}
    )
    kinds = ("TorchScript", "AOTInductor", "pair_allegro, TorchScript", "pair_allegro, AOTInductor")
    for kind, marker in zip(kinds, "os^v", strict=True):
        rows, style = pick(md, name=kind, ranks=1, threads=1), {"marker": marker, "label": kind}
        _draw_speed(speed, rows, **style)
        _draw_memory(memory, rows, pick(md, name="no model"), **style)
        _draw_sizes(sizes, pick(block, name=f"blocks: {kind}"), **style)
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


def _draw_speed(axes: Axes, rows: list[dict], **style: str) -> None:
    # Wall time for LAMMPS, whose processor time leaves out the time in the kernel, a third of that
    # of pair_allegro.
    rows = undisturbed(rows) or rows
    _curve(axes, rows, "atoms", lambda row: row["atoms"] / row["wall"], **style)


def _draw_memory(axes: Axes, rows: list[dict], empty: list[dict], **style: str) -> None:
    """Memory beyond that of LAMMPS without a model, ``empty``."""
    alone = {
        atoms: median(row["memory"] for row in same)
        for (atoms,), same in groups(empty, ("atoms",)).items()
    }
    known = [row for row in rows if row["atoms"] in alone]
    _curve(axes, known, "atoms", lambda row: (row["memory"] - alone[row["atoms"]]) / 1e6, **style)


def _draw_sizes(axes: Axes, rows: list[dict], **style: str) -> None:
    _curve(axes, rows, "block", lambda row: 1e6 * row["cpu"] / row["atoms"], **style)


def _curve(
    axes: Axes, rows: list[dict], of: str, value: Callable[[dict], float], **style: str
) -> None:
    """Draw medians of ``value`` against the size in the column ``of``."""
    sizes = {key[0]: group for key, group in groups(rows, (of,)).items()}
    if sizes:
        at = sorted(sizes)
        axes.plot(at, [median(map(value, sizes[n])) for n in at], ls="-", **style)
