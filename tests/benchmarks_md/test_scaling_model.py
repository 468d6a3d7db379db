"""The prediction of scaling: limits that must hold, and ghosts counted by hand."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

MD = Path(__file__).parents[2] / "benchmarks" / "md"


@pytest.fixture
def model(monkeypatch):
    monkeypatch.syspath_prepend(str(MD))
    import scaling_model

    return scaling_model


@pytest.fixture
def inputs(model):
    return model.Inputs(density=0.1, halo=5.5, fluctuation=0.3)


def test_ghosts_of_random_atoms(model, inputs):
    """Atoms thrown at random around a cube: those outside of it, within the halo in each axis."""
    n = 2000
    side = (n / inputs.density) ** (1 / 3)
    box = side + 4 * inputs.halo
    rng = np.random.default_rng(3)
    atoms = rng.uniform(-box / 2, box / 2, (int(inputs.density * box**3), 3))
    largest = np.abs(atoms).max(axis=1)
    counted = ((largest > side / 2) & (largest <= side / 2 + inputs.halo)).sum()
    assert model.ghosts(n, inputs) == pytest.approx(counted, rel=0.05)


def test_one_rank_has_no_communication(model, inputs):
    parts = model.step(1e5, 1, inputs, model.Machine())
    assert parts["halo"] == parts["reduction"] == parts["imbalance"] == 0.0
    assert parts["total"] == pytest.approx(1e5 * 4e-7 + 1e-3)


def test_the_gpu_is_the_one_that_was_measured(model, monkeypatch):
    monkeypatch.syspath_prepend(str(MD.parent / "gpu"))
    from gpu_tables import fit

    per_atom, fixed = fit(json.loads((MD.parent / "gpu" / "h200.json").read_text()))
    machine = model.Machine()
    assert machine.time_per_atom == pytest.approx(per_atom, rel=0.02)
    assert machine.fixed == pytest.approx(fixed, rel=0.05)


def test_efficiency_falls_with_ranks_and_rises_with_atoms(model, inputs):
    rows = model.predict(inputs, model.Machine(), [1, 8, 512, 4096])["weak"]
    for n in {row["atoms_per_gpu"] for row in rows}:
        values = [row["efficiency"] for row in rows if row["atoms_per_gpu"] == n]
        assert values == sorted(values, reverse=True)
        assert values[0] == 1.0
    last = [row["efficiency"] for row in rows if row["gpus"] == 4096]
    assert last == sorted(last)


def test_strong_scaling_ends_where_fixed_costs_equal_the_models(model, inputs):
    machine = model.Machine(latency=0.0, bandwidth=1e30, reduction=0.0, fixed=3e-3)
    n = model.half_efficiency(replace(inputs, fluctuation=0.0), machine)
    assert n * machine.time_per_atom == pytest.approx(3e-3, rel=0.01)
