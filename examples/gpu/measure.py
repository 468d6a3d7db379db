"""Compare forces of a GPU with those of a CPU, and measure speed. check.sh runs all of this.

    python measure.py agreement --lmp LMP --plugin FOLDER --work FOLDER --out FILE MODEL...
    python measure.py hard      --lmp LMP --plugin FOLDER --work FOLDER --out FILE MODEL...
    python measure.py speed     --lmp LMP --plugin FOLDER --work FOLDER --out FILE MODEL...

``hard`` is ``agreement`` with small blocks, two ranks, and too little memory. MODEL are deployed
files; for these two the first one must be TorchScript, which runs on a CPU too.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from memory import TRIALS, little_memory, measured
from runs import lammps, pair_style

from nequip_legato.files import write_atomically

# eV, eV/A and bar: float32 models, whose sums a GPU makes in another order
TOLERANCES = {"energy": 1e-5, "forces": 2e-4, "pressure": 2.0}
RIVAL = "pair_allegro"
FEW_ATOMS = 300_000
"""Steps times atoms of a run that measures speed: at least 10 steps, at most 200."""


def ways_of(chosen: argparse.Namespace) -> list[dict]:
    """Ways to run models: ``name``, keywords of the pair style (``pair``), ``kokkos``."""
    ways = [{"name": "plain", "pair": f"device {chosen.device}", "kokkos": False}]
    return [{"name": "kk", "pair": "", "kokkos": True}, *ways] if chosen.kokkos else ways


def hard_ways_of(chosen: argparse.Namespace) -> list[dict]:
    """Ways that must give the same forces too: small blocks, two ranks, too little memory."""
    ways = ways_of(chosen)
    first = ways[0]
    small_blocks = {"pair": f"{first['pair']} block 100 threads 2"}
    hard = [first | small_blocks | {"name": f"{first['name']} small blocks"}]
    if chosen.mpiexec:
        hard.append(first | {"name": f"{first['name']} two ranks", "ranks": 2})
    if chosen.device == "cpu":
        return hard
    return hard + [way | {"name": f"{way['name']} little memory", "little": True} for way in ways]


def run_with_little_memory(run: Callable[[dict[str, str]], dict], model: Path, device: str) -> dict:
    """Run with so little memory for torch that the first block of this model does not fit.

    Args:
        run: environment -> result of :func:`lammps`.
        model: deployed file.
        device: where it runs.

    Raises:
        RuntimeError: if LAMMPS fails.
    """
    import torch

    took = measured(model, device)
    total = torch.cuda.get_device_properties(0).total_memory
    for trial in range(TRIALS):
        limit = little_memory(took, trial)
        fraction = f"per_process_memory_fraction:{limit / total:.8f}"
        result = run({"PYTORCH_ALLOC_CONF": fraction})
        result |= {"took": took, "limit": limit}
        if result["warnings"]:
            break
    return result


def compared(chosen: argparse.Namespace, model: Path, way: dict, reference: dict) -> dict:
    """A row of :func:`agreement`."""
    name = f"{model.name} {way['name']}"
    row: dict = {"name": name}

    def run(environment: dict[str, str]) -> dict:
        pair = pair_style(model, way["pair"])
        how = {"kokkos": way["kokkos"], "repeat": 2, "ranks": way.get("ranks", 1)}
        return lammps(chosen, name, pair, environment=environment, **how)

    try:
        little = way.get("little")
        found = run_with_little_memory(run, model, chosen.device) if little else run({})
    except RuntimeError as problem:
        return row | {"error": str(problem), "passed": False}
    row["warnings"] = len(found["warnings"])
    row |= {key: found[key] for key in ("took", "limit") if key in found}
    for what in TOLERANCES:
        row[what] = float(np.abs(found[what] - reference[what]).max())
    row["passed"] = all(row[what] <= limit for what, limit in TOLERANCES.items())
    if little and not row["warnings"]:
        row["passed"] = False  # memory was sufficient, so nothing has been tested
    return row


def agreement(chosen: argparse.Namespace) -> int:
    """Compare all ways, or all hard ways, with the plain style on the CPU, for 3,456 atoms."""
    on_cpu = pair_style(chosen.models[0], "device cpu")
    reference = lammps(chosen, "cpu", on_cpu, kokkos=False, repeat=2)
    rows: list[dict] = []
    for model in chosen.models:
        for way in hard_ways_of(chosen) if chosen.what == "hard" else ways_of(chosen):
            rows.append(compared(chosen, model, way, reference))
            print(rows[-1], flush=True)
            content = {"tolerances": TOLERANCES, "rows": rows}
            write_atomically(chosen.out, json.dumps(content, indent=2))
    return int(not all(row["passed"] for row in rows))


def speed(chosen: argparse.Namespace) -> int:
    """Time of a step for different numbers of atoms, block sizes, styles and files.

    Each round has all cases, the most important first; ``--seconds`` limits the time.
    """
    started = time.monotonic()
    first_repeat = chosen.repeats[0]
    first_way, *other_ways = ways_of(chosen)
    cases = []

    def add(model: Path, way: dict, repeat: int) -> None:
        cases.append(
            (f"{model.name} {way['name']}", pair_style(model, way["pair"]), way["kokkos"], repeat)
        )

    for repeat in chosen.repeats:
        few = None if repeat == first_repeat else chosen.everywhere
        for model in chosen.models[:few]:
            add(model, first_way, repeat)
        for model in chosen.rivals[:few]:
            pair = f"pair_style allegro\npair_coeff * * {model} H N\n"
            cases.append((f"{RIVAL} {model.name}", pair, bool(chosen.kokkos), repeat))
    # what is asked less often: other ways, and small blocks
    blocks = [
        first_way | {"name": f"{first_way['name']} block {block}", "pair": f"block {block}"}
        for block in chosen.blocks
        if chosen.kokkos
    ]
    for way in other_ways + blocks:
        for model in chosen.models[: chosen.everywhere]:
            add(model, way, first_repeat)
    rows: list[dict] = []
    best: list[dict] = []
    for number in range(chosen.rounds):
        for name, pair, kokkos, repeat in cases:
            if time.monotonic() - started > chosen.seconds:
                print(f"left out for lack of time: {name}, round {number}", flush=True)
                continue
            lmp = chosen.pair_allegro if name.startswith(RIVAL) else None
            row = {"name": name, "round": number, "repeat": repeat}
            try:
                steps = min(200, max(10, FEW_ATOMS // (432 * repeat**3)))
                run = lammps(chosen, name, pair, kokkos=kokkos, repeat=repeat, steps=steps, lmp=lmp)
                row |= {key: run[key] for key in ("atoms", "wall", "energy")}
                row["atom_steps_per_s"] = row["atoms"] / row["wall"]
            except RuntimeError as problem:
                row["error"] = str(problem)
            rows.append(row)
            print(row, flush=True)
            best = fastest(rows)
            write_atomically(chosen.out, json.dumps({"rows": rows, "fastest": best}, indent=2))
    for row in best:
        print(row, flush=True)
    return 0


def fastest(rows: list[dict]) -> list[dict]:
    """For each number of atoms, the fastest of our ways and of pair_allegro by median wall time.

    Returns:
        ``atoms``, ``ours``, ``theirs`` (names), ``wall`` (seconds per step), and ``ratio``, their
        time over ours, the median of the ratios within a round.
    """
    done = [row for row in rows if "wall" in row]
    found = []
    for atoms in sorted({row["atoms"] for row in done}):
        walls: dict[str, dict[int, float]] = {}
        for row in done:
            if row["atoms"] == atoms:
                walls.setdefault(row["name"], {})[row["round"]] = row["wall"]
        ranked = sorted(walls, key=lambda name: median(walls[name].values()))
        ours = next((name for name in ranked if not name.startswith(RIVAL)), None)
        theirs = next((name for name in ranked if name.startswith(RIVAL)), None)
        if ours is None:
            continue
        best = {"atoms": atoms, "ours": ours, "wall": median(walls[ours].values())}
        rounds = walls[ours].keys() & walls.get(theirs, {}).keys()
        if rounds:
            ratio = median(walls[theirs][n] / walls[ours][n] for n in rounds)
            best |= {"theirs": theirs, "ratio": ratio}
        found.append(best)
    return found


def main() -> int:
    """Parse and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["agreement", "hard", "speed"])
    parser.add_argument("models", nargs="+", type=lambda word: Path(word).absolute())
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--lmp", type=lambda word: Path(word).absolute(), required=True)
    parser.add_argument("--plugin", type=Path, required=True)
    parser.add_argument("--work", type=lambda word: Path(word).absolute(), default=Path.cwd())
    parser.add_argument(
        "--pair-allegro",
        type=lambda word: Path(word).absolute(),
        metavar="LMP",
        help="a LAMMPS with pair_style allegro",
    )
    parser.add_argument(
        "--rivals",
        nargs="+",
        default=[],
        type=lambda word: Path(word).absolute(),
        metavar="FILE",
        help="models that nequip-compile made for it",
    )
    parser.add_argument(
        "--repeats", type=int, nargs="+", help="n of 432 n^3 atoms, the most important first"
    )
    parser.add_argument(
        "--everywhere",
        type=int,
        default=2,
        metavar="N",
        help="the first N models (and rivals) are run for all sizes, ways and blocks, all others "
        "only for the first size",
    )
    parser.add_argument("--blocks", type=int, nargs="*", default=[1024, 4096, 16384])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="limit of `speed`")
    parser.add_argument(
        "--mpiexec",
        type=lambda word: Path(word).absolute(),
        help="of the MPI of LMP, to run two ranks as well",
    )
    parser.add_argument(
        "--kokkos",
        metavar="WORDS",
        help="options after -k on; default for cuda: g 1, for cpu: no Kokkos",
    )
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"], help="cpu: as a test")
    chosen = parser.parse_args()
    if bool(chosen.rivals) != (chosen.pair_allegro is not None):
        parser.error("--pair-allegro and --rivals need each other")
    if chosen.repeats is None:
        chosen.repeats = [6, 2, 12, 1, 4, 20]
    if chosen.kokkos is None:
        chosen.kokkos = "g 1" if chosen.device == "cuda" else ""
    return speed(chosen) if chosen.what == "speed" else agreement(chosen)


if __name__ == "__main__":
    sys.exit(main())
