"""Monte Carlo fixes: acceptance as in an ideal gas, and energy differences computed apart."""

import numpy as np
import pytest
from ase import Atoms
from lammps_run import program, succeed, write_data
from library_session import session
from molecules import AMMONIA, far_apart, write_bonded, write_template

from nequip_legato import LegatoCalculator
from nequip_legato.deploy import info

pytestmark = pytest.mark.usefixtures("with_monte_carlo")
DIFFERENCES = pytest.mark.float64("differences of the energy need positions in float64")

K = 8.617343e-5  # LAMMPS' Boltzmann constant in units metal, eV/K
HOT = 3000.0  # K; at 300 K exp(E0/kT) is beyond double precision
ALONE = np.zeros((1, 3))
CONTROL = "pair_style lj/cut 4.0\npair_coeff * * 0.0 1.0"


def model(path) -> str:
    return f"pair_style allegro_legato\npair_coeff * * {path} H N"


def start(style: str, pair: str) -> str:
    return f"""
        units metal
        atom_style {style}
        atom_modify map yes
        read_data data.lammps
        {pair}
        neigh_modify every 1 delay 0
        thermo_style custom step atoms pe
        run 0 post no
        = pe
    """


def energy_of(path, atoms: Atoms) -> float:
    """Energy (eV) by the calculator."""
    atoms = atoms.copy()
    atoms.calc = LegatoCalculator(path)
    return atoms.get_potential_energy()


def chemical_potential(n: float, volume: float, mass: float, temperature: float) -> float:
    """mu (eV) at which an ideal gas has n particles on average."""
    wavelength = np.sqrt(4.135667403e-3**2 / (2 * np.pi * mass * 1.0364269e-4 * K * temperature))
    return K * temperature * np.log(n * wavelength**3 / volume)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_ideal_gas_of_atoms(ranks, tmp_path, deployed):
    """Lennard-Jones without any attraction, mu without E0: the same moves are accepted."""
    atoms = far_apart("N", ALONE)
    write_data(tmp_path / "data.lammps", atoms, ["H", "N"])
    e0 = energy_of(deployed(), Atoms("N", [[1, 1, 1]], cell=[20] * 3, pbc=True))
    mu = chemical_potential(27, atoms.get_volume(), 14.007, HOT)
    found = []
    for pair, shift in ((model(deployed()), e0), (CONTROL, 0.0)):
        lines = (
            start("atomic", pair)
            + f"""
            group gas type 2
            fix mc gas gcmc 1 15 5 2 29494 {HOT} {mu + shift:.15g} 0.5 full_energy
            run 15
            = atoms
            = f_mc[2]
            = f_mc[4]
            = f_mc[6]
        """
        )
        answers = session(tmp_path, lines, ranks=ranks)
        assert not answers.errors
        found.append(answers.values[1:])
    assert found[0] == found[1]
    n, moved, inserted, deleted = found[0]
    assert 12 < n < 42  # 27 +- 3 standard deviations
    assert min(moved, inserted, deleted) > 20


@pytest.mark.slow
def test_ideal_gas_of_molecules(tmp_path, deployed):
    """Molecules far apart, their own energy taken off by ``intra_energy``, at room temperature."""
    atoms = far_apart("NH3", AMMONIA, count=8, spacing=90.0)
    write_bonded(tmp_path / "data.lammps", atoms, ["H", "N"])
    write_template(tmp_path / "nh3.mol", "NH3", AMMONIA, ["H", "N"])
    intra = energy_of(deployed(), Atoms("NH3", AMMONIA + 5.0, cell=[20] * 3, pbc=True))
    mu = chemical_potential(8, atoms.get_volume(), 17.031, 300.0)
    found = []
    for pair, energy in ((model(deployed()), intra), (CONTROL, 0.0)):
        lines = (
            start("bond", pair + "\nspecial_bonds lj/coul 1 1 1")
            + f"""
            molecule ammonia nh3.mol
            fix mc all gcmc 1 10 5 0 29494 300.0 {mu:.15g} 0.5 mol ammonia full_energy &
              intra_energy {energy:.15g}
            run 15
            = atoms
            = f_mc[2]
            = f_mc[4]
            = f_mc[6]
            = f_mc[8]
        """.replace("&\n", "")
        )
        answers = session(tmp_path, lines)
        assert not answers.errors
        found.append(answers.values[1:])
    assert found[0] == found[1]
    assert min(found[0][1:4]) > 10


@pytest.mark.slow
@DIFFERENCES
def test_deletion_from_a_liquid(tmp_path, ammonia, deployed):
    """Accepted just where mu is below the difference of energies computed apart."""
    atoms = ammonia.copy()
    write_data(tmp_path / "data.lammps", atoms, ["H", "N"])
    nitrogen = next(i for i, a in enumerate(atoms) if a.symbol == "N")
    rest = atoms.copy()
    del rest[nitrogen]
    difference = energy_of(deployed(), atoms) - energy_of(deployed(), rest)
    ideal = chemical_potential(1, atoms.get_volume(), 14.007, HOT)
    for shift, deleted in ((-5.0, 1.0), (5.0, 0.0)):
        lines = (
            start("atomic", model(deployed()))
            + f"""
            group gas id {nitrogen + 1}
            fix mc gas gcmc 1 1 0 2 29494 {HOT} {ideal + difference + shift:.15g} 0.5 max 1
            run 10
            = f_mc[5]
            = f_mc[6]
            = pe
        """
        )
        answers = session(tmp_path, lines)
        assert not answers.errors
        assert answers.values[1] > 0
        assert answers.values[2] == deleted
        left = rest if deleted else atoms
        assert answers.values[3] == pytest.approx(energy_of(deployed(), left), abs=1e-8)


def test_widom(tmp_path, deployed):
    """The excess chemical potential of an atom in an ideal gas is its energy E0."""
    write_data(tmp_path / "data.lammps", far_apart("N", ALONE), ["H", "N"])
    lines = (
        start("atomic", model(deployed()))
        + f"""
        fix w all widom 1 10 2 29494 {HOT}
        run 1
        = f_w[1]
    """
    )
    answers = session(tmp_path, lines)
    assert not answers.errors
    assert answers.values[1] == pytest.approx(answers.values[0] / 27, abs=1e-8)


CUTOFFS = {"per_edge_type_cutoff": {"H": 3.0, "N": {"H": 3.5, "N": 4.0}}}


@pytest.mark.slow
@DIFFERENCES
@pytest.mark.parametrize("options", [{}, CUTOFFS], ids=["one-cutoff", "cutoffs-by-type"])
def test_atom_swap(options, tmp_path, ammonia, deployed):
    """A nitrogen atom becomes hydrogen just where the difference of mu pays for it."""
    path = deployed(**options)
    write_data(tmp_path / "data.lammps", ammonia, ["H", "N"])
    nitrogen = next(i for i, a in enumerate(ammonia) if a.symbol == "N")
    swapped = ammonia.copy()
    swapped.symbols[nitrogen] = "H"
    difference = energy_of(path, swapped) - energy_of(path, ammonia)
    for shift, accepted in ((-1e-3, 0), (1e-3, 1)):
        lines = (
            start("atomic", model(path))
            + f"""
            group one id {nitrogen + 1}
            fix s one atom/swap 1 1 2 1.0 semi-grand yes types 1 2 mu {difference + shift:.9f} 0
            run 8
            = f_s[1]
            = f_s[2]
            = pe
        """
        )
        answers = session(tmp_path, lines)
        assert not answers.errors
        assert answers.values[1] > 2
        assert answers.values[2] == accepted
        left = energy_of(path, swapped if accepted else ammonia)
        assert answers.values[3] == pytest.approx(left, abs=1e-8)


@pytest.mark.slow
@DIFFERENCES
def test_molecule_swap(tmp_path, ammonia, deployed):
    """H and N of a molecule change places where that lowers the energy, and not back."""
    symbols = ammonia.get_chemical_symbols()
    first = symbols.index("N")
    members = [first, *np.argsort(ammonia.get_distances(first, range(64), mic=True))[1:4]]
    order = [*members, *(i for i in range(64) if i not in members)]
    atoms = ammonia[order]
    swapped = atoms.copy()
    swapped.symbols[:4] = ["N" if s == "H" else "H" for s in swapped.get_chemical_symbols()[:4]]
    energies = {name: energy_of(deployed(), a) for name, a in (("as", atoms), ("swapped", swapped))}
    assert abs(energies["as"] - energies["swapped"]) > 2e-3  # 23 kT
    lower = min(energies.values())
    for begin in (atoms, swapped):
        write_bonded(tmp_path / "data.lammps", begin, ["H", "N"])
        lines = (
            start("bond", model(deployed()))
            + """
            group one molecule 1
            fix s one mol/swap 1 1 1 2 29494 1.0
            run 4
            = f_s[2]
            = pe
        """
        )
        answers = session(tmp_path, lines)
        assert not answers.errors
        accepted, energy = answers.values[1:]
        assert accepted == (answers.values[0] > lower + 1e-6)
        assert energy == pytest.approx(lower, abs=1e-8)


@pytest.mark.slow
def test_ions(tmp_path, deployed):
    """charge/regulation with ions that do not meet: as with Lennard-Jones and no E0."""
    if program().kokkos_threads:
        pytest.skip("atom_style charge is not in that LAMMPS")
    atoms = far_apart("HN", np.array([[0.0, 0, 0], [12.0, 12.0, 12.0]]))
    write_data(tmp_path / "data.lammps", atoms, ["H", "N"])
    # ions of charge +1 and -1
    head, _, rows = (tmp_path / "data.lammps").read_text().partition("Atoms # atomic\n\n")
    lines = [row.split(maxsplit=2) for row in rows.partition("\n\n")[0].splitlines()]
    rows = "\n".join(f"{number} {kind} {3 - 2 * int(kind)} {x}" for number, kind, x in lines)
    (tmp_path / "data.lammps").write_text(f"{head}Atoms # charge\n\n{rows}\n")
    shifts = [
        -energy_of(deployed(), Atoms(s, ALONE, cell=[20] * 3, pbc=True)) / (K * HOT * np.log(10))
        for s in ("H", "N")
    ]
    found = []
    for pair, shift in ((model(deployed()), shifts), (CONTROL, [0.0, 0.0])):
        lines = (
            start("charge", pair)
            + f"""
            fix mc all charge/regulation 1 2 pIp {2.1 + shift[0]:.12f} pIm {2.1 + shift[1]:.12f} &
              lunit_nm 0.1 temp {HOT} nevery 1 nmc 10 seed 2345
            run 12
            = atoms
            = f_mc[1]
            = f_mc[2]
            = f_mc[7]
            = f_mc[8]
        """.replace("&\n", "")
        )
        answers = session(tmp_path, lines)
        assert not answers.errors, answers.errors
        found.append(answers.values[1:])
    assert found[0] == found[1]
    assert found[0][2] > 10


@pytest.mark.slow
def test_energies_beyond_the_exponential_are_warned_of(tmp_path, deployed):
    """At 300 K exp(E0/kT) is zero for an atom of tens of eV, and no move would be accepted."""
    atoms = Atoms("N", [[10.0, 10, 10]], cell=[20.0] * 3, pbc=True)
    write_data(tmp_path / "data.lammps", atoms, ["H", "N"])
    e0 = energy_of(deployed(), atoms)
    assert info(deployed()).isolated_energy[1] == pytest.approx(e0, abs=1e-10)
    lines = f"""
units metal
atom_style atomic
atom_modify map yes
read_data data.lammps
{model(deployed())}
"""
    insertion = "fix mc all gcmc 1 1 0 2 29494 300.0 0.0 0.5 full_energy\n"
    assert "intra_energy" not in succeed(tmp_path, lines + "run 0\n").text
    said = succeed(tmp_path, f"{lines}{insertion}run 0\n").text
    warning = next(line for line in said.splitlines() if "an isolated atom of type 2" in line)
    given = float(warning.partition("intra_energy ")[2].split("'")[0])
    assert given == pytest.approx(e0, abs=1e-7)
