"""What kernels of our own gain on one core: AOTInductor files with and without them, in turn.

    python kernels.py [--repeats 20] [--work FOLDER] [--out FILE]

Trains the small and the medium model of benchmarks/gpu on a few frames (speed does not depend on
the values of the weights), deploys each twice, and evaluates 432 atoms of ammonia in blocks of some
sizes. Rows have ``model``, ``block``, the medians of microseconds of processor time per atom
``without`` and ``with``, their ``ratio`` (median of those within a repeat), and the largest
``force_difference`` (eV/Angstrom); ``seconds`` are those that deploying took.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

sys.path.append(str(Path(__file__).absolute().parents[1] / "gpu"))
from floor import MEDIUM
from structures import ammonia

from nequip_legato.deploy import build, info
from nequip_legato.files import write_atomically
from nequip_legato.native.engine import load_binding

HERE = Path(__file__).parent.absolute()
NH3 = HERE.parents[1] / "examples" / "nh3"
MODELS = {
    "small": [],
    "medium": [
        f"cutoff={MEDIUM['r_max']}",
        *(f"training_module.model.{key}={value}" for key, value in MEDIUM.items()),
    ],
}
WAYS = {"without": "off", "with": "auto"}
BLOCKS = (32, 64, 128)


def trained(folder: Path, overrides: list[str]) -> Path:
    """A checkpoint after four steps."""
    path = folder / "best.ckpt"
    if not path.is_file():
        command = [Path(sys.executable).parent / "nequip-train", "-cp", NH3, "-cn", "train"]
        command += [f"hydra.run.dir={folder}", "trainer.max_epochs=1", *overrides]
        for part in ("train", "val", "test"):
            command.append(f"+trainer.limit_{part}_batches=4")
        subprocess.run([str(word) for word in command], cwd=NH3, check=True)
    return path


def evaluation(path: Path, block: int):
    """Function that evaluates all atoms once and returns its processor time and the forces."""
    system = ammonia((1, 1, 1), info(path).cutoff)
    engine = load_binding().Engine(str(path), threads=1, block=block)
    types = system.types[system.owner].astype(np.int32)
    neighbor = system.neighbor.astype(np.int32)

    def call() -> tuple[float, np.ndarray]:
        started = time.process_time()
        result = engine.compute(system.positions, types, system.offsets, neighbor, True)
        return time.process_time() - started, result["forces"].copy()

    return system.n_atoms, call


def measured(files: dict[str, Path], block: int, repeats: int) -> dict:
    """Both files in turn."""
    both = {way: evaluation(path, block) for way, path in files.items()}
    n_atoms = both["with"][0]
    forces = {way: call()[1] for way, (_, call) in both.items()}  # and warmed up
    times: dict[str, list[float]] = {way: [] for way in both}
    for _ in range(repeats):
        for way, (_, call) in both.items():
            times[way].append(1e6 * call()[0] / n_atoms)
    ratios = [a / b for a, b in zip(times["without"], times["with"], strict=True)]
    return {way: round(median(values), 1) for way, values in times.items()} | {
        "ratio": round(median(ratios), 2),
        "force_difference": float(np.abs(forces["with"] - forces["without"]).max()),
    }


def main() -> None:
    """Train, deploy, measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--work", type=Path, default=HERE / "work" / "kernels")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "kernels.json")
    chosen = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    rows = []
    for model, overrides in MODELS.items():
        checkpoint = trained((chosen.work / model).absolute(), overrides)
        files, seconds = {}, {}
        for way, kernels in WAYS.items():
            files[way] = checkpoint.with_name(f"{way}.nequip.pt2")
            started = time.perf_counter()
            build(checkpoint, files[way], kernels=kernels)
            seconds[way] = round(time.perf_counter() - started, 1)
        for block in BLOCKS:
            row = {"model": model, "block": block, **measured(files, block, chosen.repeats)}
            rows.append(row | {"seconds": seconds})
            print(rows[-1], flush=True)
    write_atomically(chosen.out, json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
