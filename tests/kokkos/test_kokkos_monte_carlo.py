"""LAMMPS 4 Jul 2026 says when forces are dropped; both styles then compute energies alone."""

import numpy as np
import pytest
from lammps_programs import KOKKOS
from lammps_run import lammps_input, succeed
from telling_model import WITH_FORCES, telling


@pytest.mark.float64("differences of the energy need positions in float64")
@pytest.mark.parametrize("lammps", KOKKOS, indirect=True)
@pytest.mark.parametrize("style", ["kk", "plain"])
def test_energies_alone(style, with_monte_carlo, tmp_path, data_file, deployed):
    """Differences of energies are forces, and only the steps of a run differentiate the model."""
    model = telling(deployed(), tmp_path / "telling.nequip.pth")
    pair = f"pair_style allegro_legato\npair_coeff * * {model} H N"
    if style == "plain":
        pair = f"suffix off\n{pair}\nsuffix on"
    after = """
group few id 1:3
fix num few numdiff 1 1e-4
variable off atom abs(f_num[1]-fx)
compute off few reduce max v_off
compute domain all pair allegro_legato
thermo_style custom step pe c_off c_domain[1] c_domain[2] c_domain[3]
"""
    script = lammps_input(model, steps=2, pair=pair, after=after, before="atom_modify map yes")
    run = succeed(tmp_path, script)
    assert np.all(run.thermo["c_off"][1:] < 2e-5)
    assert np.all(run.thermo["c_domain[3]"] > 0.1)
    steps = 2 + 1 + 1  # and the set-ups of the run and of write_dump's last force call
    blocks = run.text.count(WITH_FORCES)
    assert blocks <= 2 * steps  # a block for each thread, of which there are two at most
