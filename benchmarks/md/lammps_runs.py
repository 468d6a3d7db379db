"""Runs of LAMMPS: speed of molecular dynamics, and memory.

    python lammps_runs.py JOB.json

This process is small on purpose: the peak memory of a program that Linux reports includes that of
the process that started it.
"""

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from clocks import OtherPrograms

from nequip_legato.files import write_atomically

__all__ = ["LMP", "Run", "pair_allegro", "pair_legato", "pair_none", "simulate"]

HERE = Path(__file__).parent.absolute()
PROGRAMS = Path(sys.executable).parent
LMP = PROGRAMS / "lmp"


@dataclass(frozen=True)
class Run:
    """What to run.

    Attributes:
        name: as in the tables.
        pair: LAMMPS commands of the pair style.
        repeat: of the box of 432 atoms.
        steps: measured.
        threads: of each rank.
        ranks: MPI processes.
        lmp: program.
        repeats: run only in this number of repeats; None for all.
    """

    name: str
    pair: str
    repeat: tuple[int, int, int]
    steps: int
    threads: int = 1
    ranks: int = 1
    lmp: Path = LMP
    repeats: int | None = None


def pair_legato(model: Path, block: int, threads: int = 1) -> str:
    """LAMMPS commands of our pair style."""
    return (
        f"pair_style allegro_legato block {block} threads {threads}\npair_coeff * * {model} H N\n"
    )


def pair_allegro(model: Path) -> str:
    """LAMMPS commands of mir-group/pair_nequip_allegro, which LAMMPS must have.

    It takes files of ``nequip-compile``, TorchScript or AOTInductor.
    """
    return f"pair_style allegro\npair_coeff * * {model} H N\n"


def pair_none(cutoff: float) -> str:
    """No interaction, but the same full neighbor list, for the memory of LAMMPS itself."""
    return f"pair_style zero {cutoff} full\npair_coeff * *\n"


def simulate(run: Run, folder: Path) -> dict:
    """Run LAMMPS.

    Returns:
        ``atoms``, ``wall`` and ``cpu`` (seconds per MD step; processor time of all threads and
        ranks), ``pair`` (share of the wall time), ``energy`` (eV, at the start), ``memory``
        (largest resident set of a process in bytes, so meaningful for one rank only).

    Raises:
        RuntimeError: if LAMMPS fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pair.in").write_text(run.pair)
    nx, ny, nz = run.repeat
    command = [str(run.lmp), "-in", str(HERE / "in.bench"), "-log", "none"]
    command += ["-var", "pair", str(folder / "pair.in"), "-var", "steps", str(run.steps)]
    for name, value in (("nx", nx), ("ny", ny), ("nz", nz)):
        command += ["-var", name, str(value)]
    if run.ranks > 1:
        command = [str(PROGRAMS / "mpiexec"), "-n", str(run.ranks), *command]
    environment = os.environ | {"OMP_NUM_THREADS": str(run.threads)}
    others, started = OtherPrograms(), time.perf_counter()
    with (folder / "out.txt").open("w") as out:
        process = subprocess.Popen(
            command, cwd=HERE, env=environment, stdout=out, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    busy = others.cores(usage.ru_utime + usage.ru_stime)  # with mpiexec: of its ranks, too
    text = (folder / "out.txt").read_text()
    if process.returncode != 0:
        lines = [line for line in text.splitlines() if "ERROR" in line] or text.splitlines()[-3:]
        raise RuntimeError(f"LAMMPS failed ({run.name}): {' '.join(lines)}")
    *_, loop = re.finditer(
        r"Loop time of (\S+) on \d+ procs for (\d+) steps with (\d+) atoms", text
    )
    wall = float(loop[1]) / int(loop[2])
    *_, share = re.finditer(r"([\d.]+)% CPU use with", text)
    *_, pair = re.finditer(r"^Pair +\|(?: *\S+ *\|){4} *([\d.]+)", text, re.MULTILINE)
    (energy,) = re.findall(r"^ +0 +\S+ +(\S+)", text.partition("Loop time")[0], re.MULTILINE)[:1]
    return {
        "name": run.name,
        "atoms": int(loop[3]),
        "threads": run.threads,
        "ranks": run.ranks,
        "wall": wall,
        # LAMMPS prints the mean processor use of a rank with all of its threads, user time only
        "cpu": wall * float(share[1]) / 100 * run.ranks,
        "pair": float(pair[1]) / 100,
        "energy": float(energy),
        "memory": usage.ru_maxrss * 1024,
        "total": time.perf_counter() - started,
        "others": busy,
    }


def main(path: Path) -> None:
    """Do a job: {"runs": [...], "repeats": n, "folder": scratch, "out": file}."""
    job = json.loads(path.read_text())
    runs = [Run(**run) for run in job["runs"]]
    rows = []
    for repeat in range(job["repeats"]):
        for run in runs:
            if run.repeats is not None and repeat >= run.repeats:
                continue
            row = simulate(run, Path(job["folder"])) | {"repeat": repeat}
            rows.append(row)
            cpu, wall = (1e6 * row[clock] / row["atoms"] for clock in ("cpu", "wall"))
            print(
                f"  {run.name:12s} {row['atoms']:6d} atoms, {run.ranks} ranks, {run.threads} "
                f"threads: {cpu:7.1f} us per atom cpu, {wall:7.1f} wall, "
                f"{row['memory'] / 1e6:.0f} MB",
                flush=True,
            )
        write_atomically(Path(job["out"]), json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
