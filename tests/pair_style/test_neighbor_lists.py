"""What LAMMPS takes out of neighbor lists is an error that names it, or has the right answer."""

import numpy as np
import pytest
from ase import Atoms
from lammps_run import program, write_data
from library_session import session
from molecules import AMMONIA, write_bonded

from nequip_legato import LegatoCalculator

pytestmark = pytest.mark.usefixtures("lammps")

GROUPS = """
group few id 1:8
group rest subtract all few
"""
# setting -> how to undo it
THINNING = {
    "neigh_modify exclude type 1 1": "neigh_modify exclude none",
    "neigh_modify exclude type 1 2": "neigh_modify exclude none",
    "neigh_modify exclude group few few": "neigh_modify exclude none",
    "neigh_modify exclude group few rest": "neigh_modify exclude none",
    "neigh_modify exclude group all all": "neigh_modify exclude none",
    "neigh_modify exclude molecule/intra all": "neigh_modify exclude none",
    "neigh_modify exclude molecule/inter few": "neigh_modify exclude none",
    "neigh_modify include few": "neigh_modify include all",  # LAMMPS complains, but does it
    "comm_modify group few": "comm_modify group all",
}


def start(style: str, pair: str) -> str:
    return f"units metal\natom_style {style}\natom_modify map yes\nread_data data.lammps\n{pair}\n"


def model(path) -> str:
    return f"pair_style allegro_legato\npair_coeff * * {path} H N"


@pytest.mark.parametrize("ranks", [1, 2])
def test_thinned_lists_are_refused(ranks, tmp_path, ammonia, compiled):
    """Each setting is named, and once it is gone the energy is what it was."""
    write_bonded(tmp_path / "data.lammps", ammonia, ["H", "N"])
    lines = f"{start('bond', model(compiled))}\nrun 0 post no\n= pe{GROUPS}atom_modify first few\n"
    for setting, undo in THINNING.items():
        lines += f"{setting}\nrun 0 post no\n{undo}\nrun 0 post no\n= pe\n"
    answers = session(tmp_path, lines, ranks=ranks)
    errors = [error for error in answers.errors if "allegro_legato" in error]
    assert len(errors) == len(THINNING), errors
    for setting, error in zip(THINNING, errors, strict=True):
        assert f"'{setting}' takes some from its neighbor list; remove it" in error
    np.testing.assert_allclose(answers.values, answers.values[0], rtol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pair", "part"),
    [
        ("hybrid", "pair_coeff 1 2 lj/cut 0.0 1.0"),
        ("hybrid", "pair_coeff 2 2 lj/cut 0.0 1.0"),
        ("hybrid/overlay", "pair_coeff 1 2 none"),
    ],
)
def test_pairs_of_another_style_are_refused(pair, part, tmp_path, ammonia, data_file, compiled):
    coeff = f"pair_coeff * * allegro_legato {compiled} H N"
    lines = start("atomic", f"pair_style {pair} allegro_legato lj/cut 4.0\n{coeff}")
    lines += f"pair_coeff 1 1 lj/cut 0.0 1.0\n{coeff}\n{part}\nrun 0\n"
    lines += "pair_style hybrid/overlay allegro_legato lj/cut 4.0\n"
    lines += f"{coeff}\npair_coeff 1 2 lj/cut 0.0 1.0\nrun 0\n= pe\n"
    answers = session(tmp_path, lines)
    (error,) = answers.errors
    types = " ".join(part.split()[1:3])
    assert f"for atom types {types} takes some from its neighbor list" in error
    assert "hybrid/overlay" in error
    ammonia.calc = LegatoCalculator(compiled)
    assert answers.values == pytest.approx([ammonia.get_potential_energy()], abs=1e-9)


@pytest.mark.slow
def test_exclusions_of_other_atoms_are_none_of_its_business(tmp_path, ammonia, compiled):
    """Argon has no part in the model, so that anything may be left out for it."""
    argon = Atoms("Ar4", [[1, 1, 14], [4, 4, 14], [1, 4, 14.5], [4, 1, 14.5]])
    atoms = ammonia.copy()
    atoms.cell[2, 2] = 20.0
    write_bonded(tmp_path / "data.lammps", atoms + argon, ["H", "N", "Ar"])
    pair = f"""
        pair_style hybrid/overlay allegro_legato lj/cut 4.0
        pair_coeff * * allegro_legato {compiled} H N NULL
        pair_coeff * 3 lj/cut 0.0 1.0
        group argon type 3
        group others subtract all argon
        run 0 post no
        = pe
    """
    settings = ("exclude type 3 3", "exclude type 1 3", "exclude group argon argon",
                "exclude group argon others", "exclude molecule/intra argon")  # fmt: skip
    lines = start("bond", pair)
    lines += "".join(f"neigh_modify {setting}\nrun 0 post no\n= pe\n" for setting in settings)
    answers = session(tmp_path, lines)
    assert not answers.errors
    atoms.calc = LegatoCalculator(compiled)
    np.testing.assert_allclose(answers.values, atoms.get_potential_energy(), atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_atoms_excluded_against_all_are_absent(ranks, tmp_path, ammonia, compiled):
    """No energy of their own, nobody's neighbors, and without a say in compute pair."""
    close = ammonia.positions[5] + np.array([0.3, 0.0, 0.0])
    with_two_more = ammonia + Atoms("NH", [close, close + np.array([0.0, 0.4, 0.0])])
    domain = """
        compute domain all pair allegro_legato
        compute f few reduce sumsq fx fy fz
        thermo_style custom step pe press c_domain[1] c_f[1]
        thermo_modify norm no
    """
    values = "run 0 post no\n= pe\n= c_domain[1]\n= c_domain[2]\n= c_domain[3]\n"
    values += "= c_f[1]\n= c_f[2]\n= c_f[3]\n= press\n"
    found = []
    for atoms, exclude in ((with_two_more, True), (ammonia, False)):
        write_data(tmp_path / "data.lammps", atoms, ["H", "N"])
        lines = start("atomic", model(compiled)) + "group few id 1:8\n" + domain
        lines += "compute_modify thermo_temp dynamic/dof yes\nvelocity all set 0 0 0\n"
        lines += "group more id > 64\nneigh_modify exclude group more all\n" if exclude else ""
        answers = session(tmp_path, lines + values, ranks=ranks)
        assert not answers.errors
        found.append(answers.values)
        log = (tmp_path / "log.session").read_text()
        assert ("2 atoms are absent for the model" in log) == exclude
    np.testing.assert_allclose(*found, rtol=1e-9)
    assert found[0][1] > 0.9  # 0.3 A would be far below any in training


def ammonia_pair(bonds: bool, path) -> None:
    shape = np.concatenate([AMMONIA + 3.0, AMMONIA + np.array([6.0, 3.0, 3.4])])
    atoms = Atoms("NH3" * 2, shape, cell=[10] * 3, pbc=True)
    write_bonded(path, atoms, ["H", "N"], bonds=bonds)


@pytest.mark.slow
@pytest.mark.parametrize("factors", ["0.0 0.0 0.0", "1.0 0.0 1.0"])
def test_bonded_neighbors_count_where_there_are_any(factors, tmp_path, compiled):
    """1-2 and 1-3 neighbors are dropped where their factor is zero; without bonds none is."""
    energies = []
    for bonds in (False, True):
        ammonia_pair(bonds, tmp_path / "data.lammps")
        lines = start("bond", f"{model(compiled)}\nbond_style zero\nbond_coeff *")
        lines += f"special_bonds lj/coul {factors}\nrun 0\n"
        lines += "special_bonds lj/coul 1 1 1\nrun 0\n= pe\nspecial_bonds lj/coul 0 0 0\n"
        lines += f"""
            pair_style hybrid/overlay allegro_legato lj/cut 4.0
            pair_coeff * * allegro_legato {compiled} H N
            pair_coeff * * lj/cut 0.0 1.0
            run 0
            special_bonds lj/coul 1e-50 1e-50 1e-50
            run 0
            = pe
        """
        answers = session(tmp_path, lines)
        energies += answers.values
        if bonds:
            alone, overlaid = answers.errors
            assert "use 'special_bonds lj/coul 1.0 1.0 1.0'" in alone
            assert "use 'special_bonds lj/coul 1e-50 1e-50 1e-50'" in overlaid
        else:
            assert not answers.errors
    np.testing.assert_allclose(energies, energies[0], rtol=1e-13)


def test_bond_that_a_fix_makes_later(tmp_path, compiled):
    if program().kokkos_threads:
        pytest.skip("fix bond/create is not in that LAMMPS")
    ammonia_pair(False, tmp_path / "data.lammps")
    lines = start("bond", f"{model(compiled)}\nbond_style zero\nbond_coeff *")
    lines += "run 0\nfix make all bond/create 1 2 1 1.2 1\nrun 2\n"
    (error,) = session(tmp_path, lines).errors
    assert "special_bonds with factors of zero, for bonded atoms" in error


def test_two_dimensions(tmp_path, compiled):
    """A layer without images above and below is a slab with vacuum."""
    rng = np.random.default_rng(8)
    places = [[x, y, 0.0] for x in np.arange(0.5, 9, 1.5) for y in np.arange(0.5, 9, 1.5)]
    atoms = Atoms("NH" * (len(places) // 2), places, cell=[9, 9, 1.0], pbc=True)
    atoms.positions[:, :2] += rng.normal(scale=0.1, size=(len(atoms), 2))
    write_data(tmp_path / "data.lammps", atoms, ["H", "N"])
    data = (tmp_path / "data.lammps").read_text()
    (tmp_path / "data.lammps").write_text(data.replace("0 1 zlo zhi", "-0.5 0.5 zlo zhi"))
    lines = "dimension 2\n" + start("atomic", model(compiled))
    lines += "thermo_style custom step pe pxx pyy pxy\nvelocity all set 0 0 0\nrun 0\n"
    lines += "= pe\n= fx[1]\n= fy[7]\n= pxx\n= pyy\n= pxy\n"
    answers = session(tmp_path, lines)
    assert not answers.errors
    slab = atoms.copy()
    slab.cell[2, 2] = 30.0
    slab.calc = LegatoCalculator(compiled)
    force, stress = slab.get_forces(), slab.get_stress(voigt=False)
    # LAMMPS' pressure in two dimensions is per area
    pressure = -stress[[0, 1, 0], [0, 1, 1]]
    scale = slab.get_volume() / 81.0 * 1.6021765e6
    np.testing.assert_allclose(answers.values[0], slab.get_potential_energy(), atol=1e-9)
    np.testing.assert_allclose(answers.values[1:3], [force[0, 0], force[6, 1]], atol=1e-9)
    np.testing.assert_allclose(answers.values[3:], pressure * scale, rtol=1e-8)
