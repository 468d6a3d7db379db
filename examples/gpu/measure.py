"""What a GPU gives: the same forces as a CPU? How fast? See check.sh, which runs all of this.

    python measure.py agreement --lmp LMP --plugin FOLDER --work FOLDER --out FILE MODEL...
    python measure.py speed     --lmp LMP --plugin FOLDER --work FOLDER --out FILE MODEL...
    python measure.py graph     --out FILE MODEL...

MODEL are deployed files; the first one of ``agreement`` is TorchScript, which runs on a CPU too.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

from nequip_legato.files import write_atomically

HERE = Path(__file__).parent.absolute()
BENCH = HERE.parents[1] / "benchmarks" / "md"
START = HERE.parent / "nh3" / "data" / "start_432.data"
# eV, eV/A and bar: float32 models, whose sums a GPU makes in another order
TOLERANCES = {"energy": 1e-5, "forces": 2e-4, "pressure": 2.0}
# bytes; less than a first block of 2,048 atoms takes
LITTLE_MEMORY = 0.6e9
RIVAL = "pair_allegro"
KOKKOS = ["-k", "on", "g", "1", "-sf", "kk", "-pk", "kokkos", "newton", "on", "neigh", "half"]
LOOK = """
compute vir all pressure NULL virial
thermo_style custom step c_vir
thermo_modify format float %.10g
run 0
write_dump all custom forces.txt id fx fy fz modify sort id format float %.9g
"""


def lammps(
    chosen: argparse.Namespace,
    name: str,
    pair: str,
    *,
    kokkos: bool,
    repeat: int = 1,
    steps: int = 0,
    lmp: Path | None = None,
    environment: dict[str, str] | None = None,
) -> dict:
    """Run benchmarks/md/in.bench, ammonia of 432 repeat^3 atoms.

    Returns:
        ``atoms``, ``energy`` (eV an atom), ``wall`` (seconds a step), ``warnings``; without steps
        also ``forces`` (n, 3) in eV/A and ``pressure`` of the virial in bar.

    Raises:
        RuntimeError: if LAMMPS fails.
    """
    folder = chosen.work / name.replace(" ", "_")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pair.in").write_text(pair)
    script = f"include {BENCH / 'in.bench'}\n" + (LOOK if steps == 0 else "")
    (folder / "in.lammps").write_text(script)
    command = [str(lmp or chosen.lmp), "-in", "in.lammps", "-log", "none"]
    command += KOKKOS if kokkos else []
    command += ["-var", "data", str(START), "-var", "pair", str(folder / "pair.in")]
    command += ["-var", "steps", str(steps)]
    for axis in ("nx", "ny", "nz"):
        command += ["-var", axis, str(repeat)]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "LAMMPS_PLUGIN_PATH": str(chosen.plugin), **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    (folder / "out.txt").write_text(done.stdout)
    if done.returncode != 0:
        lines = [line for line in done.stdout.splitlines() if "ERROR" in line]
        raise RuntimeError(" ".join(lines) or f"LAMMPS failed, see {folder / 'out.txt'}")
    *_, loop = re.finditer(
        r"Loop time of (\S+) on \d+ procs for (\d+) steps with (\d+) atoms", done.stdout
    )
    atoms = int(loop[3])
    energy = re.findall(r"^ +0 +\S+ +(\S+)", done.stdout, re.MULTILINE)[0]
    result = {
        "atoms": atoms,
        "energy": float(energy) / atoms,
        "wall": float(loop[1]) / max(1, int(loop[2])),
        "warnings": [line for line in done.stdout.splitlines() if "did not fit" in line],
    }
    if steps == 0:
        result["pressure"] = float(done.stdout.rpartition("c_vir")[2].split()[1])
        rows = (folder / "forces.txt").read_text().partition("fz")[2].split()
        result["forces"] = np.array(rows, dtype=float).reshape(-1, 4)[:, 1:]
    return result


def pair_style(model: Path, keywords: str = "") -> str:
    """Our style."""
    return f"pair_style allegro_legato {keywords}\npair_coeff * * {model} H N\n"


def ways_of(chosen: argparse.Namespace) -> list[dict]:
    """How models are run: ``name``, keywords of ``pair``, ``kokkos``."""
    if chosen.device == "cpu":
        return [{"name": "plain", "pair": "device cpu", "kokkos": False}]
    return [
        {"name": "plain", "pair": "device cuda", "kokkos": False},
        {"name": "kk", "pair": "", "kokkos": True},
    ]


def hard_ways_of(chosen: argparse.Namespace) -> list[dict]:
    """Ways that must give the same forces too: small blocks, and too little memory."""
    if chosen.device == "cpu":
        return []
    import torch

    share = LITTLE_MEMORY / torch.cuda.get_device_properties(0).total_memory
    little = {"PYTORCH_ALLOC_CONF": f"per_process_memory_fraction:{share:.6f}"}
    small_blocks = {"name": "kk small blocks", "pair": "block 100 threads 2", "kokkos": True}
    return [small_blocks] + [
        way | {"name": f"{way['name']} little memory", "environment": little, "warned": True}
        for way in ways_of(chosen)
    ]


def agreement(chosen: argparse.Namespace) -> int:
    """Compare every way on the device with the plain style on the CPU, 3,456 atoms."""
    on_cpu = pair_style(chosen.models[0], "device cpu")
    reference = lammps(chosen, "cpu", on_cpu, kokkos=False, repeat=2)
    rows, bad = [], 0
    for model in chosen.models:
        for way in ways_of(chosen) + hard_ways_of(chosen):
            name = f"{model.name} {way['name']}"
            row: dict = {"name": name}
            try:
                run = lammps(
                    chosen,
                    name,
                    pair_style(model, way["pair"]),
                    kokkos=way["kokkos"],
                    repeat=2,
                    environment=way.get("environment"),
                )
            except RuntimeError as problem:
                row["error"] = str(problem)
            else:
                row["warnings"] = len(run["warnings"])
                for what in TOLERANCES:
                    row[what] = float(np.abs(run[what] - reference[what]).max())
            row["passed"] = all(row.get(k, np.inf) <= v for k, v in TOLERANCES.items())
            if way.get("warned") and not row.get("warnings"):
                row["passed"] = False  # there was no lack of memory, so nothing has been seen
            bad += not row["passed"]
            rows.append(row)
            print(row, flush=True)
    write_atomically(chosen.out, json.dumps({"tolerances": TOLERANCES, "rows": rows}, indent=2))
    return int(bad > 0)


def speed(chosen: argparse.Namespace) -> int:
    """Time of a step against number of atoms, size of blocks, style and file."""
    cases = []
    for repeat in chosen.repeats:
        for model in chosen.models:
            for way in ways_of(chosen):
                name = f"{model.name} {way['name']}"
                cases.append((name, pair_style(model, way["pair"]), way["kokkos"], repeat))
        for model in chosen.rivals:
            pair = f"pair_style allegro\npair_coeff * * {model} H N\n"
            cases.append((f"{RIVAL} {model.name}", pair, chosen.device == "cuda", repeat))
    middle = chosen.repeats[len(chosen.repeats) // 2]
    for block in chosen.blocks if chosen.device == "cuda" else []:
        pair = pair_style(chosen.models[-1], f"block {block}")
        cases.append((f"{chosen.models[-1].name} kk block {block}", pair, True, middle))
    rows: list[dict] = []
    best: list[dict] = []
    for number in range(chosen.rounds):
        for name, pair, kokkos, repeat in cases:
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
    """Of each number of atoms the fastest way of ours and of pair_allegro, by median wall time.

    Returns:
        ``atoms``, ``ours``, ``theirs`` (names), ``wall`` (seconds a step), and ``ratio``, their
        time over ours, the median of those within a round.
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
    """All atoms of the example's box as one block, in the order of a deployed model's inputs."""
    import torch
    from ase.io import read
    from matscipy.neighbours import neighbour_list

    style = {"format": "lammps-data", "atom_style": "atomic", "Z_of_type": {1: 1, 2: 7}}
    atoms = read(START, **style).repeat(repeat)
    atoms.pbc = True
    types = torch.as_tensor((atoms.numbers == 7).astype(np.int64))
    centre, neighbour, vectors = neighbour_list("ijD", atoms=atoms, cutoff=cutoff)
    n = len(atoms)
    neighbour = torch.as_tensor(neighbour.astype(np.int64))
    edge_index = torch.stack([torch.as_tensor(centre.astype(np.int64)), n + types[neighbour]])
    nodes = torch.cat([types, torch.arange(2)])
    inputs = [torch.zeros(n + 2, 3, dtype=torch.float64), edge_index, nodes]
    return [tensor.to(device) for tensor in (*inputs, torch.as_tensor(vectors))]


def graph(chosen: argparse.Namespace) -> int:
    """Is a block of fixed shape faster as a CUDA graph, which launches its kernels at once?"""
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
    parser.add_argument("what", choices=["agreement", "speed", "graph"])
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
    # 432, 3,456, 27,648, 93,312 and 746,496 atoms
    parser.add_argument("--repeats", type=int, nargs="+")
    parser.add_argument("--blocks", type=int, nargs="*", default=[1024, 4096, 16384])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"], help="cpu: to try it")
    chosen = parser.parse_args()
    if chosen.what != "graph" and (chosen.lmp is None or chosen.plugin is None):
        parser.error(f"{chosen.what} needs --lmp and --plugin")
    if bool(chosen.rivals) != (chosen.pair_allegro is not None):
        parser.error("--pair-allegro and --rivals need each other")
    if chosen.repeats is None:
        chosen.repeats = [1, 2] if chosen.what == "graph" else [1, 2, 4, 6, 12]
    return {"agreement": agreement, "speed": speed, "graph": graph}[chosen.what](chosen)


if __name__ == "__main__":
    sys.exit(main())
