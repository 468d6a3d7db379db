"""Charges on top of the model, a path integral's partitions, cells smaller than the cutoff."""

import numpy as np
import pytest
from ase import Atoms
from lammps_run import write_data
from library_session import session
from molecules import AMMONIA, write_bonded
from nequip.integrations.ase import NequIPCalculator
from processes import PROGRAMS, run_process

from nequip_legato import LegatoCalculator


def test_overlaid_charges(tmp_path, compiled):
    """Factors of 1e-50 keep bonded neighbors for the model, and no Coulomb energy between them."""
    atoms = Atoms("NH3", AMMONIA + 4.5, cell=[10] * 3, pbc=True)
    write_bonded(tmp_path / "data.lammps", atoms, ["H", "N"], bonds=True)
    text = (tmp_path / "data.lammps").read_text().replace("Atoms # bond", "Atoms # full")
    for kind, charge in (("1", 0.27), ("2", -0.81)):
        text = text.replace(f" 1 {kind} 4.", f" 1 {kind} {charge} 4.")
        text = text.replace(f" 1 {kind} 5.", f" 1 {kind} {charge} 5.")
    (tmp_path / "data.lammps").write_text(text)
    answers = session(
        tmp_path,
        f"""
        units metal
        atom_style full
        read_data data.lammps
        bond_style zero
        bond_coeff *
        special_bonds lj/coul 1e-50 1e-50 1e-50
        pair_style coul/long 4.0
        pair_coeff * *
        kspace_style pppm 1e-5
        run 0 post no
        = pe
        kspace_style none
        pair_style allegro_legato
        pair_coeff * * {compiled} H N
        run 0 post no
        = pe
        pair_style hybrid/overlay allegro_legato coul/long 4.0
        pair_coeff * * allegro_legato {compiled} H N
        pair_coeff * * coul/long
        kspace_style pppm 1e-5
        run 0 post no
        = pe
        special_bonds lj/coul 0 0 0
        run 0 post no
        = pe
        """,
    )
    assert not answers.errors
    coulomb, model, both, kept_by_kspace = answers.values
    assert abs(coulomb) > 1e-3
    assert both == pytest.approx(coulomb + model, abs=1e-9)
    assert kept_by_kspace == pytest.approx(both, abs=1e-9)


@pytest.mark.slow
def test_path_integral_partitions(tmp_path, compiled):
    """Each bead has an engine of its own, and the energy of its positions."""
    shape = np.concatenate([AMMONIA + 3.0, AMMONIA + np.array([6.0, 3.0, 3.4])])
    atoms = Atoms("NH3" * 2, shape, cell=[10] * 3, pbc=True)
    write_data(tmp_path / "data.lammps", atoms, ["H", "N"])
    (tmp_path / "in.lammps").write_text(f"""
units metal
atom_style atomic
atom_modify map yes
read_data data.lammps
pair_style allegro_legato
pair_coeff * * {compiled} H N
variable bead world 1 2
timestep 0.0002
fix p all pimd/langevin ensemble nvt integrator obabo temp 300 thermostat PILE_L 1234 tau 1.0
thermo_style custom step pe
run 20
write_dump all custom bead.${{bead}} id type x y z modify sort id format float %.15g
print "$(pe:%.12f)" file energy.${{bead}}
""")
    lmp = [PROGRAMS / "lmp", "-partition", "2x1", "-in", "in.lammps"]
    run_process(PROGRAMS / "mpiexec", "-n", 2, *lmp, cwd=tmp_path, timeout=300)
    energies = []
    for bead in "12":
        rows = np.loadtxt(tmp_path / f"bead.{bead}", skiprows=9)
        moved = atoms.copy()
        moved.positions = rows[:, 2:]
        moved.calc = LegatoCalculator(compiled)
        energies.append(float((tmp_path / f"energy.{bead}").read_text()))
        assert energies[-1] == pytest.approx(moved.get_potential_energy(), abs=1e-8)
    assert abs(energies[0] - energies[1]) > 1e-4


@pytest.mark.parametrize(
    "cell",
    [
        [[0, 1.6, 1.6], [1.6, 0, 1.6], [1.6, 1.6, 0]],
        [[2.2, 0, 0], [8.5, 2.1, 0], [-7.3, 6.1, 2.4]],
        [[1.9, 0, 0], [0, 12, 0], [0, 0, 12]],
    ],
)
def test_skewed_primitive_cell(cell, checkpoint, deployed):
    """One atom in a cell far smaller than the cutoff: the calculator against nequip's own."""
    atoms = Atoms("N", [[0.3, 0.2, 0.1]], cell=cell, pbc=True)
    theirs = atoms.copy()
    atoms.calc = LegatoCalculator(deployed())
    theirs.calc = NequIPCalculator._from_saved_model(str(checkpoint()), device="cpu")
    energy, stress = theirs.get_potential_energy(), theirs.get_stress()
    assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-9)
    np.testing.assert_allclose(atoms.get_stress(), stress, atol=1e-9 * np.abs(stress).max())
