"""LAMMPS without MPI has a stand-in with functions of its own: the style compiles with it."""

from pathlib import Path

import pytest
from processes import run_process

from nequip_legato.native import installed
from nequip_legato.native.sources import source_folder


@pytest.mark.slow
def test_style_compiles_for_a_lammps_without_mpi(kokkos_build):
    settings = (kokkos_build / "CMakeCache.txt").read_text().splitlines()
    home = next(line for line in settings if line.startswith("CMAKE_HOME_DIRECTORY:"))
    source = Path(home.partition("=")[2]).parent
    torch = installed.find_torch().folder / "include"
    folders = [source / "src", source / "src" / "STUBS", source / "third_party", torch]
    ours = source_folder() / "lammps_plugin"
    run_process(
        *(installed.find_compiler(), "-std=c++20", "-fsyntax-only", "-DLAMMPS_SMALLBIG"),
        *(f"-I{folder}" for folder in (ours, *folders)),
        ours / "pair_allegro_legato.cpp",
    )
