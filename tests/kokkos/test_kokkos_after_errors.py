"""tests/pair_style/test_after_errors.py by allegro_legato/kk."""

import pytest
from lammps_run import Program
from test_after_errors import *  # noqa: F403

pytestmark = pytest.mark.usefixtures("with_kokkos")


@pytest.fixture(scope="module")
def kokkos_program(plain_program: Program) -> Program:
    """What an error leaves behind does not depend on the number of threads."""
    return Program(plain_program.path, 1, plain_program.environment)
