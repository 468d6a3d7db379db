"""A table of what check.sh has measured so far.

python table.py FOLDER [--out FILE]
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import median

from nequip_legato.files import write_atomically

__all__ = ["main", "table"]


def _read(path: Path):
    return json.loads(path.read_text()) if path.is_file() else None


def _steps(folder: Path) -> list[tuple[str, str, str]]:
    path = folder / "steps.tsv"
    rows = [line.split("\t") for line in path.read_text().splitlines()] if path.is_file() else []
    return [(f"step {name}", f"{seconds} s", status) for name, status, seconds in rows]


def _agreement(folder: Path) -> list[tuple[str, str, str]]:
    rows = []
    for path in sorted(folder.glob("agreement*.json")):
        for row in _read(path)["rows"]:
            found = row.get("error") or f"{row['forces']:.1e} eV/A"
            rows.append((f"forces, {row['name']}", found, "passed" if row["passed"] else "FAILED"))
    return rows


def _speed(folder: Path) -> list[tuple[str, str, str]]:
    content = _read(folder / "speed.json") or {"rows": [], "fastest": []}
    runs: dict[tuple[int, str], list[dict]] = {}
    for row in content["rows"]:
        runs.setdefault((432 * row["repeat"] ** 3, row["name"]), []).append(row)
    rows = []
    for (atoms, name), of_case in runs.items():
        speeds = [row["atom_steps_per_s"] for row in of_case if "wall" in row]
        errors = [row["error"] for row in of_case if "error" in row]
        found = f"{median(speeds) / 1000:,.0f} k atom-steps/s" if speeds else errors[0]
        rows.append((f"speed, {atoms:,} atoms, {name}", found, f"{len(speeds)} of {len(of_case)}"))
    for best in content["fastest"]:
        if "ratio" in best:
            what = f"{best['theirs']} over {best['ours']}, {best['atoms']:,} atoms"
            rows.append((f"time of {what}", f"{best['ratio']:.2f}", ""))
    return rows


def _training(folder: Path) -> list[tuple[str, str, str]]:
    return [
        (
            f"training step, {row['model']}, {row['batch']} frames",
            f"{1000 * row['plain']:.1f} ms, SAM {1000 * row['SAM']:.1f} ms",
            f"ratio {row['ratio']:.2f}",
        )
        for row in _read(folder / "training.json") or []
    ]


def _alone(folder: Path) -> list[tuple[str, str, str]]:
    rows = []
    for row in _read(folder / "alone.json") or []:
        found = f"{1000 * row['seconds']:.2f} ms"
        if "graph_seconds" in row:
            found += f", as a CUDA graph {1000 * row['graph_seconds']:.2f} ms"
        what = f"one block of {row['atoms']:,} atoms, {row['model']}"
        rows.append((what, found, row.get("graph_error", "")))
        for kernel in row["kernels"][:5]:
            launched = f"{kernel['launches']:.0f} launches"
            rows.append((f"of it {kernel['name'][:60]}", f"{kernel['ms']:.3f} ms", launched))
    return rows


def table(folder: Path) -> str:
    """A Markdown table: what was measured, result, remark."""
    lines = ["| measured | result | |", "| --- | --- | --- |"]
    for part in (_agreement, _speed, _training, _alone, _steps):
        for row in part(folder):
            lines.append("| " + " | ".join(" ".join(word.split()) for word in row) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Parse the options, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    text = table(chosen.folder)
    print(text, end="")
    if chosen.out:
        write_atomically(chosen.out, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
