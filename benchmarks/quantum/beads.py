"""What a step of P beads costs, against P classical steps.

    python beads.py MODEL.nequip.pt2 --label "5,576 weights" [--beads 8] [--copies 1 2]
    python beads.py ... --beads 2 --cores 2      each bead on a core of its own
    python beads.py ... --kinds i-pi             one LAMMPS for all beads

Runs campaigns of `nequip-legato quantum run` on a frame of liquid ammonia from examples/nh3,
replicated in all three directions. All processes share --cores cores (1 by default). What is
compared takes turns, with classical runs (one process) first:

- spinning, `engine: lammps`: one partition per bead, as MPICH has ranks wait by default;
- sleeping, `engine: lammps`: ranks sleep while they wait (`MPIR_CVAR_CH4_PROGRESS_THROTTLE`);
- i-pi, `engine: i-pi`: one LAMMPS evaluates bead after bead.

So P forces take P / cores times as long as one with partitions, and P times with i-PI. Prints the
median of the times and of the ratios of each turn; the rows of this label and these numbers of
atoms, beads and cores are replaced in beads.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
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
SAME = ("model", "atoms", "beads", "cores")  # of rows that replace each other


@dataclass(frozen=True)
class Kind:
    """How beads are moved.

    Attributes:
        engine: of the campaign.
        environment: of its processes.
        side_by_side: whether beads share the cores.
    """

    engine: str = "lammps"
    environment: dict[str, str] = field(default_factory=dict)
    side_by_side: bool = True


CLASSICAL = Kind()
KINDS = {
    "spinning": Kind(environment={"MPIR_CVAR_CH4_PROGRESS_THROTTLE": "0"}),
    "sleeping": Kind(environment=SLEEPING_RANKS),
    "i-pi": Kind("i-pi", side_by_side=False),
}


def main() -> None:
    """Run the campaigns by turns and print the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--label", required=True, help="of the model in beads.json")
    parser.add_argument("--beads", type=int, default=8)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--copies", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400, help="classical ones with 64 atoms")
    given = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[-given.cores :]
    if len(cores) < given.cores:
        parser.error(f"there are {len(cores)} cores, fewer than {given.cores}")
    os.sched_setaffinity(0, cores)
    path = HERE / "beads.json"
    for copies in given.copies:
        row = _row(given, copies)
        print(row, flush=True)
        rows = json.loads(path.read_text())
        [old] = [r for r in rows if _setup(r) == _setup(row)] or [{}]
        rows = [r for r in rows if _setup(r) != _setup(row)]
        write_atomically(path, json.dumps([*rows, old | row], indent=1) + "\n")


def _setup(row: dict[str, object]) -> list[object]:
    return [row[key] for key in SAME]


def _row(given: argparse.Namespace, copies: int) -> dict[str, object]:
    steps = max(50, given.steps // copies**3)
    fewer = max(20, steps // given.beads)
    times: dict[str, list[dict[str, float]]] = {name: [] for name in given.kinds}
    for _ in range(given.repeats):
        for name, turns in times.items():
            kind = KINDS[name]
            one = _time_per_step(given.model, copies, 1, steps, CLASSICAL)
            all_beads = _time_per_step(given.model, copies, given.beads, fewer, kind)
            share = given.cores if kind.side_by_side else 1
            turns.append(
                {
                    "classical, ms per step": round(1e3 * one, 3),
                    "beads, ms per step": round(1e3 * all_beads, 3),
                    "beads over as many classical steps": round(
                        all_beads * share / (given.beads * one), 3
                    ),
                }
            )
    shared = {"atoms": 64 * copies**3, "beads": given.beads, "cores": given.cores}
    row: dict[str, object] = {"model": given.label, **shared}
    for name, turns in times.items():
        medians = {key: round(median(turn[key] for turn in turns), 3) for key in turns[0]}
        row[name] = {**medians, "turns": turns}
    return row


def _time_per_step(model: Path, copies: int, beads: int, steps: int, kind: Kind) -> float:
    """Seconds of wall-clock time of one step.

    LAMMPS tells the time of its loop. i-PI does not: there it is the difference between two runs of
    which one is four times as long.
    """
    record = _record(model, copies, beads, steps, kind)
    if kind.engine == "lammps":
        return record.wall / record.steps
    longer = _record(model, copies, beads, 4 * steps, kind)
    return (longer.wall - record.wall) / (longer.steps - record.steps)


def _record(model: Path, copies: int, beads: int, steps: int, kind: Kind) -> QuantumRecord:
    """What a campaign of one run says of it."""
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
            "engine": kind.engine,
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
            env=os.environ | {"OMP_NUM_THREADS": "1"} | kind.environment,
            check=True,
            capture_output=True,
        )
        [record] = read_records(folder / "beads", QuantumRecord)
        if record.failed:
            sys.exit(f"a run of {beads} beads failed ({record.criterion}): take a better model")
        return record


if __name__ == "__main__":
    main()
