"""Runs a program for a test: captured, within a limit of time, its output in the failure."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PROGRAMS", "Done", "run_process", "wait_for"]

PROGRAMS = Path(sys.executable).parent  # where pip puts lmp, mpiexec, nequip-train, ...


@dataclass(frozen=True)
class Done:
    """A program that has ended.

    Attributes:
        returncode: exit status.
        stdout: what it printed; with ``merge``, errors too, in the order in which they came.
        stderr: its errors.
    """

    returncode: int
    stdout: str
    stderr: str


def run_process(
    *command: object,
    cwd: Path | None = None,
    environment: Mapping[str, str | None] | None = None,
    inherit: bool = True,
    stdin: str | None = None,
    merge: bool = False,
    timeout: float = 900,
    check: bool = True,
) -> Done:
    """Run a program to its end.

    Args:
        command: program and arguments.
        cwd: where it runs.
        environment: variables to set, or to remove if None.
        inherit: also those of the tests, and ``OMP_NUM_THREADS=1``.
        stdin: what it reads; nothing by default.
        merge: its errors go to ``stdout``.
        timeout: in s; then it is killed with all that it has started.
        check: it must end with status 0.

    Raises:
        AssertionError: if it does not end in time, or not as ``check`` wants it.
    """
    words = [str(word) for word in command]
    variables = {**os.environ, "OMP_NUM_THREADS": "1"} if inherit else {}
    variables |= environment or {}
    with subprocess.Popen(
        words,
        cwd=cwd,
        env={name: value for name, value in variables.items() if value is not None},
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if merge else subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # so that what it has started can be killed with it
    ) as process:
        try:
            stdout, stderr = process.communicate(stdin, timeout)
        except BaseException as stop:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(stop, subprocess.TimeoutExpired):
                told = _told(*process.communicate())
                raise AssertionError(f"no end of {words} within {timeout} s{told}") from None
            raise
    if check and process.returncode != 0:
        raise AssertionError(f"status {process.returncode} of {words}{_told(stdout, stderr)}")
    return Done(process.returncode, stdout, stderr or "")


def _told(*streams: str | None) -> str:
    return "".join(f"\n{text[-4000:]}" for text in streams if text)


def wait_for(
    condition: Callable[[], object], *, seconds: float = 180.0, every: float = 0.02
) -> None:
    """Return as soon as ``condition()`` holds; an error if it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{condition} did not come true in {seconds} s")
        time.sleep(every)
