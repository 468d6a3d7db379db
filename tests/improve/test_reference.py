"""A calculator that did not make the training data is found out by one label."""

from dataclasses import replace

import ase.io
import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from improve_cases import liquid

from nequip_legato.errors import LegatoError
from nequip_legato.improve.exchange import RETURNED, WANTED
from nequip_legato.improve.knowledge import Origin
from nequip_legato.improve.rounds import Round, Show, label_store
from nequip_legato.improve.settings import Checks, ImproveSettings
from nequip_legato.improve.stages import label
from nequip_legato.improve.structures import id_of

CALCULATOR = {"_target_": "ase.calculators.emt.EMT"}


def by_emt(atoms, *, energy: float = 0.0, force: float = 0.0):
    """A copy with EMT's labels, off by so much."""
    copy = atoms.copy()
    for name in ("names", "type", "id", "flagged"):
        copy.arrays.pop(name, None)
    copy.calc = EMT()
    forces = copy.get_forces()
    forces[3, 1] += force
    values = {"energy": copy.get_potential_energy() + energy * len(copy), "forces": forces}
    copy.calc = SinglePointCalculator(copy, **values, stress=EMT().get_stress(copy))
    return copy


@pytest.fixture
def loop(tmp_path):
    checks = Checks(largest_force=1000.0, per_atom_energy_tolerance=0.002, force_tolerance=0.02)
    settings = ImproveSettings(
        checkpoint="", campaign={}, labels=CALCULATOR, checks=checks, output=str(tmp_path)
    )
    return Round(1, settings)


def origin_with(frame) -> Origin:
    return Origin(None, {}, {}, {}, 4.0, {}, [frame])


@pytest.mark.parametrize("off", [{}, {"energy": 0.0015, "force": -0.015}])
def test_the_calculator_of_the_training_is_taken(loop, off):
    test, chosen = liquid(8), [liquid(8, seed=2)]
    assert label(loop, chosen, origin_with(by_emt(test, **off)), Show())
    assert label_store(loop.settings).names() == [id_of(test), id_of(chosen[0])]


@pytest.mark.parametrize(
    ("off", "said"),
    [
        ({"energy": 0.003}, "eV per atom from the label"),
        ({"force": -0.03}, "eV/Angstrom from the label"),
    ],
)
def test_another_one_is_refused_before_it_labels_anything_else(loop, off, said):
    test, chosen = liquid(8), [liquid(8, seed=2)]
    for _ in range(2):  # also when the label is there already
        with pytest.raises(LegatoError, match=said):
            label(loop, chosen, origin_with(by_emt(test, **off)), Show())
        assert label_store(loop.settings).names() == [id_of(test)]


def test_a_calculator_that_fails_on_a_test_frame_is_refused(loop):
    limited = replace(loop.settings, checks=Checks(largest_force=1e-6))
    with pytest.raises(LegatoError, match="the calculator fails on a test frame"):
        label(Round(1, limited), [], origin_with(by_emt(liquid(8))), Show())


def test_files_ask_for_the_reference_too(loop):
    now = Round(1, replace(loop.settings, labels="files"))
    test, chosen = liquid(8), [liquid(8, seed=2)]
    origin = origin_with(by_emt(test, energy=0.1))
    news = []
    assert not label(now, chosen, origin, Show(news.append))
    assert "2 structures wait for labels" in news[0]
    frames = [by_emt(frame) for frame in ase.io.read(now.folder / WANTED, ":")]
    ase.io.write(now.folder / RETURNED, frames)
    with pytest.raises(LegatoError, match=r"0\.1000 eV per atom from"):
        label(now, chosen, origin, Show())
    assert label(now, chosen, origin_with(by_emt(test)), Show())
    stored = label_store(now.settings)[id_of(chosen[0])]
    np.testing.assert_allclose(stored.forces, by_emt(chosen[0]).get_forces(), atol=1e-6)
