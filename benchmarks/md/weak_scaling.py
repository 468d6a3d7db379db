"""Weak scaling over MPI ranks, for correctness: there may be fewer cores than ranks.

    python weak_scaling.py MODEL [--ranks 1 2 4 8 16] [--out FILE]

Each rank gets one box of 432 atoms (of --data). Replicas are equal, so every size must give the
same energy per atom at the start, and the forces of P ranks must be those of one rank. A few steps
of dynamics follow, each with a new neighbor list, so that atoms can move between ranks.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from nequip_legato.files import write_atomically

__all__ = ["GRIDS", "weak_scaling"]

HERE = Path(__file__).parent.absolute()
PROGRAMS = Path(sys.executable).parent
DATA = HERE.parents[1] / "examples" / "nh3" / "data" / "start_432.data"
GRIDS = {1: (1, 1, 1), 2: (2, 1, 1), 4: (2, 2, 1), 8: (2, 2, 2), 16: (4, 2, 2)}

_INPUT = """
units metal
atom_style atomic
atom_modify map yes
processors {px} {py} {pz}
read_data {data}
replicate {nx} {ny} {nz}
velocity all create 600.0 4928459 dist gaussian loop geom
pair_style allegro_legato threads 1
pair_coeff * * {model} H N
neighbor 0.3 bin
neigh_modify every 1 delay 0 check no
fix move all nve
timestep 0.001
thermo_style custom step pe etotal
thermo_modify norm no format float %.12g
run 0
variable start equal $(pe/atoms:%.12g)
run {steps}
print "RESULT ${{start}} $(pe/atoms:%.12g) $(atoms)"
write_dump all custom {dump} id x y z fx fy fz modify sort id format float %.12g
"""


def weak_scaling(model: Path, *, ranks: list[int], steps: int, data: Path = DATA) -> list[dict]:
    """Run each number of ranks, and the same structure on one rank.

    Returns:
        For each number of ranks: ``atoms``, ``energy`` at the start and ``last_energy`` (eV per
        atom), and ``force`` and ``position``, the largest differences from one rank (eV/A, A).
    """
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for count in ranks:
            grid = GRIDS[count]
            alone = _simulate(Path(name), model, data, grid, (1, 1, 1), steps)
            split = _simulate(Path(name), model, data, grid, grid, steps)
            moved = np.abs(split["dump"] - alone["dump"])
            rows.append(
                {
                    "ranks": count,
                    "atoms": split["atoms"],
                    "energy": split["energy"],
                    "last_energy": split["last_energy"],
                    "position": float(moved[:, 1:4].max()),
                    "force": float(moved[:, 4:7].max()),
                }
            )
            print(
                f"{count:3d} ranks, {split['atoms']:6d} atoms: {split['energy']:.9f} eV per atom, "
                f"forces within {rows[-1]['force']:.1e} eV/A of one rank's after {steps} steps",
                flush=True,
            )
    return rows


def _simulate(folder: Path, model: Path, data: Path, grid, processors, steps: int) -> dict:
    dump = folder / "forces.dump"
    (folder / "in.weak").write_text(
        _INPUT.format(
            **dict(zip(("nx", "ny", "nz"), grid, strict=True)),
            **dict(zip(("px", "py", "pz"), processors, strict=True)),
            data=data,
            model=Path(model).absolute(),
            steps=steps,
            dump=dump,
        )
    )
    n_ranks = int(np.prod(processors))
    command = [str(PROGRAMS / "lmp"), "-in", str(folder / "in.weak"), "-log", "none"]
    if n_ranks > 1:
        command = [str(PROGRAMS / "mpiexec"), "-n", str(n_ranks), *command]
    done = subprocess.run(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    results = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode != 0 or not results:
        raise RuntimeError(f"LAMMPS failed on {n_ranks} ranks:\n{done.stdout[-2000:]}")
    start, last, atoms = results[0]
    rows = dump.read_text().partition("ITEM: ATOMS")[2].splitlines()[1:]
    return {
        "energy": float(start),
        "last_energy": float(last),
        "atoms": int(atoms),
        "dump": np.array([[float(word) for word in row.split()] for row in rows]),
    }


def main() -> None:
    """Parse, run, and write the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument(
        "--ranks", type=int, nargs="+", choices=sorted(GRIDS), default=[1, 2, 4, 8, 16]
    )
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "weak_scaling.json")
    chosen = parser.parse_args()
    rows = weak_scaling(
        chosen.model, ranks=chosen.ranks, steps=chosen.steps, data=chosen.data.absolute()
    )
    write_atomically(chosen.out, json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
