"""Labels: made in processes of their own, checked, kept for good, and never made twice."""

import json
import math

import ase.io
import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from improve_cases import liquid

from nequip_legato.errors import LegatoError
from nequip_legato.improve.exchange import RETURNED, WANTED, read_labels, write_wanted
from nequip_legato.improve.labeling import label_structures, make_calculator, one_label
from nequip_legato.improve.labels import BAD, GOOD, LabelStore, check_label, labeled
from nequip_legato.improve.structures import ID, id_of

EMT_CONFIG = {"_target_": "ase.calculators.emt.EMT"}
LIMIT = 50.0


def boxes(*symbols: str):
    """Molecules in boxes."""
    result = []
    for symbol in symbols:
        atoms = molecule(symbol)
        atoms.set_cell([9.0] * 3)
        atoms.pbc = True
        result.append(atoms)
    return result


def test_a_label_is_what_the_calculator_says():
    atoms = liquid(8)
    label = one_label(atoms, EMT_CONFIG, 1000.0)
    reference = atoms.copy()
    reference.calc = EMT()
    assert label.status == GOOD
    assert label.energy == reference.get_potential_energy()
    np.testing.assert_array_equal(label.forces, reference.get_forces())
    np.testing.assert_array_equal(label.stress, reference.get_stress())
    frame = labeled(atoms, label)
    assert frame.get_potential_energy() == label.energy
    assert frame.info[ID] == id_of(atoms)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"energy": math.nan}, "not finite"),
        ({"stress": np.array([0, 0, math.inf, 0, 0, 0])}, "not finite"),
        ({"forces": np.full((4, 3), math.nan)}, "not finite"),
        ({"forces": np.eye(4, 3) * 51.0}, "a force of 51.0 eV/Angstrom, more than 50.0"),
        ({"forces": np.zeros((3, 3))}, "shape"),
        ({"forces": None}, "no energy or no forces"),
        ({"energy": None}, "no energy or no forces"),
        ({"problem": "it did not converge"}, "it did not converge"),
    ],
)
def test_labels_that_are_of_no_use_are_set_aside(changes, reason):
    (atoms,) = boxes("NH3")
    good = {"energy": 1.0, "forces": np.zeros((4, 3)), "stress": np.zeros(6)}
    assert check_label(atoms, **good, largest_force=LIMIT).status == GOOD
    label = check_label(atoms, **good | changes, largest_force=LIMIT)
    assert label.status == BAD
    assert reason in label.reason
    json.dumps(label.__dict__, allow_nan=False)


def test_what_is_wrong_with_a_calculator_is_one_line():
    with pytest.raises(LegatoError, match=r"labels: the calculator nosuch\.Thing cannot be made"):
        make_calculator({"_target_": "nosuch.Thing"})
    needy = {"_target_": "ase.calculators.singlepoint.SinglePointCalculator"}
    with pytest.raises(LegatoError, match=r"cannot be made \(TypeError: .*'atoms'") as caught:
        make_calculator(needy)
    assert "\n" not in str(caught.value)
    with pytest.raises(LegatoError, match="is not an ASE calculator"):
        make_calculator({"_target_": "pathlib.Path"})


def test_calculators_that_fail_are_bad_labels():
    three, four = boxes("H2O", "NH3")
    failing = {"_target_": "improve_cases.Failing"}
    label = one_label(three, failing, LIMIT)
    assert (label.status, label.reason) == (BAD, "RuntimeError: no self-consistency")
    label = one_label(four, failing, LIMIT)
    assert (label.status, label.stress) == (GOOD, None)
    assert np.isnan(labeled(four, label).calc.results["stress"]).all()
    label = one_label(four, {"_target_": "improve_cases.Unconverged"}, LIMIT)
    assert "not converged" in label.reason


@pytest.mark.slow
def test_a_process_that_dies_costs_only_its_own_structure(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", __file__.rpartition("/")[0])
    monkeypatch.syspath_prepend(__file__.rpartition("/")[0])
    structures = boxes("NH3", "H2O", "N2")
    store = LabelStore(tmp_path / "labels.jsonl")
    news = []
    deadly = {"_target_": "improve_cases.Deadly"}
    label_structures(structures, deadly, store, largest_force=LIMIT, jobs=2, report=news.append)
    found = [store[id_of(atoms)] for atoms in structures]
    assert [label.status for label in found] == [GOOD, BAD, GOOD]
    assert "crashed" in found[1].reason
    assert len(news) == 3
    # nothing is left to do, the bad one included
    label_structures(structures, {"_target_": "nosuch"}, store, largest_force=LIMIT)


def test_the_store_survives_a_kill_in_the_middle_of_a_line(tmp_path):
    path = tmp_path / "labels.jsonl"
    structures = boxes("NH3", "H2O", "N2")
    labels = [one_label(atoms, EMT_CONFIG, 1000.0) for atoms in structures]
    store = LabelStore(path)
    for label in labels[:2]:
        store.append(label)
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines()[0][:57])
    store = LabelStore(path)
    assert len(store) == 2
    store.append(labels[2])
    store.append(labels[0])  # not twice
    again = LabelStore(path)
    assert again.names() == [label.id for label in labels]
    assert [again[label.id] for label in labels] == labels
    assert path.read_bytes().startswith(whole)


def test_a_line_that_is_no_label_is_named(tmp_path):
    path = tmp_path / "labels.jsonl"
    path.write_text('{"id": "a", "status": "good"}\n{"x": 1}\n')
    with pytest.raises(LegatoError, match=r"labels\.jsonl, line 2 is not a label"):
        LabelStore(path)


def returned(folder, structures, **how):
    """What a user makes of the file of structures."""
    frames = ase.io.read(folder / WANTED, ":")
    assert [frame.info[ID] for frame in frames] == [id_of(atoms) for atoms in structures]
    for frame in frames:
        frame.calc = EMT()
        values = {k: frame.calc.get_property(k, frame) for k in ("energy", "forces", "stress")}
        frame.calc = SinglePointCalculator(frame, **values)
    return frames


@pytest.mark.parametrize("with_ids", [True, False])
def test_files_out_and_labels_in(tmp_path, with_ids):
    structures = boxes("NH3", "H2O", "N2", "CH4")
    store = LabelStore(tmp_path / "labels.jsonl")
    assert read_labels(tmp_path, structures, store, largest_force=LIMIT) == 0
    assert write_wanted(tmp_path, structures, store) == 4
    frames = returned(tmp_path, structures)
    frames[1].calc = None  # a job that has failed
    if not with_ids:
        for frame in frames:
            del frame.info[ID]
            frame.positions = frame.positions.round(4)
    ase.io.write(tmp_path / RETURNED, frames[2::-1])
    assert read_labels(tmp_path, structures, store, largest_force=LIMIT) == 3
    assert [store[id_of(a)].status for a in structures[:3]] == [GOOD, BAD, GOOD]
    assert store[id_of(structures[0])].energy == frames[0].calc.results["energy"]
    assert "came back without" in store[id_of(structures[1])].reason
    # what is still missing is asked for, what is there is not read twice
    assert write_wanted(tmp_path, structures, store) == 1
    assert read_labels(tmp_path, structures, store, largest_force=LIMIT) == 0
    ase.io.write(tmp_path / RETURNED, frames)
    assert read_labels(tmp_path, structures, store, largest_force=LIMIT) == 1
    assert write_wanted(tmp_path, structures, store) == 0
    assert not (tmp_path / WANTED).exists()


def test_labels_of_something_else_are_refused(tmp_path):
    structures = boxes("NH3")
    store = LabelStore(tmp_path / "labels.jsonl")
    write_wanted(tmp_path, structures, store)
    frames = returned(tmp_path, structures)
    frames[0].positions[0, 0] += 0.1  # relaxed, by mistake
    frames[0].calc = SinglePointCalculator(frames[0], energy=0.0, forces=np.zeros((4, 3)))
    ase.io.write(tmp_path / RETURNED, frames)
    with pytest.raises(LegatoError, match=r"labeled\.extxyz: frame 0 is not one of those"):
        read_labels(tmp_path, structures, store, largest_force=LIMIT)
    assert len(store) == 0
