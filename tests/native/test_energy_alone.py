"""Energies without forces: the same numbers, for less."""

from pathlib import Path

import numpy as np
import pytest
import torch
from kept import compiled_from, kept_folder
from models import CUTOFF, ammonia_frames

from nequip_legato import LegatoCalculator
from nequip_legato.cli import deploy_main
from nequip_legato.deploy import info
from nequip_legato.deploy.check import isolated_atoms, reference_of
from nequip_legato.deploy.finished import FinishedFile, check_finished
from nequip_legato.native.engine import load_binding
from nequip_legato.trained.checkpoint import open_source


def compute(path, *, with_forces: bool, threads: int = 1) -> tuple[dict, float]:
    """64 atoms in vacuum: the engine's results, and seconds inside the model."""
    atoms = ammonia_frames(1)[0]
    engine = load_binding().Engine(str(path), threads=threads, block=20)
    distance = np.linalg.norm(atoms.positions[:, None] - atoms.positions, axis=2)
    np.fill_diagonal(distance, np.inf)
    center, neighbor = np.nonzero(distance < engine.cutoff)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(center, minlength=len(atoms)))])
    types = (atoms.numbers == 7).astype(np.int32)
    arguments = (atoms.positions, types, offsets, neighbor, with_forces)
    engine.compute(*arguments)
    before = engine.model_seconds()
    result = engine.compute(*arguments)
    return result, engine.model_seconds() - before


def check(path) -> None:
    whole, seconds = compute(path, with_forces=True)
    alone, fewer = compute(path, with_forces=False)
    np.testing.assert_allclose(alone["atomic_energy"], whole["atomic_energy"], rtol=1e-12)
    assert alone["energy"] == pytest.approx(whole["energy"], rel=1e-12)
    assert alone["smallest_distance_ratio"] == whole["smallest_distance_ratio"]
    assert not {"forces", "virial", "atomic_virial", "centroid_virial"} & set(alone)
    assert 0 < fewer < 0.8 * seconds  # half for real models; these are tiny


def test_torchscript(deployed):
    check(deployed())


@pytest.mark.slow
def test_aotinductor_with_a_second_model(checkpoint):
    def make(folder: Path) -> None:
        arguments = ["build", str(checkpoint()), str(folder / "model.nequip.pt2"), "--energy-model"]
        assert deploy_main(arguments) == 0

    path = kept_folder("with-energy-model", compiled_from(checkpoint()), make) / "model.nequip.pt2"
    assert info(path).entries["legato_energy_model"] == "1"
    check(path)
    # by torch's own loader too, which checks the file where the engine cannot be built
    cutoffs = torch.full((2, 2), CUTOFF, dtype=torch.float64)
    model = open_source(checkpoint(), model_key="sole_model").model
    reference = reference_of(model, isolated_atoms(num_types=2, cutoffs=cutoffs))
    file = FinishedFile(path, "cpu", "float64", cutoffs, "", energy_model=True)
    assert check_finished(file, [reference], engine=None).energy < 1e-9


def test_threads_do_not_matter(deployed):
    one, _ = compute(deployed(), with_forces=False)
    three, _ = compute(deployed(), with_forces=False, threads=3)
    np.testing.assert_allclose(three["atomic_energy"], one["atomic_energy"], rtol=1e-12)


def test_calculator_computes_forces_only_when_asked(deployed):
    atoms, other = ammonia_frames(1)[0].copy(), ammonia_frames(1)[0].copy()
    atoms.calc, other.calc = LegatoCalculator(deployed()), LegatoCalculator(deployed())
    energy = atoms.get_potential_energy()
    assert "forces" not in atoms.calc.results
    np.testing.assert_array_equal(atoms.get_forces(), other.get_forces())
    assert other.get_potential_energy() == pytest.approx(energy, rel=1e-12)
    assert atoms.get_stress().shape == (6,)
