"""Ratios of times and memory against their targets."""

from collections.abc import Iterator
from statistics import median

from rows import groups, pick, ratio, undisturbed

__all__ = ["ratios"]

_KINDS = ("TorchScript", "AOTInductor")
_WITHOUT = "AOTInductor, compiler's kernels"


def ratios(whole: list[dict], md: list[dict]) -> list[dict]:
    """All ratios, each with ``what``, ``target`` and the values ``cpu`` and ``wall``.

    Args:
        whole: energies and forces in one process.
        md: molecular dynamics in LAMMPS.
    """
    found = []
    for atoms in sorted({row["atoms"] for row in whole if row["name"] == "whole: TorchScript"}):
        found += _against_whole(pick(whole, atoms=atoms), atoms)
    found += [*_outside(whole), *_variants(whole)]
    for kind in _KINDS:
        found += _in_lammps(md, kind)
    return [*found, *_in_parallel(pick(md, name="AOTInductor", atoms=3456))]


def _row(what: str, target: str, cpu: float | None, wall: float | None = None) -> dict:
    return {"what": what, "target": target, "cpu": cpu, "wall": wall}


def _both(what: str, target: str, above: list[dict], below: list[dict]) -> dict:
    """A ratio by both clocks."""
    return _row(what, target, ratio(above, below, "cpu"), ratio(above, below, "wall"))


def _against_whole(rows: list[dict], atoms: int) -> Iterator[dict]:
    """Blocks against the whole system at once."""
    base = pick(rows, name="whole: TorchScript")
    for kind, least in zip(_KINDS, (2.2, 4.0), strict=True):
        target = f">= {least}" if atoms >= 3456 else ">= 1"
        mine = pick(rows, name=f"blocks: {kind}", threads=1)
        yield _both(f"whole TorchScript / blocks {kind}, {atoms} atoms", target, base, mine)
        same = pick(rows, name="whole: deployed TorchScript")
        yield _both(f"whole deployed TorchScript / blocks {kind}, {atoms} atoms", "", same, mine)
    mine = pick(rows, name="blocks: AOTInductor", threads=1)
    without = pick(rows, name=f"blocks: {_WITHOUT}")
    yield _both(f"compiler's kernels / ours, AOTInductor, {atoms} atoms", "", without, mine)
    yield _both(
        f"whole AOTInductor, 2 threads / blocks AOTInductor, 2 threads, {atoms} atoms",
        ">= 1.5 (wall)",
        undisturbed(pick(rows, name="whole: AOTInductor", threads=2)),
        undisturbed(pick(rows, name="blocks: AOTInductor", threads=2)),
    )
    ase = pick(rows, name="ase: TorchScript")
    yield _both(f"nequip's ASE calculator / blocks AOTInductor, {atoms} atoms", "", ase, mine)


def _outside(whole: list[dict]) -> Iterator[dict]:
    """Share of the time that is not the model's."""
    for rows in groups(whole, ("name", "atoms", "threads")).values():
        first = rows[0]
        if first["name"].startswith("blocks") and first["threads"] == 1:
            share = median(1 - r["model"] / r["engine"] for r in rows)
            what = f"outside of the model, {first['name'][8:]}, {first['atoms']} atoms"
            yield _row(what, "< 0.03 at 432 atoms and more", share)


def _variants(whole: list[dict]) -> Iterator[dict]:
    """Models for energies alone, and models of a fixed shape."""
    for kind in _KINDS:
        yield _both(
            f"energy alone / energy and forces, {kind}",
            "< 0.5",
            pick(whole, name=f"energy: {kind}"),
            pick(whole, name=f"blocks: {kind}", atoms=432, threads=1),
        )
    yield _both(
        "fixed shape / any shape, AOTInductor by the compiler's kernels, a block of 64",
        "< 1 to be kept",
        pick(whole, name="static: AOTInductor"),
        pick(whole, name="dynamic: AOTInductor"),
    )


def _in_lammps(md: list[dict], kind: str) -> Iterator[dict]:
    """Growth of time and memory with size, and the original pair style."""
    mine = pick(md, name=kind, ranks=1, threads=1)
    sizes = sorted({row["atoms"] for row in mine})
    for atoms in sizes[1:]:
        yield _both(
            f"time per atom, {atoms} / {sizes[0]} atoms, LAMMPS, {kind}",
            "0.95 to 1.05",
            pick(mine, atoms=atoms),
            pick(mine, atoms=sizes[0]),
        )
    none = pick(md, name="no model")
    if len(sizes) > 1 and none:
        yield _row(
            f"bytes of memory per atom beyond LAMMPS' own, {kind}",
            "< 3000",
            _memory(mine, sizes) - _memory(none, sizes),
        )
    for atoms in sizes:
        without = pick(md, name=_WITHOUT, atoms=atoms)
        if kind == "AOTInductor" and without:
            what = f"compiler's kernels / ours, LAMMPS, {kind}, {atoms} atoms"
            yield _both(what, "", without, pick(mine, atoms=atoms))
        style = pick(md, name=f"pair_allegro, {kind}", atoms=atoms)
        what = f"pair_allegro / allegro_legato, LAMMPS, {kind}, {atoms} atoms"
        if style:
            yield _both(what, "", style, pick(mine, atoms=atoms))


def _in_parallel(mine: list[dict]) -> Iterator[dict]:
    """One rank or thread against two."""
    for name, least, wanted in (("ranks", 1.9, {"ranks": 2}), ("threads", 1.8, {"threads": 2})):
        yield _both(
            f"1 / 2 {name}, LAMMPS, AOTInductor, 3456 atoms",
            f">= {least} (wall); 1 (cpu)",
            pick(mine, ranks=1, threads=1),
            undisturbed(pick(mine, **wanted)),
        )


def _memory(rows: list[dict], sizes: list[int]) -> float:
    small, large = (median(r["memory"] for r in pick(rows, atoms=n)) for n in (sizes[0], sizes[-1]))
    return (large - small) / (sizes[-1] - sizes[0])
