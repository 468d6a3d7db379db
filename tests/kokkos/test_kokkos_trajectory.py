"""tests/pair_style/test_trajectory.py by allegro_legato/kk, with one and with two threads."""

from pathlib import Path

import pytest
import test_trajectory
from lammps_run import Program
from test_trajectory import *  # noqa: F403

pytestmark = pytest.mark.usefixtures("with_kokkos")


@pytest.mark.slow
@pytest.mark.parametrize("kokkos_program", [2], indirect=True, ids=["t2"])
def test_energy_is_conserved(kokkos_program: Program, tmp_path: Path, deployed):
    """Once: it asks for two threads whatever the program's own number."""
    test_trajectory.test_energy_is_conserved(tmp_path, deployed)
