"""The pair style's tests again, run by a LAMMPS with Kokkos."""

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_PAIR_STYLE = Path(__file__).parents[1] / "pair_style"
sys.path[:0] = [str(_PAIR_STYLE), str(Path(__file__).parent)]
pytest.register_assert_rewrite(
    "lammps_run",
    "library_session",
    "test_after_errors",
    "test_against_nequip",
    "test_derivatives",
    "test_monte_carlo",
    "test_neighbor_lists",
    "test_pair_bad_input",
    "test_trajectory",
)

import test_against_nequip  # noqa: E402
import test_trajectory  # noqa: E402
from build_lammps import existing_build  # noqa: E402
from lammps_run import Program, using  # noqa: E402
from lammps_styles import compiled_styles  # noqa: E402
from precision import Precision, assert_same, precision_of, reason_to_skip  # noqa: E402

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
def precision(kokkos_build: Path) -> Precision:
    """How closely this LAMMPS can agree with float64."""
    return precision_of(kokkos_build)


@pytest.fixture(autouse=True)
def limits_of_the_build(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pair style's tests have limits for float64; others where Kokkos has float32."""
    folder, _ = existing_build()
    if folder is None or precision_of(folder).name == "double":
        return
    limits = precision_of(folder)
    reason = reason_to_skip(limits, request.function.__name__)
    if reason:
        pytest.skip(reason)
    monkeypatch.setitem(test_against_nequip.TOLERANCE, "float64", limits.relative)

    def same(run, other):
        assert_same(run, other, limits.relative)

    monkeypatch.setattr(test_trajectory, "assert_same", same)


@pytest.fixture(scope="session")
def kokkos_plugin(kokkos_build: Path) -> Path:
    """Folder of the plugin for it: one that is already built, or built now."""
    ready = os.environ.get("NEQUIP_LEGATO_KOKKOS_PLUGIN")
    if ready:
        return Path(ready)
    from nequip_legato.lammps.tree import build_plugin_for

    return build_plugin_for(kokkos_build).parent


@pytest.fixture(scope="session")
def monte_carlo(kokkos_build: Path, plain_program: Program, shared_folder: Path) -> dict[str, str]:
    """Environment in which this LAMMPS has its own Monte Carlo fixes, compiled as a plugin."""
    folder = compiled_styles("monte_carlo", kokkos_build, shared_folder)
    plugins = plain_program.environment["LAMMPS_PLUGIN_PATH"]
    return {**plain_program.environment, "LAMMPS_PLUGIN_PATH": f"{plugins}:{folder}"}


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
    program = Program(plain_program.path, request.param, plain_program.environment)
    if program.on_gpu and request.param > 1:
        pytest.skip("on a GPU threads make no difference")
    return program


@pytest.fixture(scope="module")
def with_kokkos(kokkos_program: Program) -> Iterator[None]:
    """Everything that run_lammps runs meanwhile is run by Kokkos."""
    with using(kokkos_program):
        yield
