"""What a step of P beads costs, against P classical steps.

    python beads.py MODEL.nequip.pt2 [--beads 8] [--copies 1 2] [--repeats 3]
    python beads.py MODEL.nequip.pt2 --beads 2 --cores 2      each bead on a core of its own

Runs campaigns of `nequip-legato quantum run` with `engine: lammps` (one partition per bead) on a
frame of liquid ammonia from examples/nh3, replicated in all three directions. All processes share
--cores cores (1 by default), so that P forces take P / cores times as long as one. Classical runs
(one core), beads as MPICH has them wait by default, and beads whose ranks sleep while they wait
(`MPIR_CVAR_CH4_PROGRESS_THROTTLE`) take turns. Prints the median; the rows of these numbers of
beads and cores are replaced in beads.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import ase.io
import yaml

from nequip_legato.files import write_atomically
from nequip_legato.quantum.records import QuantumRecord
from nequip_legato.stability.records import read_records
from nequip_legato.stability.run.lammps_process import SLEEPING_RANKS

HERE = Path(__file__).resolve().parent
STRUCTURE = HERE.parents[1] / "examples" / "nh3" / "data" / "test.extxyz"
WAITING = {
    "spinning": {"MPIR_CVAR_CH4_PROGRESS_THROTTLE": "0"},
    "sleeping": SLEEPING_RANKS,
}


def main() -> None:
    """Run the campaigns by turns and print the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--beads", type=int, default=8)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--copies", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400, help="classical ones with 64 atoms")
    given = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[-given.cores :]
    if len(cores) < given.cores:
        parser.error(f"there are {len(cores)} cores, fewer than {given.cores}")
    os.sched_setaffinity(0, cores)
    rows = [_row(given, copies) for copies in given.copies]
    for row in rows:
        print(row)
    path = HERE / "beads.json"
    kept = [r for r in json.loads(path.read_text()) if _setup(r) != _setup(rows[0])]
    write_atomically(path, json.dumps(kept + rows, indent=1) + "\n")


def _setup(row: dict[str, object]) -> tuple[object, object]:
    return row["beads"], row["cores"]


def _row(given: argparse.Namespace, copies: int) -> dict[str, object]:
    steps = max(50, given.steps // copies**3)
    fewer = max(20, steps // given.beads)
    times: dict[str, list[float]] = {"classical": [], "spinning": [], "sleeping": []}
    for _ in range(given.repeats):
        for kind, taken in times.items():
            beads, number = (1, steps) if kind == "classical" else (given.beads, fewer)
            taken.append(_time_per_step(given.model, copies, beads, number, WAITING.get(kind, {})))
    one = median(times["classical"])
    return {
        "atoms": 64 * copies**3,
        "beads": given.beads,
        "cores": given.cores,
        "classical, ms per step": round(1e3 * one, 3),
        **{
            f"beads {kind}, over {given.beads} classical steps": round(
                median(times[kind]) * given.cores / (given.beads * one), 3
            )
            for kind in WAITING
        },
        "ms per step of all runs": {k: [round(1e3 * t, 3) for t in v] for k, v in times.items()},
    }


def _time_per_step(
    model: Path, copies: int, beads: int, steps: int, environment: dict[str, str]
) -> float:
    """Seconds of wall time of one step."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ase.io.write(folder / "start.extxyz", ase.io.read(STRUCTURE).repeat(copies))
        settings = {
            "models": [{"name": "model", "file": str(model.resolve())}],
            "systems": [{"name": "liquid", "structure": "start.extxyz"}],
            "types": ["H", "N"],
            "isotopes": [{"name": "nh3"}],
            "temperatures": [220],
            "methods": ["classical" if beads == 1 else "pimd"],
            "beads": [beads],
            "engine": "lammps",
            "timestep": 0.25,
            "equilibration_steps": 10,
            "steps": steps,
            "sample_every": 10,
            "restart_every": "off",
            "geometry": {"center": "N", "ligand": "H", "max": 1.4, "rdf": "off"},
        }
        (folder / "beads.yaml").write_text(yaml.safe_dump(settings))
        program = Path(sys.executable).parent / "nequip-legato"
        command = [program, "quantum", "run", "beads.yaml"]
        subprocess.run(
            command,
            cwd=folder,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
            check=True,
            capture_output=True,
        )
        [record] = read_records(folder / "beads", QuantumRecord)
        return record.wall / record.steps


if __name__ == "__main__":
    main()
