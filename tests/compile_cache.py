"""What tests compile is kept between runs by sccache, which CMake calls in place of compilers.

The same object is compiled many times over: each test that builds has a folder of its own.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from platformdirs import user_cache_path

__all__ = ["counts", "start", "stop"]

_SOCKET = "SCCACHE_SERVER_UDS"
_ROOT = Path(__file__).parents[1]
# Kokkos' nvcc_wrapper is refused by sccache. Scripts that call a compiler with more options are
# taken: they are part of the key.
_LAUNCHER = """#!/bin/sh
case ${{1##*/}} in
  *nvcc*) exec "$@" ;;
  *) exec '{program}' "$@" ;;
esac
"""


def start() -> Path | None:
    """Start a server for this process and its children.

    Returns:
        Its folder, for :func:`stop`; none where sccache is not installed or does not start, and
        every test compiles anew.
    """
    program = _program()
    if not program.is_file():
        return None
    folder = Path(tempfile.mkdtemp(prefix="legato-sccache-"))
    os.environ |= {
        _SOCKET: str(folder / "socket"),
        "SCCACHE_DIR": str(user_cache_path("nequip-legato-tests") / "sccache"),
        "SCCACHE_CACHE_SIZE": "2G",
        # where sources and .venv are is no part of a key: another clone finds the same objects
        "SCCACHE_BASEDIRS": str(_ROOT),
        # a server that is gone is no reason for a compilation to fail
        "SCCACHE_IGNORE_SERVER_IO_ERROR": "1",
    }
    if _run("--start-server") != 0:
        stop(folder)
        return None
    launcher = folder / "launcher"
    launcher.write_text(_LAUNCHER.format(program=program))
    launcher.chmod(0o755)
    os.environ |= {f"CMAKE_{x}_COMPILER_LAUNCHER": str(launcher) for x in ("C", "CXX")}
    return folder


def counts() -> tuple[int, int] | None:
    """How many objects the server of this process has found, and how many were compiled.

    None where it does not tell: that is no reason for a run of the tests to fail.
    """
    command = [_program(), "--show-stats", "--stats-format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return None
    stats = json.loads(done.stdout)["stats"]
    found, missed = (sum(stats[f"cache_{x}"]["counts"].values()) for x in ("hits", "misses"))
    return found, missed


def stop(folder: Path) -> None:
    """Stop the server of that folder."""
    _run("--stop-server")
    shutil.rmtree(folder, ignore_errors=True)


def _program() -> Path:
    return Path(sys.executable).parent / "sccache"


def _run(option: str) -> int:
    """Without our streams: the server would hold them open after our end."""
    nothing = subprocess.DEVNULL
    return subprocess.call([_program(), option], stdin=nothing, stdout=nothing, stderr=nothing)
