"""Checking that a compiled plugin fits the LAMMPS it was compiled for."""

from pathlib import Path

from nequip_legato.errors import LegatoError
from nequip_legato.native.linkage import Library, readable, unresolved

__all__ = ["check_fit"]

# Namespaces of LAMMPS and of torch, as they are spelled in mangled symbols.
_OF_LAMMPS = ("9LAMMPS_NS", "3fmt", "6Kokkos")
_OF_TORCH = ("3c10", "2at", "5torch", "6caffe2")


def check_fit(library: Path, host: Path, *, compiler: str, rebuild: str) -> None:
    """Check that LAMMPS and torch have every symbol that the plugin asks for.

    Class members depend on compiler and C++ standard: LAMMPS' errors are formatted by
    ``std::format`` if the compiler has it, and else by LAMMPS' own copy of fmt.

    Args:
        library: the compiled library.
        host: LAMMPS' shared library, or its program where that is a static one.
        compiler: what compiled the plugin, in words.
        rebuild: command that builds the plugin again.

    Raises:
        LegatoError: if symbols are missing; names LAMMPS' compiler and how to use it.
    """
    result = unresolved(library, [host])
    missing = result.symbols
    if result.absent:  # e.g. an MPI that only batch jobs find: its functions cannot be checked
        missing = [s for s in missing if any(part in s for part in _OF_LAMMPS)]
    if not missing:
        return
    of_lammps = [s for s in missing if any(part in s for part in _OF_LAMMPS)]
    first = (of_lammps or missing)[0]
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    if not of_lammps and any(part in first for part in _OF_TORCH):
        raise LegatoError(
            f"the plugin was compiled, but torch lacks {readable(first)}{more}, which it needs: "
            f"the plugin was compiled by {compiler}; install torch again (pip install "
            "--force-reinstall torch), or set CXX to the compiler that torch was made for "
            f"(g++ 11 or newer), then run '{rebuild}'"
        )
    theirs = Library(host).compiler or "an unknown compiler"
    std = " (it prints by std::format, which GCC has from version 13 on)"
    raise LegatoError(
        f"the plugin was compiled, but LAMMPS lacks {readable(first)}{more}, which it needs: "
        f"{host} was made by {theirs}{std if _prints_by_std_format(host) else ''}, the plugin by "
        f"{compiler}; set CXX to the compiler of LAMMPS, then run '{rebuild}'"
    )


def _prints_by_std_format(host: Path) -> bool:
    return any("5Error4_all" in s and "format_args" in s and "3fmt" not in s for s in Library(host))
