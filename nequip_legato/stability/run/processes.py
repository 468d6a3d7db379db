"""The LAMMPS processes of a campaign: started, watched, and ended with it."""

import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

__all__ = ["ALIVE", "SCREEN", "KilledError", "Processes"]

SCREEN = "screen.txt"
ALIVE = ".alive"
"""Locked as long as LAMMPS runs in the folder."""

_GRACE = 10.0
_PATIENCE = 3.0  # seconds for the processes of a killed campaign to end
# A parent that gets SIGKILL cannot end its children, but its end of a pipe closes; then the second
# process of the group ends the group: launchers, and what they have started.
_WATCHED = 'exec 3<&0; (read -r _ <&3; kill -TERM 0) & exec "$@" 3<&- </dev/null'


class KilledError(Exception):
    """LAMMPS was killed, or ended early without an error: neither failed nor censored."""


class Processes:
    """The LAMMPS processes of this campaign, so that all of them can be ended."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.RLock()  # a signal may interrupt its own handler
        self.stopped = False

    @contextmanager
    def started(
        self, arguments: list[str], folder: Path, threads: int
    ) -> Iterator[subprocess.Popen]:
        """A process in ``folder`` that is ended when the context ends.

        Raises:
            KilledError: if no more processes may be started, or if a process that outlived its
                campaign is still running in ``folder``.
        """
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        with (folder / ALIVE).open("wb") as alive:
            self._wait_for(alive)
            with self._lock, (folder / SCREEN).open("wb") as screen:
                if self.stopped:
                    raise KilledError
                # Its own process group: mpiexec's ranks end with it; Ctrl-C reaches only us.
                process = subprocess.Popen(
                    ["/bin/sh", "-c", _WATCHED, "sh", *arguments],
                    cwd=folder,
                    stdin=subprocess.PIPE,
                    stdout=screen,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    pass_fds=[alive.fileno()],  # the lock lasts as long as the process
                    start_new_session=True,
                )
                self._running.add(process)
        try:
            yield process
        finally:
            _end(process)
            (folder / ALIVE).unlink(missing_ok=True)
            with self._lock:
                self._running.discard(process)

    def _wait_for(self, alive: BinaryIO) -> None:
        """Lock the folder. What a killed campaign has started ends soon after it, not with it."""
        end = time.monotonic() + _PATIENCE
        while not _try_lock(alive):
            if self.stopped or time.monotonic() > end:
                raise KilledError
            time.sleep(0.05)

    def stop(self) -> None:
        """End all of them, and start no more."""
        with self._lock:
            self.stopped = True
            running = list(self._running)
        for process in running:
            _signal(process, signal.SIGTERM)


def _try_lock(lock: BinaryIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _signal(process: subprocess.Popen, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _end(process: subprocess.Popen) -> None:
    if process.poll() is None:
        _signal(process, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
    _signal(process, signal.SIGKILL)  # what is left of its group
    process.wait()
    if process.stdin is not None:
        process.stdin.close()
