"""The plugin against the LAMMPS with Kokkos it was compiled for, and one of another compiler."""

from dataclasses import replace
from pathlib import Path

import pytest
from lammps_run import Program, run_lammps, using
from processes import run_process

from nequip_legato.lammps import tree
from nequip_legato.native import builder, installed
from nequip_legato.native.linkage import Library, linkage_faults

USE = "units metal\nprint alive\npair_style allegro_legato nonsense 1\n"
# What a newer C++ library would have
HEADERS = Path(__file__).parent / "std_format"


@pytest.fixture(scope="module")
def host(kokkos_build: Path) -> Path:
    found = tree.plugin_for(kokkos_build).host
    assert found is not None
    return found


def test_lammps_and_plugin_name_what_they_need(kokkos_build, host, kokkos_plugin):
    kokkos = [
        Path(line.partition("=")[2]).parents[1]
        for line in (kokkos_build / "CMakeCache.txt").read_text().splitlines()
        if line.startswith("Kokkos_DIR:")
    ]
    parts = [p for folder in kokkos for p in folder.glob("libkokkos*.so")]
    for library in (host, kokkos_build / "lmp", *parts, kokkos_plugin / builder.PLUGIN_FILE):
        assert linkage_faults(library) == []
    styles = kokkos_plugin / builder.STYLES_FILE
    assert linkage_faults(styles, [host]) == []
    without = linkage_faults(styles)  # the same file without LAMMPS
    assert any("which no library that it names has" in fault for fault in without)
    small = Library(kokkos_plugin / builder.PLUGIN_FILE)
    assert not any("Kokkos" in s or "LAMMPS" in s or "MPI" in s for s in small.undefined)


@pytest.fixture
def newer_compiler(tmp_path: Path) -> Path:
    """This compiler, with a C++ library that has ``<format>``."""
    program = tmp_path / "newer-c++"
    program.write_text(f'#!/bin/sh\nexec {installed.find_compiler()} -I{HEADERS} "$@" -O0\n')
    program.chmod(0o755)
    return program


def _has_own_fmt(host: Path) -> bool:
    return any("5Error4_all" in symbol and "3fmt" in symbol for symbol in Library(host))


@pytest.mark.slow
def test_compiler_with_std_format(
    tmp_path, kokkos_build, host, plain_program, newer_compiler, monkeypatch
):
    """LAMMPS was made by one without: the plugin prints as LAMMPS does, whatever there is."""
    if not _has_own_fmt(host):
        pytest.skip("this LAMMPS prints by std::format")
    monkeypatch.setenv("NEQUIP_LEGATO_CACHE", str(tmp_path / "cache"))
    artifact = replace(tree.plugin_for(kokkos_build), compiler=str(newer_compiler))
    plugin = builder.ensure(artifact).parent
    run = _run(tmp_path, plugin, plain_program)
    assert "Unknown keyword nonsense of pair style allegro_legato" in run.error

    # As it would be without that.
    styles = _styles_with_std_format(tmp_path, artifact, newer_compiler)
    (plugin / builder.STYLES_FILE).write_bytes(styles.read_bytes())
    run = _run(tmp_path, plugin, plain_program)
    assert run.returncode != 0
    assert "Unrecognized" not in run.text
    for part in (
        "std::format_args",
        "another C++ standard",
        "nequip-legato plugin build --force --lammps",
    ):
        assert part in run.error


def _run(folder: Path, plugin: Path, program: Program):
    environment = {**program.environment, "LAMMPS_PLUGIN_PATH": str(plugin)}
    with using(Program(program.path, 0, environment)):
        return run_lammps(folder / "run", USE)


def _styles_with_std_format(folder: Path, artifact: builder.Artifact, compiler: Path) -> Path:
    """The library with the styles, compiled without what makes it fit."""
    settings = {**artifact.settings, "CMAKE_CXX_COMPILER": compiler, "LEGATO_LAMMPS_FMT": "NO"}
    cmake, ninja = (installed.find_program(name) for name in ("cmake", "ninja"))
    scratch = folder / "scratch"
    given = [f"-D{name}={value}" for name, value in settings.items()]
    where = ["-S", builder.source_folder(), "-B", scratch]
    run_process(cmake, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}", *given, *where)
    run_process(cmake, "--build", scratch)
    return scratch / artifact.companion
