"""tests/fence/test_fence_lammps.py by allegro_legato/kk, with one and with two threads."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "fence"))
pytest.register_assert_rewrite("test_fence_lammps")

from test_fence_lammps import *  # noqa: E402, F403

pytestmark = pytest.mark.usefixtures("with_kokkos")

# The same sums by the same code, whatever the units; dimers and halting are the graph's affair.
del test_other_units, test_files_without_a_fence_tell_zeros  # noqa: F821
del test_dimers_never_collapse, test_a_run_that_leans_on_the_fence_is_stopped  # noqa: F821


@pytest.fixture(autouse=True)
def double_precision(precision) -> None:
    """Limits of these tests are for float64."""
    if precision.name != "double":
        pytest.skip(f"KOKKOS_PREC={precision.name}: the fence's tests have limits for float64")
