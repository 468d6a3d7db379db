"""What tests compile is kept between runs by sccache, which CMake calls in place of compilers.

The same object is compiled many times over: each test that builds has a folder of its own.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from platformdirs import user_cache_path

__all__ = ["start", "stop"]

_SOCKET = "SCCACHE_SERVER_UDS"
# Other compilers, such as Kokkos' nvcc_wrapper, sccache refuses.
_LAUNCHER = """#!/bin/sh
case ${{1##*/}} in
  cc|c++|gcc|g++|clang|clang++) exec '{program}' "$@" ;;
  *) exec "$@" ;;
esac
"""


def start() -> str:
    """Start a server for this process and its children; returns what the report's header says.

    Tests run without it where it is not installed or does not start.
    """
    program = _program()
    if not program.is_file():
        return "sccache is not installed: every test compiles anew"
    folder = Path(tempfile.mkdtemp(prefix="legato-sccache-"))
    os.environ |= {
        _SOCKET: str(folder / "socket"),
        "SCCACHE_DIR": str(user_cache_path("nequip-legato-tests") / "sccache"),
        "SCCACHE_CACHE_SIZE": "2G",
        # a server that is gone is no reason for a compilation to fail
        "SCCACHE_IGNORE_SERVER_IO_ERROR": "1",
    }
    if _run("--start-server") != 0:
        stop()
        return "sccache does not start: every test compiles anew"
    launcher = folder / "launcher"
    launcher.write_text(_LAUNCHER.format(program=program))
    launcher.chmod(0o755)
    os.environ |= {f"CMAKE_{x}_COMPILER_LAUNCHER": str(launcher) for x in ("C", "CXX")}
    return f"sccache keeps what tests compile in {os.environ['SCCACHE_DIR']}"


def stop() -> None:
    """Stop the server that :func:`start` started, if any."""
    if _SOCKET in os.environ:
        _run("--stop-server")
        shutil.rmtree(Path(os.environ.pop(_SOCKET)).parent, ignore_errors=True)


def _program() -> Path:
    return Path(sys.executable).parent / "sccache"


def _run(option: str) -> int:
    """Without our streams: the server would hold them open after our end."""
    nothing = subprocess.DEVNULL
    return subprocess.run(
        [_program(), option], stdin=nothing, stdout=nothing, stderr=nothing, check=False
    ).returncode
