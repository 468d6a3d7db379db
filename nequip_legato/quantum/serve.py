"""Start i-PI and LAMMPS together, and end both when one has ended.

``python -m nequip_legato.quantum.serve SOCKET INPUT PROGRAM ...`` in the folder of a run.
"""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

__all__ = ["SERVER_LOG", "ipi_program", "main"]

SERVER_LOG = "ipi.log"
_POLL = 0.02
_GRACE = 20.0


def ipi_program() -> str:
    """Path of the script ``i-pi``; empty if it is not installed."""
    beside = Path(sys.executable).parent / "i-pi"
    return str(beside) if beside.is_file() else shutil.which("i-pi") or ""


def main(arguments: list[str]) -> int:
    """Run i-PI with an input, and a program that connects to its socket.

    Returns:
        The exit status of i-PI, or that of the program if that has ended first.
    """
    socket, text, *program = arguments
    # An i-PI whose LAMMPS has died under it does not react to SIGTERM, so somebody has to wait.
    signal.signal(signal.SIGTERM, _leave)
    with Path(SERVER_LOG).open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, ipi_program(), text], stdout=log, stderr=subprocess.STDOUT
        )
    client = None
    try:
        while not Path(socket).exists():
            if server.poll() is not None:
                return server.returncode or 1
            time.sleep(_POLL)
        client = subprocess.Popen(program)
        while server.poll() is None and client.poll() is None:
            time.sleep(_POLL)
        try:  # i-PI ends LAMMPS shortly before it ends itself
            return server.wait(2.0)
        except subprocess.TimeoutExpired:
            return client.returncode or 0
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for process in (server, client):
            _end(process)


def _leave(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)


def _end(process: subprocess.Popen | None) -> None:
    if process is None:
        return
    try:
        if process.poll() is None:
            process.wait(1.0)
    except subprocess.TimeoutExpired:
        process.terminate()
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
