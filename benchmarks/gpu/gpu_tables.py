"""Tables and the picture of the measurements on a GPU.

    python gpu_tables.py

reads h100_lammps.json (today's figures), h200.json (the first ones) and h100.json (kernels); writes
h100.md, tables.md, kernels.md and speed.png.
"""

import argparse
import json
from pathlib import Path
from statistics import median

import matplotlib
import numpy as np

from nequip_legato.files import write_atomically

matplotlib.use("Agg")
import matplotlib.pyplot as plt

__all__ = ["fit", "kernel_tables", "lammps_tables", "series", "speeds", "tables"]

HERE = Path(__file__).parent.absolute()
MODELS = {"S": "small", "M": "medium"}
NAMES = (
    "S is the small model and M the medium one; `_triton` is Allegro's own Triton contraction, "
    "`.pt2` AOTInductor and `.pth` TorchScript; ours is `allegro_legato` and peer `pair_allegro`, "
    "kk with Kokkos and plain without; block N is the largest number of atoms evaluated at once."
)
STYLES = {"ours": "allegro_legato/kk", "peer": "pair_allegro/kk"}


def series(content: dict, style: str, file: str) -> dict[int, float]:
    """Atoms -> seconds per step, of a style (``ours`` or ``peer``) and a file, by Kokkos."""
    name = f"{style} {file} kk"
    return {r["atoms"]: r["wall"] for r in content["rows"] if r["name"] == name and "wall" in r}


def fit(content: dict) -> tuple[float, float]:
    """Small model: seconds per atom, and seconds of a step that do not depend on the atoms.

    Least squares of relative deviations, so that small and large systems count alike.
    """
    found = series(content, "ours", "S.pt2")
    atoms, walls = np.array(list(found)), np.array(list(found.values()))
    columns = np.stack([atoms / walls, 1 / walls], axis=1)
    (per_atom, fixed), *_ = np.linalg.lstsq(columns, np.ones(len(atoms)), rcond=None)
    return float(per_atom), float(fixed)


def _speed(atoms: int, seconds: float | None) -> str:
    return "out of memory" if seconds is None else f"{atoms / seconds / 1000:,.0f}"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def tables(content: dict) -> str:
    """Markdown: speed for sizes, blocks, styles and files."""
    lines = ["# Speed on a GPU", "", _sentence(content["machine"]), "", f"{content['what']}.", ""]
    lines += ["1,000 atom-steps per second. AOTInductor unless another file is named.", ""]
    lines += ["| model | atoms | " + " | ".join(STYLES.values()) + " | ratio |"]
    lines += ["| --- | ---: | ---: | ---: | ---: |"]
    for key, model in MODELS.items():
        ours, peer = (series(content, style, f"{key}.pt2") for style in STYLES)
        for atoms in sorted(ours):
            theirs = peer.get(atoms)
            ratio = "" if theirs is None else f"{theirs / ours[atoms]:.2f}"
            cells = [model, f"{atoms:,}", _speed(atoms, ours[atoms]), _speed(atoms, theirs), ratio]
            lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "## Blocks, other files and styles", "", NAMES, ""]
    lines += ["| | atoms | 1,000 atom-steps per second |", "| --- | ---: | ---: |"]
    shown = {f"{style} {key}.pt2 kk" for style in STYLES for key in MODELS}
    others = [r for r in content["rows"] if r["name"] not in shown]
    for row in others + content["torchscript_other_run"]:
        if "atoms" in row:
            lines.append(f"| {row['name']} | {row['atoms']:,} | {row['katom_steps_s']:,.0f} |")
    for said in sorted({f"{r['name']}: {r['error']}" for r in others if "error" in r}):
        lines.append(f"| {said} | | |")
    per_atom, fixed = fit(content)
    training = content["training_step_ms"]
    lines += [
        "",
        f"A step of the small model takes {1e3 * fixed:.2f} ms and {1e6 * per_atom:.3f} µs per "
        "atom (least squares).",
        "",
        f"Training step ({training['model']}): plain {training['plain']:.1f} ms, SAM "
        f"{training['SAM rho 0.005']:.1f} ms, ratio {training['ratio']:.2f}.",
        "",
        "## Deviations from the CPU",
        "",
        "3,456 atoms, float32; a run with too little memory passes only if a block did not fit.",
        "",
        "| | force (eV/Å) | energy (eV per atom) | pressure (bar) | blocks that did not fit | |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in content["agreement"]["rows"]:
        passed = "passed" if row["passed"] else "nothing was seen"
        numbers = f"{row['forces']:.1e} | {row['energy']:.1e} | {row['pressure']:.1e}"
        lines.append(f"| {row['name']} | {numbers} | {row['warnings']} | {passed} |")
    return "\n".join(lines) + "\n"


def kernel_tables(content: dict) -> str:
    """Markdown: time of evaluations by kind of kernel, and pair_allegro/kk on the same card."""
    lines = ["# With kernels of our own", "", _sentence(content["machine"]), ""]
    lines += [f"{content['evaluations_what']}.", ""]
    lines += [
        "| model | | ms | fastest | launches | ms by kinds of kernels | off by (eV/Å) |",
        "| --- | --- | ---: | ---: | ---: | --- | ---: |",
    ]
    for row in sorted(content["evaluations"], key=lambda row: row["model"] == "medium"):
        kinds = sorted(row["kinds_ms"].items(), key=lambda item: -item[1])
        shown = ", ".join(f"{kind} {ms:.1f}" for kind, ms in kinds)
        cells = [f"{row['model']}, {row['atoms']:,} atoms", row["variant"], f"{row['ms']:.1f}"]
        cells += [f"{row['fastest_ms']:.1f}", str(row["launches"]), shown]
        lines.append("| " + " | ".join([*cells, f"{row['force_deviation']:.1e}"]) + " |")
    lines += ["", "## pair_allegro on the same card", "", f"{content['pair_allegro_what']}.", ""]
    lines += ["| model | atoms | 1,000 atom-steps per second |", "| --- | ---: | ---: |"]
    runs: dict[tuple[str, int], list[dict]] = {}
    for row in content["pair_allegro"]:
        runs.setdefault((row["model"], row["atoms"]), []).append(row)
    for (model, atoms), rows in sorted(
        runs.items(), key=lambda item: (item[0][0] != "small", item)
    ):
        said = [f"{r['katom_steps_s']:,.0f}" if "katom_steps_s" in r else r["error"] for r in rows]
        lines.append(f"| {model} | {atoms:,} | {', '.join(dict.fromkeys(said))} |")
    return "\n".join(lines) + "\n"


def speeds(content: dict, name: str) -> dict[int, list[float]]:
    """Atoms -> 1,000 atom-steps per second of each run of h100_lammps.json that ended."""
    found: dict[int, list[float]] = {}
    for row in content["speed"]:
        if row["name"] == name and "wall" in row:
            found.setdefault(row["atoms"], []).append(row["atoms"] / row["wall"] / 1000)
    return dict(sorted(found.items()))


def lammps_tables(content: dict) -> str:
    """Markdown: speed in LAMMPS against pair_allegro/kk, other files, blocks, deviations."""
    lines = ["# Speed in LAMMPS on an H100", "", _sentence(content["machine"]), ""]
    lines += [f"{content['what']}. {_sentence(content['files'])}", ""]
    lines += ["1,000 atom-steps per second, of each run.", ""]
    lines += ["| model | atoms | allegro_legato/kk | pair_allegro/kk | ratio of the medians |"]
    lines += ["| --- | ---: | ---: | ---: | ---: |"]
    for model in MODELS.values():
        ours = speeds(content, f"{model}.nequip.pt2 kk")
        theirs = speeds(content, f"pair_allegro rival_{model}.nequip.pt2")
        for atoms, found in ours.items():
            peer = theirs.get(atoms, [])
            ratio = f"{median(found) / median(peer):.2f}" if peer else ""
            shown = [", ".join(f"{x:,.0f}" for x in runs) or "failed" for runs in (found, peer)]
            lines.append(f"| {model} | {atoms:,} | {shown[0]} | {shown[1]} | {ratio} |")
    lines += ["", "## Other files, styles and blocks", "", "| | atoms | |", "| --- | ---: | ---: |"]
    shown_already = [f"{m}.nequip.pt2 kk" for m in MODELS.values()]
    shown_already += [f"pair_allegro rival_{m}.nequip.pt2" for m in MODELS.values()]
    for name in dict.fromkeys(row["name"] for row in content["speed"]):
        if name in shown_already:
            continue
        for atoms in dict.fromkeys(r["atoms"] for r in content["speed"] if r["name"] == name):
            runs = speeds(content, name).get(atoms, [])
            errors = [r["error"] for r in content["speed"] if r["name"] == name and "error" in r]
            cell = ", ".join(f"{x:,.0f}" for x in runs) or errors[0]
            lines.append(f"| {name} | {atoms:,} | {cell} |")
    lines += ["", "## Deviations from the CPU", "", "3,456 atoms, float32.", ""]
    lines += ["| | force (eV/Å) | energy (eV per atom) | pressure (bar) |"]
    lines += ["| --- | ---: | ---: | ---: |"]
    for row in content["agreement"]:
        numbers = " | ".join(f"{row[key]:.1e}" for key in ("forces", "energy", "pressure"))
        lines.append(f"| {row['name']} | {numbers} |")
    return "\n".join([*lines, "", f"{content['not_passed']}.", ""])


def plot(content: dict, path: Path) -> None:
    """Speed against number of atoms."""
    figure, axes = plt.subplots(figsize=(6, 3.6), constrained_layout=True)
    for color, model in zip(("C0", "C1"), MODELS.values(), strict=True):
        names = (f"{model}.nequip.pt2 kk", f"pair_allegro rival_{model}.nequip.pt2")
        for name, style, marker in zip(names, STYLES.values(), ("o-", "s--"), strict=True):
            found = speeds(content, name)
            rates = [median(runs) / 1000 for runs in found.values()]
            axes.plot(list(found), rates, marker, color=color, label=f"{style}, {model} model")
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="atoms on one H100",
        ylabel="million atom-steps per second",
    )
    axes.grid(alpha=0.3, which="both")
    figure.legend(fontsize=8, loc="outside upper center", ncols=2)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Read and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=HERE / "h200.json")
    parser.add_argument("--lammps", type=Path, default=HERE / "h100_lammps.json")
    parser.add_argument("--kernels", type=Path, default=HERE / "h100.json")
    parser.add_argument("--out", type=Path, default=HERE)
    chosen = parser.parse_args()
    content = json.loads(chosen.results.read_text())
    text = tables(content)
    write_atomically(chosen.out / "tables.md", text)
    of_kernels = kernel_tables(json.loads(chosen.kernels.read_text()))
    write_atomically(chosen.out / "kernels.md", of_kernels)
    today = json.loads(chosen.lammps.read_text())
    in_lammps = lammps_tables(today)
    write_atomically(chosen.out / "h100.md", in_lammps)
    plot(today, chosen.out / "speed.png")
    print(in_lammps + text + of_kernels)


if __name__ == "__main__":
    main()
