"""The pair style's tests again, run by a LAMMPS with Kokkos."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_PAIR_STYLE = Path(__file__).parents[1] / "pair_style"
sys.path[:0] = [str(_PAIR_STYLE), str(Path(__file__).parent)]
pytest.register_assert_rewrite(
    "lammps_run",
    "test_against_nequip",
    "test_derivatives",
    "test_pair_bad_input",
    "test_trajectory",
)

from build_lammps import existing_build  # noqa: E402
from lammps_run import Program, using  # noqa: E402

# Fixtures of the pair style's own conftest, under a name that is not taken.
_spec = importlib.util.spec_from_file_location("pair_style_fixtures", _PAIR_STYLE / "conftest.py")
_fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)
ammonia, data_file, reference = _fixtures.ammonia, _fixtures.data_file, _fixtures.reference


@pytest.fixture(scope="session")
def kokkos_build() -> Path:
    """Build folder of a LAMMPS with Kokkos; tests are skipped where there is none."""
    folder, reason = existing_build()
    if folder is None:
        pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def kokkos_plugin(kokkos_build: Path) -> Path:
    """Folder of the plugin for it."""
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


@pytest.fixture(scope="module", params=[1, 2], ids=["t1", "t2"])
def kokkos_program(request, plain_program: Program) -> Program:
    """LAMMPS with ``-k on t 1`` and ``t 2``, ``-sf kk``."""
    return Program(plain_program.path, request.param, plain_program.environment)


@pytest.fixture(scope="module")
def with_kokkos(kokkos_program: Program) -> Iterator[None]:
    """Everything that run_lammps runs meanwhile is run by Kokkos."""
    with using(kokkos_program):
        yield
