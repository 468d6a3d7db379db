"""tests/pair_style/test_out_of_memory.py by allegro_legato/kk."""

import pytest
from lammps_run import lammps_input, run_lammps
from test_out_of_memory import *  # noqa: F403

pytestmark = pytest.mark.usefixtures("with_kokkos")


def test_device_that_kokkos_did_not_choose(tmp_path, data_file, deployed):
    run = run_lammps(tmp_path, lammps_input(deployed(), style="device cuda"))
    assert run.returncode != 0
    assert "Kokkos runs this pair style on the CPU" in run.error
    assert "-k on g 1" in run.error


@pytest.mark.parametrize("word", ["cpu", "auto"])
def test_device_that_kokkos_chose(word, tmp_path, data_file, deployed):
    run = run_lammps(tmp_path, lammps_input(deployed(), style=f"device {word}"))
    assert run.returncode == 0
    assert "on the CPU" in run.text
