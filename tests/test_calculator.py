"""The ASE calculator and the binding below it: their own edges, beyond the pair style's tests."""

import numpy as np
import pytest
import torch
from ase import Atoms
from models import ammonia_frames

from nequip_legato import LegatoCalculator, LegatoError
from nequip_legato.native.engine import load_binding


@pytest.fixture(scope="module")
def engine(deployed):
    return load_binding().Engine(str(deployed()), threads=2, block=3)


def dimer(**options) -> Atoms:
    return Atoms("NH", [[0.0, 0, 0], [1.1, 0.2, 0]], **options)


def test_unknown_element_names_the_known_ones(deployed):
    atoms = Atoms("NO", [[0, 0, 0], [1.2, 0, 0]])
    atoms.calc = LegatoCalculator(deployed())
    with pytest.raises(LegatoError, match="no atom type named O; it has: H N"):
        atoms.get_potential_energy()


def test_elements_can_be_mapped(deployed):
    atoms = dimer()
    atoms.calc = LegatoCalculator(deployed())
    other = Atoms(
        "PH", atoms.positions, calculator=LegatoCalculator(deployed(), type_names={"P": "N"})
    )
    assert other.get_potential_energy() == atoms.get_potential_energy()


@pytest.mark.parametrize("options", [{"threads": 0}, {"block": 0}, {"threads": 10**6}])
def test_bad_options(options, deployed):
    with pytest.raises(LegatoError, match="threads must be between 1 and 1024 and block 1 or more"):
        LegatoCalculator(deployed(), **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch has a GPU here")
def test_device_that_is_not_there(deployed):
    with pytest.raises(LegatoError, match="is to run on a GPU"):
        LegatoCalculator(deployed(), device="cuda")
    with pytest.raises(LegatoError, match="auto, cpu or cuda"):
        LegatoCalculator(deployed(), device="tpu")
    assert LegatoCalculator(deployed(), device="auto").engine.block == 64


def test_missing_file():
    with pytest.raises(LegatoError, match=r"cannot open model file 'nowhere\.nequip\.pth'"):
        LegatoCalculator("nowhere.nequip.pth")


@pytest.mark.parametrize("pbc", [(True, True, False), (False, True, False), (False, False, False)])
def test_partly_periodic(pbc, deployed):
    """A direction that is not periodic is one whose images are far away."""
    atoms = ammonia_frames(1)[0].copy()
    far = atoms.copy()
    far.cell[:] = np.diag(
        [length if p else 60.0 for length, p in zip(atoms.cell.lengths(), pbc, strict=True)]
    )
    atoms.set_pbc(pbc)
    for structure in (atoms, far):
        structure.calc = LegatoCalculator(deployed())
    np.testing.assert_allclose(atoms.get_forces(), far.get_forces(), atol=1e-9)
    assert atoms.get_potential_energy() == pytest.approx(far.get_potential_energy(), abs=1e-9)


def test_atoms_outside_the_cell(deployed):
    atoms = ammonia_frames(1)[0].copy()
    moved = atoms.copy()
    moved.positions += np.random.default_rng(0).integers(-2, 3, (64, 3)) @ atoms.cell.array
    for structure in (atoms, moved):
        structure.calc = LegatoCalculator(deployed())
    np.testing.assert_allclose(atoms.get_forces(), moved.get_forces(), atol=1e-9)


def test_no_atoms(deployed):
    result = (
        load_binding()
        .Engine(str(deployed()))
        .compute(np.zeros((0, 3)), np.zeros(0, int), np.zeros(1, int), np.zeros(0, int))
    )
    assert result["energy"] == 0.0
    assert result["forces"].shape == (0, 3)


def test_invisible_atoms_and_fewer_centers(engine):
    """Type -1 is not seen; atoms beyond the centers give no energy of their own."""
    positions = np.array([[0, 0, 0], [1.1, 0.2, 0], [0.3, 1.0, 0.4]])
    everything = engine.compute(
        positions, np.array([1, 0, -1]), np.array([0, 2, 4, 6]), np.array([1, 2, 0, 2, 0, 1])
    )
    pair = engine.compute(positions[:2], np.array([1, 0]), np.array([0, 1, 2]), np.array([1, 0]))
    assert everything["energy"] == pytest.approx(pair["energy"], abs=1e-12)
    np.testing.assert_array_equal(everything["forces"][2], 0.0)
    first = engine.compute(positions[:2], np.array([1, 0]), np.array([0, 1]), np.array([1]))
    assert first["energy"] == pytest.approx(pair["atomic_energy"][0], abs=1e-12)
    np.testing.assert_allclose(first["forces"].sum(axis=0), 0.0, atol=1e-12)


def test_not_a_number_does_not_hide(engine):
    """Two atoms in one place give NaN; edges evaluated later must not cover it up."""
    positions = np.array([[0, 0, 0], [0, 0, 0], [9, 0, 0], [10.1, 0, 0]])
    result = engine.compute(positions, np.array([1, 0, 1, 0]), np.arange(5), np.array([1, 0, 3, 2]))
    assert np.isnan(result["largest_edge_force"])
    assert np.isfinite(result["forces"][2:]).all()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((np.zeros((2, 2)), [0, 1], [0, 1], [1]), "positions must have shape"),
        ((np.zeros((2, 3)), [0], [0, 1], [1]), "types must have shape"),
        ((np.zeros((2, 3)), [0, 5], [0, 1], [1]), "types must lie between 0 and 1"),
        ((np.zeros((2, 3)), [0, 1], [0, 3], [1]), "offsets must rise"),
        ((np.zeros((2, 3)), [0, 1], [2, 1], [1]), "offsets must rise"),
        ((np.zeros((2, 3)), [0, 1], [0, 1, 1, 1], [1]), "offsets must have shape"),
        ((np.zeros((2, 3)), [0, 1], [0, 1], [2]), "not an atom"),
    ],
)
def test_binding_checks_its_input(arguments, part, engine):
    positions, types, offsets, neighbors = arguments
    with pytest.raises(load_binding().EngineError, match=part):
        engine.compute(positions, np.array(types), np.array(offsets), np.array(neighbors))
