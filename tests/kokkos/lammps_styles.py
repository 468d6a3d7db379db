"""LAMMPS' own styles that the tests' LAMMPS was built without, compiled as a plugin for it."""

import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from build_lammps import archives
from filelock import FileLock
from processes import run_process

from nequip_legato.native import installed

__all__ = ["compiled_styles"]


def compiled_styles(
    name: str, kokkos_build: Path, shared_folder: Path, left_out: Sequence[str] = ()
) -> Path:
    """Folder of a plugin, for ``LAMMPS_PLUGIN_PATH``; compiled once in a session.

    Args:
        name: folder beside this file with its CMakeLists.txt.
        kokkos_build: build folder of the LAMMPS.
        shared_folder: of all worker processes.
        left_out: names without suffix of files of LAMMPS' ``src`` that are empty in the source tree
            (see ``lammps_sources.py``), and are taken from the archive.
    """
    folder = shared_folder / name
    with FileLock(f"{folder}.lock"):
        if not list(folder.glob("*plugin.so")):
            whole = folder / "whole"
            whole.mkdir(parents=True, exist_ok=True)
            _extract(left_out, whole)
            cmake = installed.find_program("cmake")
            source = Path(__file__).parent / name
            where = ["-S", source, "-B", folder, f"-DLEGATO_LAMMPS_BUILD={kokkos_build}"]
            build_type = ["-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_CXX_FLAGS_RELEASE=-O0"]
            run_process(cmake, *where, f"-DLEGATO_WHOLE={whole}", *build_type)
            run_process(cmake, "--build", folder, "--parallel", 2)
    return folder


def _extract(names: Sequence[str], folder: Path) -> None:
    wanted = {f"src/{name}{suffix}" for name in names for suffix in (".h", ".cpp")}
    if not wanted:
        return
    _, archive, reason = archives()
    if not archive.is_file():
        pytest.skip(reason)
    with tarfile.open(archive) as tar:
        for member in tar:
            inside = member.name.partition("/")[2]
            if inside in wanted:
                member.name = Path(inside).name
                tar.extract(member, folder, filter="data")
                wanted.remove(inside)
    assert not wanted, wanted
