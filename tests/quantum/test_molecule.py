"""The molecule of ammonia with a deployed model: quantum against its own Hessian; the example."""

import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import molecule
from ase.calculators.morse import MorsePotential
from ase.optimize import BFGS
from filelock import FileLock
from processes import run_process
from springs import run_campaign, write_campaign

from nequip_legato.calculator import LegatoCalculator
from nequip_legato.errors import LegatoError
from nequip_legato.quantum import harmonic
from nequip_legato.quantum.hessian import hessian, kinetic_energies, normal_modes
from nequip_legato.quantum.isotopes import MASSES, standard_mass
from nequip_legato.quantum.report import report
from nequip_legato.quantum.units import BOLTZMANN, HBAR, MASS

EXAMPLE = Path(__file__).parents[2] / "examples" / "nh3_quantum"

sys.path.insert(0, str(EXAMPLE))
import stretch  # noqa: E402


def test_a_diatomic_has_the_frequency_of_its_curve():
    """Morse: k = 2 D (rho/r0)^2; atoms share the vibration's energy by their masses."""
    atoms = Atoms("NH", [[0, 0, 0], [0, 0, 1.0]])
    atoms.calc = MorsePotential(epsilon=4.0, r0=1.0, rho0=2.0, rcut1=20.0, rcut2=30.0)
    masses = np.array([14.007, MASSES["H"]])
    omega, modes = normal_modes(hessian(atoms), masses)
    reduced = masses.prod() / masses.sum() * MASS
    expected = np.sqrt(2 * 4.0 * 2.0**2 / reduced)
    assert omega[-1] == pytest.approx(expected, rel=1e-3)
    energies = kinetic_energies(omega, modes, 200.0, 8)
    thermal = 0.5 * BOLTZMANN * 200.0
    vibration = harmonic.kinetic_energy(omega[-1], 200.0, 8)
    assert energies.sum() == pytest.approx(5 * thermal + vibration)
    # the light atom has most of it: the share of the other's mass
    more = vibration - thermal
    assert energies[1] == pytest.approx(3 * thermal + more * masses[0] / masses.sum(), rel=1e-6)
    atoms.positions[1, 2] = 2.0  # beyond the inflection
    with pytest.raises(LegatoError, match="relax the structure"):
        normal_modes(hessian(atoms), masses)


@pytest.mark.parametrize("isotope", ["H", "D"])
def test_levels_of_a_morse_curve(isotope):
    """Closed form: E_n = h w (n + 1/2) - (h w (n + 1/2))^2 / 4 D."""
    depth, width, bond = 4.0, 2.2, 1.0  # eV, 1/A, A
    reduced = 1 / (1 / MASSES[isotope] + 1 / standard_mass("N"))
    quantum = HBAR * width * np.sqrt(2 * depth / (reduced * MASS)) * (np.arange(3) + 0.5)
    found = stretch.levels(
        lambda r: depth * (1 - np.exp(-width * (r - bond))) ** 2, reduced, 0.5, 2.5
    )
    np.testing.assert_allclose(found[:3], quantum - quantum**2 / (4 * depth), rtol=1e-6)


def test_stretch_of_a_model(deployed):
    """The table for any calculator, here a tiny model by its deployed file."""
    table = stretch.stretch_table({"tiny": LegatoCalculator(deployed())})
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| tiny | N-")]
    assert [row[1] for row in rows] == ["N-H", "N-D"]
    harmonic = [float(row[2]) for row in rows]
    reduced = [1 / (1 / MASSES[name] + 1 / standard_mass("N")) for name in "HD"]
    assert harmonic[0] / harmonic[1] == pytest.approx((reduced[1] / reduced[0]) ** 0.5, rel=2e-3)


@pytest.fixture(scope="module")
def example(shared_folder) -> Path:
    """Folder of the example's small version: from the shipped data to pictures; made once."""
    out = shared_folder / "quantum_example"
    with FileLock(shared_folder / "quantum_example.lock"):
        if not (out / "summary.md").is_file():
            command = [EXAMPLE / "quantum.py", "--small", "--out", out]
            run_process(sys.executable, *command, timeout=1700)
    return out


@pytest.mark.slow
def test_the_example_runs_from_data_to_pictures(example):
    """Trained, deployed with a fence, run, reported on."""
    summary = (example / "summary.md").read_text()
    for title in ("## Structure", "## Molecule", "## Spectra", "Hessian", "Failures of the model"):
        assert title in summary
    assert list(example.glob("*.png"))


@pytest.mark.slow
def test_the_molecule_is_nearly_harmonic(tmp_path, example):
    """H and D, four beads by i-PI, with the pair style; within a tenth, which is anharmonicity."""
    model = example / "plain.nequip.pth"
    atoms = molecule("NH3")
    atoms.calc = LegatoCalculator(model)
    BFGS(atoms, logfile=None).run(fmax=1e-3, steps=300)
    matrix = hessian(atoms)
    path = write_campaign(
        tmp_path,
        models=[{"name": "small", "file": str(model)}],
        systems=[{"name": "molecule", "structure": "nh3.xyz"}],
        isotopes=[{"name": "h"}, {"name": "d", "masses": {"H": "D"}}],
        methods=["pimd"],
        beads=[4],
        engine="i-pi",
        temperatures=[220.0],
        timestep=0.5,
        damping_fs=50.0,
        equilibration_steps=100,
        steps=500,
        fix_center_of_mass=True,
        geometry={"rdf": "off"},
    )
    ase.io.write(tmp_path / "nh3.xyz", atoms, format="extxyz")
    run_campaign(path)
    cells = {c.key.isotopes: c for c in report(path.with_suffix("")).cells}
    found = {}
    for key, isotope in (("h", "H"), ("d", "D")):
        masses = np.array([14.007, *[MASSES[isotope]] * 3])
        omega, modes = normal_modes(matrix, masses)
        exact = kinetic_energies(omega, modes, 220.0, 4)
        got = cells[key].virial[isotope]
        assert abs(got.value - exact[1]) < 4 * got.error + 0.1 * exact[1], isotope
        found[isotope] = got
    classical = 1.5 * BOLTZMANN * 220.0
    assert found["H"].value > found["D"].value > 1.3 * classical


def test_the_examples_campaigns_are_real(tmp_path):
    """Their settings are read as they stand, but for the model."""
    from nequip_legato.quantum.resolve import load_quantum_settings

    for path in sorted(EXAMPLE.glob("*.yaml")):
        content = yaml.safe_load(path.read_text())
        content["models"] = [{"name": "springs", "commands": "pair_style zero 3.0"}]
        for system in content["systems"]:
            system["structure"] = str(EXAMPLE / system["structure"])
        copy = tmp_path / path.name
        copy.write_text(yaml.safe_dump(content))
        assert load_quantum_settings(copy).types == ("H", "N")
