"""One run of LAMMPS: replicated ammonia with any pair style."""

import argparse
import os
import re
import subprocess
from pathlib import Path

import numpy as np

__all__ = ["START", "lammps", "pair_style"]

HERE = Path(__file__).parent.absolute()
BENCH = HERE.parents[1] / "benchmarks" / "md"
START = HERE.parent / "nh3" / "data" / "start_432.data"
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
    ranks: int = 1,
    environment: dict[str, str] | None = None,
) -> dict:
    """Run benchmarks/md/in.bench, ammonia of 432 repeat^3 atoms.

    Args:
        chosen: ``lmp``, ``plugin`` and ``work`` (paths), ``kokkos`` (what follows ``-k on``),
            ``mpiexec`` (path, for several ranks).
        name: of a folder in ``work``.
        pair: lines of the pair style.
        kokkos: whether to switch Kokkos on.
        repeat: copies of the box along each axis.
        steps: number of steps; 0 for one evaluation with forces and pressure.
        lmp: another LAMMPS.
        ranks: number of MPI processes; they share the GPU.
        environment: environment variables to set.

    Returns:
        ``atoms``, ``ranks``, ``energy`` (eV per atom), ``wall`` (seconds per step), ``warnings``;
        without steps also ``forces`` (n, 3) in eV/A and the virial ``pressure`` in bar.

    Raises:
        RuntimeError: if LAMMPS fails, or runs with another number of ranks.
    """
    folder = chosen.work / name.replace(" ", "_")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pair.in").write_text(pair)
    script = f"include {BENCH / 'in.bench'}\n" + (LOOK if steps == 0 else "")
    (folder / "in.lammps").write_text(script)
    command = [str(lmp or chosen.lmp), "-in", "in.lammps", "-log", "none"]
    if kokkos:
        command += ["-k", "on", *chosen.kokkos.split(), "-sf", "kk"]
        command += ["-pk", "kokkos", "newton", "on", "neigh", "half"]
    command += ["-var", "data", str(START), "-var", "pair", str(folder / "pair.in")]
    command += ["-var", "steps", str(steps)]
    for axis in ("nx", "ny", "nz"):
        command += ["-var", axis, str(repeat)]
    if ranks > 1:
        command = [str(chosen.mpiexec), "-n", str(ranks), *command]
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
    result = _read(done.stdout, folder, looked=steps == 0)
    if (count := result["ranks"]) != ranks:
        raise RuntimeError(f"LAMMPS ran with {count} ranks: {chosen.mpiexec} is not its MPI's")
    return result


def _read(output: str, folder: Path, *, looked: bool) -> dict:
    """What LAMMPS has printed, and, after a ``LOOK``, written; see `lammps`."""
    *_, loop = re.finditer(
        r"Loop time of (\S+) on (\d+) procs for (\d+) steps with (\d+) atoms", output
    )
    atoms = int(loop[4])
    energy = re.findall(r"^ +0 +\S+ +(\S+)", output, re.MULTILINE)[0]
    result = {
        "atoms": atoms,
        "energy": float(energy) / atoms,
        "wall": float(loop[1]) / max(1, int(loop[3])),
        "ranks": int(loop[2]),
        "warnings": [line for line in output.splitlines() if "did not fit" in line],
    }
    if looked:
        result["pressure"] = float(output.rpartition("c_vir")[2].split()[1])
        rows = (folder / "forces.txt").read_text().partition("fz")[2].split()
        result["forces"] = np.array(rows, dtype=float).reshape(-1, 4)[:, 1:]
    return result


def pair_style(model: Path, keywords: str = "") -> str:
    """LAMMPS commands of our pair style."""
    return f"pair_style allegro_legato {keywords}\npair_coeff * * {model} H N\n"
