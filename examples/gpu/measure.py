"""Compare forces of a GPU with those of a CPU, and measure speed. check.sh runs all of this.

    python measure.py agreement --lmp LMP --plugin FOLDER --work FOLDER --out FILE MODEL...
    python measure.py hard      --lmp LMP --plugin FOLDER --work FOLDER --out FILE MODEL...
    python measure.py speed     --lmp LMP --plugin FOLDER --work FOLDER --out FILE MODEL...
    python measure.py graph     --out FILE MODEL...

``hard`` is ``agreement`` with small blocks and too little memory. MODEL are deployed files; for
these two the first one must be TorchScript, which runs on a CPU too.
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
from runs import START, lammps, pair_style

from nequip_legato.files import write_atomically

# eV, eV/A and bar: float32 models, whose sums a GPU makes in another order
TOLERANCES = {"energy": 1e-5, "forces": 2e-4, "pressure": 2.0}
RIVAL = "pair_allegro"


def ways_of(chosen: argparse.Namespace) -> list[dict]:
    """Ways to run models: ``name``, keywords of the pair style (``pair``), ``kokkos``."""
    ways = [{"name": "plain", "pair": f"device {chosen.device}", "kokkos": False}]
    return [{"name": "kk", "pair": "", "kokkos": True}, *ways] if chosen.kokkos else ways


def hard_ways_of(chosen: argparse.Namespace) -> list[dict]:
    """Ways that must give the same forces too: small blocks, and too little memory."""
    ways = ways_of(chosen)
    small_blocks = [
        way | {"name": f"{way['name']} small blocks", "pair": f"{way['pair']} block 100 threads 2"}
        for way in ways[:1]
    ]
    if chosen.device == "cpu":
        return small_blocks
    return small_blocks + [
        way | {"name": f"{way['name']} little memory", "little": True} for way in ways
    ]


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
        how = {"kokkos": way["kokkos"], "repeat": 2, "environment": environment}
        return lammps(chosen, name, pair, **how)

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
    cases = []
    for repeat in chosen.repeats:
        for way in ways_of(chosen):
            for model in chosen.models:
                name = f"{model.name} {way['name']}"
                cases.append((name, pair_style(model, way["pair"]), way["kokkos"], repeat))
        for model in chosen.rivals:
            pair = f"pair_style allegro\npair_coeff * * {model} H N\n"
            cases.append((f"{RIVAL} {model.name}", pair, bool(chosen.kokkos), repeat))
        if repeat == chosen.repeats[0] and chosen.kokkos:
            for block in chosen.blocks:
                for model in chosen.models:
                    pair = pair_style(model, f"block {block}")
                    cases.append((f"{model.name} kk block {block}", pair, True, repeat))
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
                run = lammps(chosen, name, pair, kokkos=kokkos, repeat=repeat, steps=10, lmp=lmp)
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


def ammonia_block(repeat: int, cutoff: float, device: str):
    """All atoms of the example's box as one block: the inputs of a deployed model in order."""
    import torch
    from ase.io import read
    from matscipy.neighbours import neighbour_list

    style = {"format": "lammps-data", "atom_style": "atomic", "Z_of_type": {1: 1, 2: 7}}
    atoms = read(START, **style).repeat(repeat)
    atoms.pbc = True
    types = torch.as_tensor((atoms.numbers == 7).astype(np.int64))
    center, neighbor, vectors = neighbour_list("ijD", atoms=atoms, cutoff=cutoff)
    n = len(atoms)
    neighbor = torch.as_tensor(neighbor.astype(np.int64))
    edge_index = torch.stack([torch.as_tensor(center.astype(np.int64)), n + types[neighbor]])
    nodes = torch.cat([types, torch.arange(2)])
    inputs = [torch.zeros(n + 2, 3, dtype=torch.float64), edge_index, nodes]
    return [tensor.to(device) for tensor in (*inputs, torch.as_tensor(vectors))]


def graph(chosen: argparse.Namespace) -> int:
    """Time of a block of fixed shape, also as a CUDA graph, which launches all kernels at once."""
    import torch

    from nequip_legato import deploy

    def seconds(call) -> float:
        for _ in range(3):
            call()
        if chosen.device == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(chosen.calls):
            call()
        if chosen.device == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - started) / chosen.calls

    rows = []
    for path in chosen.models:
        cutoff = float(deploy.info(path).entries["r_max"])
        if path.name.endswith(".pth"):
            script = torch.jit.load(path, map_location=chosen.device)
            names = ("pos", "edge_index", "atom_types", "edge_vectors")

            def model(inputs, script=script, names=names):
                return script(dict(zip(names, inputs, strict=True)))
        else:
            model = torch._inductor.aoti_load_package(str(path))
        for repeat in chosen.repeats:
            inputs = ammonia_block(repeat, cutoff, chosen.device)
            row = {"model": path.name, "atoms": len(inputs[2]) - 2, "edges": len(inputs[3])}
            row["seconds"] = seconds(lambda m=model, i=inputs: m(i))
            if chosen.device == "cuda":
                try:
                    captured = torch.cuda.CUDAGraph()
                    with torch.cuda.graph(captured):
                        model(inputs)
                    row["graph_seconds"] = seconds(captured.replay)
                except RuntimeError as problem:
                    row["graph_error"] = str(problem).splitlines()[0]
            rows.append(row)
            print(row, flush=True)
    write_atomically(chosen.out, json.dumps(rows, indent=2))
    return 0


def main() -> int:
    """Parse and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["agreement", "hard", "speed", "graph"])
    parser.add_argument("models", nargs="+", type=lambda word: Path(word).absolute())
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--lmp", type=lambda word: Path(word).absolute())
    parser.add_argument("--plugin", type=Path)
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
    parser.add_argument("--blocks", type=int, nargs="*", default=[1024, 4096, 16384])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="limit of `speed`")
    parser.add_argument(
        "--kokkos",
        metavar="WORDS",
        help="options after -k on; default for cuda: g 1, for cpu: no Kokkos",
    )
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"], help="cpu: as a test")
    chosen = parser.parse_args()
    if chosen.what != "graph" and (chosen.lmp is None or chosen.plugin is None):
        parser.error(f"{chosen.what} needs --lmp and --plugin")
    if bool(chosen.rivals) != (chosen.pair_allegro is not None):
        parser.error("--pair-allegro and --rivals need each other")
    if chosen.repeats is None:
        chosen.repeats = [1, 2] if chosen.what == "graph" else [6, 2, 12, 1, 4, 20]
    if chosen.kokkos is None:
        chosen.kokkos = "g 1" if chosen.device == "cuda" else ""
    measures = {"agreement": agreement, "hard": agreement, "speed": speed, "graph": graph}
    return measures[chosen.what](chosen)


if __name__ == "__main__":
    sys.exit(main())
