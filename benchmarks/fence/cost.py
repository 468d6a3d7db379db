"""What a fence costs in a step of molecular dynamics.

    python cost.py --checkpoint best.ckpt [--repeats 15]

Deploys one checkpoint without and with a fence, to TorchScript and AOTInductor, and runs LAMMPS
with all files in turn: 432 atoms of ammonia, one thread. Prints, and writes to results.json, the
median and quartiles over repeats of the ratios of processor time. Without a checkpoint the model of
examples/nh3 is trained for one epoch; speed does not depend on the values of the weights.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "md"))
from lammps_runs import LMP, Run, pair_legato, simulate

from nequip_legato.files import write_atomically

HERE = Path(__file__).resolve().parent
NH3 = HERE.parents[1] / "examples" / "nh3"
PROGRAMS = Path(sys.executable).parent
KINDS = ("", "wall", "gaps")
SUFFIXES = {"TorchScript": ".nequip.pth", "AOTInductor": ".nequip.pt2"}


def main() -> None:
    """Deploy, run, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--work", type=Path, default=HERE / "work")
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--block", type=int, default=64)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    checkpoint = options.checkpoint or trained(options.work)
    files = {
        (engine, kind): deployed(options.work, checkpoint, suffix, kind)
        for engine, suffix in SUFFIXES.items()
        for kind in KINDS
    }
    times: dict[tuple[str, str], list[float]] = {key: [] for key in files}
    for repeat in range(options.repeats):
        # Every other repeat backwards, so that a drift of the machine's speed favors no file.
        for key in list(files)[:: 1 if repeat % 2 == 0 else -1]:
            times[key].append(processor_time(files[key], options.steps, options.block))
        print(f"repeat {repeat + 1} of {options.repeats}", flush=True)
    found = {}
    for engine in SUFFIXES:
        bare = times[engine, ""]
        for kind in KINDS[1:]:
            ratios = sorted(a / b for a, b in zip(times[engine, kind], bare, strict=True))
            low, _, high = statistics.quantiles(ratios, n=4)
            found[f"{engine}, {kind}"] = {
                "median": round(statistics.median(ratios), 4),
                "quartiles": [round(low, 4), round(high, 4)],
                "seconds_a_step_without": round(statistics.median(bare), 6),
            }
    print(json.dumps(found, indent=1))
    content = {"repeats": options.repeats, "steps": options.steps, "ratios": found}
    write_atomically(options.out, json.dumps(content, indent=1) + "\n")


def trained(work: Path) -> Path:
    """A checkpoint of the model of examples/nh3."""
    path = work / "training" / "best.ckpt"
    if not path.is_file():
        command = [str(PROGRAMS / "nequip-train"), "-cp", str(NH3), "-cn", "train"]
        command += [f"hydra.run.dir={path.parent}", "trainer.max_epochs=1"]
        subprocess.run(command, cwd=NH3, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return path


def deployed(work: Path, checkpoint: Path, suffix: str, kind: str) -> Path:
    """The deployed file, made unless it is there."""
    path = work / f"{kind or 'bare'}{suffix}"
    if not path.is_file():
        command = [str(PROGRAMS / "nequip-deploy"), "build", str(checkpoint), str(path)]
        command += ["--frames", str(NH3 / "data" / "train.extxyz")]
        command += [f"--fence={kind}"] if kind else []
        subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return path


def processor_time(model: Path, steps: int, block: int) -> float:
    """Processor time of an MD step, s."""
    run = Run(model.name, pair_legato(model, block), (1, 1, 1), steps, lmp=LMP)
    with tempfile.TemporaryDirectory() as folder:
        return simulate(run, Path(folder))["cpu"]


if __name__ == "__main__":
    main()
