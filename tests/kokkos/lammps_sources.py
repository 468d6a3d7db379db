"""Which files of a LAMMPS source tree the tests' LAMMPS can do without.

LAMMPS compiles every style it finds: 540 files, half an hour on two free cores. A style is known to
LAMMPS by a line in its header, so one whose files are empty is simply not there.
"""

import re
from pathlib import Path

__all__ = ["leave_out", "unused_files"]

# Every header with a style in it is read twice, the first time for this line.
_STYLE = re.compile(r"^#ifdef \w+_CLASS$", re.MULTILINE)
# What the tests' inputs name and LAMMPS makes by itself, beside what other kept files include.
_WANTED = {
    word
    for line in (
        "atom_vec_atomic atom_vec_bond",
        "balance create_box displace_atoms info minimize plugin read_data replicate run velocity",
        "write_dump",
        "bond_zero",
        "compute_centroid_stress_atom compute_pair compute_pe compute_pe_atom compute_pressure",
        "compute_reduce compute_stress_atom compute_temp",
        "dump_custom",
        "fix_halt fix_minimize fix_nve",
        "min_cg min_linesearch",
        "nbin nbin_standard npair npair_bin npair_copy npair_halffull npair_nsq npair_skip",
        "npair_trim nstencil_bin",
        *(
            f"ntopo_{kind}_{which}"
            for kind in ("angle", "bond", "dihedral", "improper")
            for which in ("all", "partial", "template")
        ),
        "pair_hybrid pair_hybrid_overlay pair_lj_cut pair_zero",
        "region_block",
        "verlet",
    )
    for word in line.split()
}
_CLASS = re.compile(r"^\s*class (\w+)\s*:", re.MULTILINE)
_WORD = re.compile(r"\w+")
_INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)\.h"', re.MULTILINE)


def unused_files(sources: Path, packages: list[str]) -> list[Path]:
    """Files of styles that neither the tests nor any other kept file need.

    Args:
        sources: LAMMPS' folder ``src``.
        packages: folders of ``sources`` that are compiled too.
    """
    files = [p for folder in ("", *packages) for p in (sources / folder).glob("*.*")]
    files = [p for p in files if p.suffix in (".h", ".cpp")]
    by_stem: dict[str, list[Path]] = {}
    for path in files:
        by_stem.setdefault(path.stem, []).append(path)
    waiting = [
        stem
        for stem in by_stem
        if not _is_style(by_stem[stem]) or stem.removesuffix("_kokkos") in _WANTED
    ]
    classes = _style_classes(by_stem)
    kept = set(waiting)
    while waiting:
        for path in by_stem[waiting.pop()]:
            text = path.read_text(errors="replace")
            needed = set(_INCLUDE.findall(text))
            if any(stem.startswith("style_") for stem in needed):  # lists of all styles' headers
                needed |= {classes[word] for word in set(_WORD.findall(text)) & classes.keys()}
            for stem in needed:
                if stem in by_stem and stem not in kept:
                    kept.add(stem)
                    waiting.append(stem)
    return sorted(path for stem in by_stem.keys() - kept for path in by_stem[stem])


def _style_classes(by_stem: dict[str, list[Path]]) -> dict[str, str]:
    """Name of each style's class -> stem of the files it is in."""
    return {
        name: stem
        for stem, files in by_stem.items()
        if _is_style(files)
        for path in files
        if path.suffix == ".h"
        for name in _CLASS.findall(path.read_text(errors="replace"))
    }


def _is_style(files: list[Path]) -> bool:
    return any(p.suffix == ".h" and _STYLE.search(p.read_text(errors="replace")) for p in files)


def leave_out(sources: Path, packages: list[str]) -> int:
    """Empty these files (LAMMPS' CMake names some of them); returns how many there are."""
    unused = unused_files(sources, packages)
    for path in unused:
        path.write_text("")
    return len(unused)
