"""Every failure criterion, fired by a real LAMMPS run that is built to fail that way.

When it should fire is taken from another LAMMPS run, which looks at every step.
"""

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from campaigns import (
    Trajectory,
    change_settings,
    finished,
    reference_trajectory,
    relaxed,
    run_folder,
    write_campaign,
)
from matscipy.neighbours import neighbour_list
from models import ammonia_frames

from nequip_legato.deployed.reader import info
from nequip_legato.stability.run.campaign import run_campaign

STEPS = 60
OFF = {"temperature_window": "off", "largest_force": "off", "closest_ratio": "off"}


@pytest.fixture(scope="module")
def model(compiled) -> Path:
    return compiled


@pytest.fixture(scope="module")
def reference(model, tmp_path_factory) -> Trajectory:
    """What happens in the first steps of the default campaign."""
    folder = tmp_path_factory.mktemp("reference")
    return reference_trajectory(folder, write_campaign(folder, {"a": model}), model, steps=STEPS)


def closest_ratio(atoms: Atoms, model: Path) -> tuple[float, set[int]]:
    """Smallest ratio of a distance to the shortest of such a pair in training, and its atoms."""
    found = info(model)
    i, j, d = neighbour_list("ijd", atoms, found.cutoff)
    kind = np.array([found.type_names.index(s) for s in atoms.symbols])
    ratio = d / np.array(found.shortest_distance)[kind[i], kind[j]]
    return float(ratio.min()), {int(i[ratio.argmin()]), int(j[ratio.argmin()])}


def atoms_without_bonds(atoms: Atoms, *, count: int, longest: float, shortest=0.0) -> set[int]:
    """Nitrogen atoms that have not ``count`` hydrogen atoms where bonds are."""
    wrong = set()
    for n in np.flatnonzero(atoms.symbols == "N"):
        hydrogens = np.flatnonzero(atoms.symbols == "H")
        distances = atoms.get_distances(n, hydrogens, mic=True)
        if (distances < longest).sum() != count or (distances < shortest).any():
            wrong.add(int(n))
    return wrong


def crossing(values, *, every: int = 1, sign: int = 1) -> tuple[float, int]:
    """A threshold, and the step on which ``values`` first passes it.

    Args:
        values: one number a step.
        every: only every so-manieth step is looked at, and not the 0th.
        sign: 1 if it is passed upwards, -1 if downwards.
    """
    looked_at = np.arange(every, len(values), every)
    series = sign * np.asarray(values)[looked_at]
    before = np.maximum.accumulate(series)[:-1]
    records = np.flatnonzero(series[1:] > before + 1e-3 * np.abs(before)) + 1
    assert len(records), "the run of the test never gets there"
    chosen = records[len(records) // 2]
    return float(sign * (before[chosen - 1] + series[chosen]) / 2), int(looked_at[chosen])


def failing_run(folder: Path, model: Path, criteria: dict, *, atoms: Atoms | None = None, **more):
    """Do a campaign of one run; its record and its ``failure.extxyz``."""
    campaign = write_campaign(
        folder,
        {"a": model},
        atoms=atoms,
        **{"steps": STEPS, "criteria": OFF | criteria} | more,
    )
    status = run_campaign(campaign)
    assert (status.failed, status.censored) == (1, 0)
    (record,) = finished(campaign).values()
    assert record.failed
    return record, ase.io.read(run_folder(campaign, record.run) / "failure.extxyz")


def assert_same_state(kept: Atoms, expected: Atoms) -> None:
    assert kept.symbols.get_chemical_formula() == expected.symbols.get_chemical_formula()
    apart = kept.positions - expected.positions
    apart -= np.round(apart / expected.cell.lengths()) * expected.cell.lengths()
    assert np.abs(apart).max() < 1e-5
    np.testing.assert_allclose(kept.get_forces(), expected.arrays["forces"], atol=1e-4)


def marked(kept: Atoms) -> set[int]:
    return set(np.flatnonzero(kept.arrays["failed"]).tolist())


def test_temperature_high(tmp_path, model, reference):
    limit, step = crossing(reference.temperature)
    record, kept = failing_run(tmp_path, model, {"temperature_window": limit - 300.0})
    assert (record.criterion, record.steps) == ("temperature_high", step)
    assert record.value == pytest.approx(reference.temperature[step], rel=1e-6)
    assert record.threshold == pytest.approx(limit)
    assert_same_state(kept, reference.frames[step])
    assert kept.info["criterion"] == "temperature_high"
    assert kept.info["failed_step"] == kept.info["step"] == step
    forces = np.linalg.norm(reference.frames[step].arrays["forces"], axis=1)
    assert marked(kept) == {int(forces.argmax())}


@pytest.mark.slow
def test_temperature_low(tmp_path, model):
    """From a minimum of the energy half of the kinetic energy is bound to go."""
    campaign = write_campaign(tmp_path, {"a": model}, ensembles=["nve"])
    atoms = relaxed(tmp_path / "relaxed", campaign, model)
    write_campaign(tmp_path, {"a": model}, atoms=atoms, ensembles=["nve"])
    reference = reference_trajectory(tmp_path / "reference", campaign, model, steps=STEPS)
    limit, step = crossing(reference.temperature, sign=-1)
    record, kept = failing_run(
        tmp_path, model, {"temperature_window": 300.0 - limit}, atoms=atoms, ensembles=["nve"]
    )
    assert (record.criterion, record.steps) == ("temperature_low", step)
    assert record.value == pytest.approx(reference.temperature[step], rel=1e-6)
    assert record.threshold == pytest.approx(limit)
    assert_same_state(kept, reference.frames[step])


@pytest.mark.parametrize("restart_every", ["off", 10])
def test_largest_force(restart_every, tmp_path, model, reference):
    limit, step = crossing(reference.largest_force)
    record, kept = failing_run(
        tmp_path, model, {"largest_force": limit}, restart_every=restart_every
    )
    assert (record.criterion, record.steps) == ("largest_force", step)
    assert record.value == pytest.approx(reference.largest_force[step], rel=1e-6)
    assert record.threshold == pytest.approx(limit)
    assert_same_state(kept, reference.frames[step])
    forces = np.linalg.norm(reference.frames[step].arrays["forces"], axis=1)
    assert marked(kept) == {int(forces.argmax())}


@pytest.mark.parametrize("every", [1, 7])
def test_pair_closer_than_in_training(every, tmp_path, model, reference):
    ratios = [closest_ratio(frame, model)[0] for frame in reference.frames]
    limit, step = crossing(ratios, every=every, sign=-1)
    record, kept = failing_run(
        tmp_path,
        model,
        {"closest_ratio": limit, "contacts_every": every, "every": 5},
        trace_every=3,
    )
    assert (record.criterion, record.steps) == ("closest_ratio", step)
    assert record.value == pytest.approx(ratios[step], rel=1e-6)
    assert record.threshold == pytest.approx(limit)
    assert_same_state(kept, reference.frames[step])
    assert marked(kept) == closest_ratio(reference.frames[step], model)[1]


@pytest.mark.parametrize(("end", "every"), [("max", 1), ("max", 4), ("min", 1)])
def test_bond_out_of_range(end, every, tmp_path, model, reference):
    """A bond that is too long, checked on every step or less often, and one that is too short.

    It makes no difference whether further neighbors would be allowed.
    """
    shortest, longest = zip(*(_bond_lengths(frame) for frame in reference.frames), strict=True)
    if end == "max":
        limit, step = crossing(longest, every=every)
        bonds = {"count": 3, "longest": limit, "shortest": 0.0}
    else:
        limit, step = crossing(shortest, every=every, sign=-1)
        bonds = {"count": 3, "longest": 1.9, "shortest": limit}
        # whatever else is wrong with these bonds must come later
        assert not any(atoms_without_bonds(f, **bonds) for f in reference.frames[1:step])
    given = {
        "center": "N",
        "neighbor": "H",
        "count": 3,
        "max": bonds["longest"],
        "min": bonds["shortest"],
        "at_least": every > 1,
    }
    record, kept = failing_run(tmp_path, model, {"bonds": [given], "contacts_every": every})
    assert (record.criterion, record.steps) == ("bonds", step)
    wrong = atoms_without_bonds(reference.frames[step], **bonds)
    assert record.value == len(wrong) > 0
    assert_same_state(kept, reference.frames[step])
    assert marked(kept) == wrong


@pytest.mark.parametrize("at_least", [False, True])
def test_fourth_neighbor(at_least, tmp_path, model, reference):
    """A hydrogen bond that is shorter than the limit fails a run, unless it is allowed."""
    fourth = [min(d[3] for d in _hydrogens(frame)) for frame in reference.frames]
    limit, step = crossing(fourth, sign=-1)
    assert max(_bond_lengths(frame)[1] for frame in reference.frames[: step + 1]) < limit
    given = {"center": "N", "neighbor": "H", "count": 3, "max": limit, "at_least": at_least}
    campaign = {"bonds": [given], "contacts_every": 1}
    if at_least:
        path = write_campaign(tmp_path, {"a": model}, criteria=OFF | campaign, steps=step)
        run_campaign(path)
        (record,) = finished(path).values()
        assert record.outcome == "censored"
    else:
        record, kept = failing_run(tmp_path, model, campaign)
        assert (record.criterion, record.steps) == ("bonds", step)
        wrong = atoms_without_bonds(reference.frames[step], count=3, longest=limit)
        assert marked(kept) == wrong


def _hydrogens(atoms: Atoms) -> list[np.ndarray]:
    """Distances of all hydrogen atoms from each nitrogen atom, the nearest first."""
    hydrogens = np.flatnonzero(atoms.symbols == "H")
    return [
        np.sort(atoms.get_distances(n, hydrogens, mic=True))
        for n in np.flatnonzero(atoms.symbols == "N")
    ]


def _bond_lengths(atoms: Atoms) -> tuple[float, float]:
    """Shortest and longest of the three bonds that each molecule has at the start."""
    lengths = [distances[:3] for distances in _hydrogens(atoms)]
    return float(np.min(lengths)), float(np.max(lengths))


@pytest.mark.parametrize("criteria", [OFF, {}], ids=["alone", "among all"])
def test_numbers_that_are_none(criteria, tmp_path, model):
    """Two atoms in one place have no direction from one to the other, and so no force."""
    atoms = ammonia_frames(2)[1]
    one, other = np.flatnonzero(atoms.symbols == "H")[[0, 7]]
    atoms.positions[other] = atoms.positions[one]
    campaign = write_campaign(tmp_path, {"a": model}, atoms=atoms, criteria=criteria)
    run_campaign(campaign)
    (record,) = finished(campaign).values()
    assert (record.outcome, record.criterion) == ("failed", "not_finite")
    assert record.steps == 1  # LAMMPS looks at the end of a step, so not at the 0th
    assert record.value is None
    kept = ase.io.read(run_folder(campaign, record.run) / "failure.extxyz")
    assert marked(kept) == {int(one), int(other)}
    assert np.isfinite(kept.positions).all()


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_lost_atoms(ranks, tmp_path, model):
    """Atoms so light that the first force throws them out of the cell and its images."""
    record, kept = failing_run(tmp_path, model, {}, masses=[1e-5, 1e-5], ranks=ranks)
    assert (record.criterion, record.steps) == ("lost_atoms", 1)
    assert record.value >= 1
    start = ase.io.read(tmp_path / "start.extxyz")
    assert len(kept) == len(start)
    assert len(marked(kept)) == record.value
    assert (kept.info["failed_step"], kept.info["step"]) == (1, 0)


def test_first_criterion_counts(tmp_path, model, reference):
    """All are on; the expected one follows from what the other run saw."""
    contacts, every = 3, 2
    ratios = [closest_ratio(frame, model)[0] for frame in reference.frames]
    limits = {
        "temperature_window": 0.8 * np.abs(reference.temperature - 300.0).max(),
        "largest_force": 0.995 * reference.largest_force.max(),
        "closest_ratio": 1.01 * min(ratios),
    }
    fires = []
    for step in range(1, STEPS + 1):
        if step % every == 0:
            away = reference.temperature[step] - 300.0
            if abs(away) > limits["temperature_window"]:
                fires.append((step, "temperature_high" if away > 0 else "temperature_low"))
            if reference.largest_force[step] > limits["largest_force"]:
                fires.append((step, "largest_force"))
        if step % contacts == 0 and ratios[step] < limits["closest_ratio"]:
            fires.append((step, "closest_ratio"))
    assert len({name for _, name in fires}) == 3, "each of them would fire at some time"
    criteria = {name: float(limit) for name, limit in limits.items()}
    record, kept = failing_run(
        tmp_path, model, criteria | {"every": every, "contacts_every": contacts}
    )
    assert (record.steps, record.criterion) == fires[0]
    assert_same_state(kept, reference.frames[record.steps])


def test_default_force_limit_comes_from_the_training_data(tmp_path, model):
    campaign = write_campaign(tmp_path, {"a": model})
    change_settings(
        campaign, criteria=OFF | {"largest_force": "auto", "closest_ratio": 0.1}, steps=3
    )
    run_campaign(campaign)
    text = (run_folder(campaign, "a/64-1x1x1/nvt-1") / "in.lammps").read_text()
    (line,) = [line for line in text.splitlines() if "stop_largest_force" in line]
    limit = float(line.split("v_force >")[1].split()[0])
    assert limit == pytest.approx(5 * info(model).largest_force)


def test_large_cells_are_cut_around_the_failure(tmp_path, model):
    """512 atoms: what is kept has the failing atom with all of its neighborhood."""
    campaign = write_campaign(
        tmp_path,
        {"a": model},
        criteria=OFF | {"largest_force": 0.3},
        sizes=[{"replicate": [2, 2, 2]}],
    )
    run_campaign(campaign)
    (record,) = finished(campaign).values()
    assert (record.criterion, record.atoms) == ("largest_force", 512)
    kept = ase.io.read(run_folder(campaign, record.run) / "failure.extxyz")
    cutoff = info(model).cutoff
    assert not kept.pbc.any()
    (center,) = marked(kept)
    forces = np.linalg.norm(kept.get_forces(), axis=1)
    assert forces[center] == pytest.approx(record.value, rel=1e-6)
    distances = kept.get_distances(center, range(len(kept)))
    assert distances.max() <= 2 * cutoff
    # as dense as the liquid it was cut from, which nothing missing inside could be
    density = 512 / (2 * start_edge(campaign)) ** 3
    for radius in (cutoff, 2 * cutoff):
        volume = 4 / 3 * np.pi * radius**3
        assert (distances <= radius).sum() == pytest.approx(density * volume, rel=0.35)


def start_edge(campaign: Path) -> float:
    return float(ase.io.read(campaign.parent / "start.extxyz").cell[0, 0])
