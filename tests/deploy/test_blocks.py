"""The reference evaluation in blocks, on deployed TorchScript files."""

import numpy as np
import pytest
import torch
from models import CUTOFF, TYPE_NAMES
from nequip.integrations.ase import NequIPCalculator

from nequip_legato.deploy.blocks import MIN_EDGES, evaluate_in_blocks, make_blocks
from nequip_legato.deploy.check import isolated_atoms
from nequip_legato.deploy.export import load_deployed
from nequip_legato.deployed.reader import info

CUTOFFS = torch.full((2, 2), CUTOFF, dtype=torch.float64)
PER_EDGE = {"per_edge_type_cutoff": {"H": {"H": 3.0, "N": 3.5}, "N": 4.0}}


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{}, {"dtype": "float32"}, PER_EDGE, {"ema": True}],
    ids=["float64", "float32", "per_edge_type", "ema"],
)
def test_equals_nequips_calculator(options, unseen, as_frame, checkpoint, deployed):
    path = deployed(**options)
    atoms = unseen.copy()
    atoms.calc = NequIPCalculator._from_saved_model(str(checkpoint(**options)), device="cpu")
    forces = atoms.get_forces()
    largest = np.abs(forces).max()
    assert largest > 0.1
    tolerance = 5e-5 if options.get("dtype") == "float32" else 1e-8 * largest
    cutoffs = torch.tensor(info(path).cutoffs, dtype=torch.float64)
    model = load_deployed(path, device="cpu")
    sums = evaluate_in_blocks(model, as_frame(atoms), cutoffs=cutoffs, sizes=(5, 64))
    np.testing.assert_allclose(sums.forces, forces, rtol=0, atol=tolerance)
    np.testing.assert_allclose(
        sums.energies, atoms.get_potential_energies(), rtol=0, atol=tolerance
    )
    stress = -sums.virial / atoms.get_volume()
    np.testing.assert_allclose(stress, atoms.get_stress(voigt=False), rtol=0, atol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(1,), (3, 1, 20), (1000,)])
def test_independent_of_block_size(sizes, unseen, as_frame, deployed):
    model = load_deployed(deployed(), device="cpu")
    frame = as_frame(unseen)
    one = evaluate_in_blocks(model, frame, cutoffs=CUTOFFS)
    other = evaluate_in_blocks(model, frame, cutoffs=CUTOFFS, sizes=sizes)
    torch.testing.assert_close(other.forces, one.forces, rtol=0, atol=1e-11)
    torch.testing.assert_close(other.energies, one.energies, rtol=0, atol=1e-11)
    torch.testing.assert_close(other.virial, one.virial, rtol=0, atol=1e-9)


def test_forces_are_the_gradient(unseen, as_frame, deployed, rng):
    model = load_deployed(deployed(), device="cpu")
    direction = rng.normal(size=(len(unseen), 3))
    direction /= np.linalg.norm(direction)

    def energy(step: float) -> float:
        moved = unseen.copy()
        moved.positions += step * direction
        return float(evaluate_in_blocks(model, as_frame(moved), cutoffs=CUTOFFS).energies.sum())

    forces = evaluate_in_blocks(model, as_frame(unseen), cutoffs=CUTOFFS).forces.numpy()
    h = 1e-4
    numerical = -(energy(h) - energy(-h)) / (2 * h)
    assert numerical == pytest.approx((forces * direction).sum(), rel=1e-6)


def test_virial_is_the_strain_derivative(unseen, as_frame, deployed, rng):
    model = load_deployed(deployed(), device="cpu")
    strain = rng.normal(size=(3, 3))
    strain += strain.T

    def energy(step: float) -> float:
        moved = unseen.copy()
        moved.set_cell(unseen.cell @ (np.eye(3) + step * strain), scale_atoms=True)
        return float(evaluate_in_blocks(model, as_frame(moved), cutoffs=CUTOFFS).energies.sum())

    virial = evaluate_in_blocks(model, as_frame(unseen), cutoffs=CUTOFFS).virial.numpy()
    h = 1e-5
    numerical = -(energy(h) - energy(-h)) / (2 * h)
    assert numerical == pytest.approx((virial * strain).sum(), rel=1e-5)


def test_blocks_hold_every_edge_once(unseen, as_frame):
    frame = as_frame(unseen)
    blocks = list(make_blocks(frame, cutoffs=CUTOFFS, sizes=(7,)))
    assert sum(len(b.centers) for b in blocks) == frame.n_atoms
    assert sum(len(b.neighbors) for b in blocks) == frame.n_edges
    for block in blocks:
        n_centers = len(block.centers)
        assert block.types[n_centers:].tolist() == [0, 1]
        assert block.edge_index[0].max() < n_centers <= block.edge_index[1].min()
        assert torch.equal(block.types[block.edge_index[1]], frame.types[block.neighbors])


def test_padding_leaves_isolated_atoms_alone(deployed):
    model = load_deployed(deployed(), device="cpu")
    frame = isolated_atoms(num_types=len(TYPE_NAMES), cutoffs=CUTOFFS)
    blocks = list(make_blocks(frame, cutoffs=CUTOFFS, sizes=(1,)))
    assert [len(b.neighbors) for b in blocks] == [0, 0, 1, 1]
    assert all(b.edge_index.shape[1] == MIN_EDGES for b in blocks)
    apart = evaluate_in_blocks(model, frame, cutoffs=CUTOFFS, sizes=(1,))
    together = evaluate_in_blocks(model, frame, cutoffs=CUTOFFS)
    torch.testing.assert_close(apart.energies, together.energies, rtol=0, atol=1e-12)
    torch.testing.assert_close(apart.forces, together.forces, rtol=0, atol=1e-12)
    assert torch.equal(apart.forces[:2], torch.zeros(2, 3, dtype=torch.float64))
    torch.testing.assert_close(apart.forces[2], -apart.forces[3])


def test_edges_beyond_their_cutoff_do_not_count(unseen, as_frame):
    shorter = torch.tensor([[3.0, 3.5], [4.0, 4.0]], dtype=torch.float64)
    frame = as_frame(unseen)
    for block in make_blocks(frame, cutoffs=shorter, sizes=(10,)):
        n = len(block.neighbors)
        lengths = block.edge_vectors[:n].norm(dim=1)
        limit = shorter[block.types[block.edge_index[0, :n]], frame.types[block.neighbors]]
        assert (lengths < limit).all()
