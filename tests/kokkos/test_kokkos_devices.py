"""Keyword ``device`` of allegro_legato/kk: Kokkos has chosen the device already."""

import pytest
from lammps_programs import KOKKOS
from lammps_run import lammps_input, run_lammps

pytestmark = pytest.mark.parametrize("lammps", KOKKOS, indirect=True)


def test_device_that_kokkos_did_not_choose(lammps, tmp_path, data_file, deployed):
    here, other = ("GPU", "cpu") if lammps.on_gpu else ("CPU", "cuda")
    remedy = "allegro_legato/kk/host" if lammps.on_gpu else "-k on g 1"
    run = run_lammps(tmp_path, lammps_input(deployed(), style=f"device {other}"))
    assert run.returncode != 0
    assert f"Kokkos runs this pair style on {'a' if here == 'GPU' else 'the'} {here}" in run.error
    assert remedy in run.error


@pytest.mark.parametrize("word", ["the same", "auto"])
def test_device_that_kokkos_chose(word, lammps, tmp_path, data_file, deployed):
    here, same = ("GPU", "cuda") if lammps.on_gpu else ("CPU", "cpu")
    word = same if word == "the same" else word
    run = run_lammps(tmp_path, lammps_input(deployed(), style=f"device {word}"))
    assert run.returncode == 0
    assert f"on the {here}" in run.text
