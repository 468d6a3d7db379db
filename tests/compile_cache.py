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

_LANGUAGES = ("C", "CXX", "CUDA")
_SOCKET = "SCCACHE_SERVER_UDS"


def start() -> str:
    """Start a server for this process and its children; returns what the report's header says.

    Tests run without it where it is not installed or does not start.
    """
    program = Path(sys.executable).parent / "sccache"
    if not program.is_file():
        return "sccache is not installed: every test compiles anew"
    os.environ |= {
        _SOCKET: str(Path(tempfile.mkdtemp(prefix="legato-sccache-")) / "socket"),
        "SCCACHE_DIR": str(user_cache_path("nequip-legato-tests") / "sccache"),
        "SCCACHE_CACHE_SIZE": "2G",
        # a server that is gone is no reason for a compilation to fail
        "SCCACHE_IGNORE_SERVER_IO_ERROR": "1",
    }
    if _run(program, "--start-server") != 0:
        stop()
        return "sccache does not start: every test compiles anew"
    os.environ |= {f"CMAKE_{language}_COMPILER_LAUNCHER": str(program) for language in _LANGUAGES}
    return f"sccache keeps what tests compile in {os.environ['SCCACHE_DIR']}"


def stop() -> None:
    """Stop the server that :func:`start` started, if any."""
    socket = os.environ.pop(_SOCKET, None)
    if socket is None:
        return
    program = Path(sys.executable).parent / "sccache"
    os.environ[_SOCKET] = socket
    _run(program, "--stop-server")
    del os.environ[_SOCKET]
    shutil.rmtree(Path(socket).parent, ignore_errors=True)


def _run(program: Path, option: str) -> int:
    """Without our streams: the server would hold them open after our end."""
    nothing = subprocess.DEVNULL
    return subprocess.run(
        [program, option], stdin=nothing, stdout=nothing, stderr=nothing, check=False
    ).returncode
