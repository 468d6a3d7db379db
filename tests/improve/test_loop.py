"""The whole loop by the real programs: killed anywhere, gone on with, nothing done twice."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import numpy as np
import pytest
import yaml
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from improve_cases import loop_settings, write_loop
from processes import PROGRAMS

from nequip_legato.deploy import info
from nequip_legato.errors import LegatoError
from nequip_legato.improve.exchange import RETURNED, WANTED
from nequip_legato.improve.labels import GOOD, LabelStore
from nequip_legato.improve.loop import LIMIT, WAITING, improve
from nequip_legato.improve.structures import id_of, read_structures
from nequip_legato.stability.records import read_records

PROGRAM = PROGRAMS / "nequip-legato"
HERE = Path(__file__).parent
pytestmark = pytest.mark.slow


def launch(path: Path, log: Path) -> subprocess.Popen:
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)]),
    }
    with log.open("ab") as stream:
        return subprocess.Popen(
            [str(PROGRAM), "improve", str(path)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )


def killed_at(path: Path, log: Path, sign) -> None:
    """Start the program and kill it as soon as ``sign()`` holds."""
    process = launch(path, log)
    end = time.monotonic() + 600
    while not sign():
        assert process.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < end, log.read_text()[-2000:]
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()


def finished(path: Path, log: Path) -> str:
    assert launch(path, log).wait(900) == 0, log.read_text()[-3000:]
    return log.read_text()


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []


@pytest.fixture(scope="module")
def done(checkpoint, tmp_path_factory):
    """A loop that was killed while it explored, labeled and trained, and then came to its end."""
    folder = tmp_path_factory.mktemp("loop")
    counts, log = folder / "counts.txt", folder / "log.txt"
    labels = {"_target_": "improve_cases.CountingEMT", "log": str(counts)}
    path = write_loop(folder, checkpoint(ema=True), labels=labels)
    output = folder / "loop"
    one = output / "round-1"
    killed_at(path, log, lambda: (one / "explore" / "runs").is_dir())
    killed_at(path, log, lambda: len(lines(output / "labels.jsonl")) >= 1)
    killed_at(path, log, lambda: (one / "training" / "fine_tune.yaml").is_file())
    text = finished(path, log)
    return path, output, counts, text


def test_nothing_is_labeled_twice(done):
    _, output, counts, _ = done
    chosen = read_structures(output / "round-1" / "chosen.extxyz", "test")
    store = LabelStore(output / "labels.jsonl")
    assert 1 <= len(chosen) <= 4
    assert sorted(store.names()) == sorted(id_of(atoms) for atoms in chosen)
    # a label may be lost that was made when the kill came, but none that was kept is made again
    made = lines(counts)
    assert len(set(made)) == len(chosen)
    assert len(made) <= len(chosen) + 1


def test_labels_are_the_calculators(done):
    _, output, _, _ = done
    store = LabelStore(output / "labels.jsonl")
    added = read_structures(output / "round-1" / "added.extxyz", "test")
    good = [name for name in store.names() if store[name].status == GOOD]
    assert len(added) == len(good) > 0
    for atoms in added:
        copy = atoms.copy()
        copy.calc = EMT()
        assert atoms.get_potential_energy() == pytest.approx(copy.get_potential_energy())
        np.testing.assert_allclose(atoms.get_forces(), copy.get_forces(), atol=1e-6)


def test_life_and_errors_of_each_round_are_told(done):
    _, output, _, text = done
    content = json.loads((output / "improve.json").read_text())
    assert content["state"] == LIMIT
    assert [r["round"] for r in content["rounds"]] == [0, 1]
    for number, row in enumerate(content["rounds"]):
        records = read_records(output / f"round-{number}" / "life")
        assert row["runs"] == len(records) == 2
        assert row["failures"] == sum(r.failed for r in records)
        exposure = sum(r.atoms * max(r.time, 0.5e-3) for r in records)
        assert row["atom_ps"] == pytest.approx(exposure)
        assert row["rate"]["value"] == pytest.approx(1000 * row["failures"] / exposure)
        assert row["errors"]["test"]["frames"] == 2
    learned = content["rounds"][1]
    assert learned["trained"]["added"] == learned["labels"]["good"]
    # six steps of a tiny model: another one, and no promise of a better one
    assert learned["trained"]["steps"] == math.ceil((8 + learned["trained"]["added"]) / 2)
    rows = (output / "round-1" / "training" / "metrics.csv").read_text().splitlines()
    assert learned["trained"]["steps"] == 1 + max(int(row.split(",")[1]) for row in rows[1:])
    errors = [row["errors"]["test"]["force_rmse"] for row in content["rounds"]]
    assert errors[0] != errors[1]
    after, before = learned["errors"]["added_after"], learned["errors"]["added_before"]
    assert after["frames"] == before["frames"] == learned["trained"]["added"]
    report = (output / "improve.md").read_text()
    assert report.count("\n| 0 |") == 1
    assert "failures per 1,000 atom ps" in report
    assert (output / "improve.png").stat().st_size > 1000
    assert f"{LIMIT} after round 1" in text


def test_starts_are_the_same_in_all_rounds_and_the_fence_stands_still(done):
    _, output, _, _ = done
    files = [info(output / f"round-{n}" / "model.nequip.pth") for n in (0, 1)]
    assert files[0].shortest_distance == files[1].shortest_distance
    assert files[0].entries["legato_fence"] == files[1].entries["legato_fence"]
    assert files[1].history["started_from"]
    lives = [read_records(output / f"round-{n}" / "life") for n in (0, 1)]
    assert [r.velocity_seed for r in lives[0]] == [r.velocity_seed for r in lives[1]]
    starts = [
        next((output / f"round-{n}" / "life" / "starts").glob("*/start.data")) for n in (0, 1)
    ]
    assert starts[0].read_bytes() == starts[1].read_bytes()


def test_a_finished_loop_does_nothing_more(done):
    path, output, counts, _ = done
    before = {p: p.stat().st_mtime_ns for p in output.glob("round-*/*.nequip.pth")}
    made = lines(counts)
    sys.path.insert(0, str(HERE))
    outcome = improve(path)
    assert (outcome.reason, outcome.rounds) == (LIMIT, 1)
    assert lines(counts) == made
    assert {p: p.stat().st_mtime_ns for p in output.glob("round-*/*.nequip.pth")} == before


def test_other_settings_are_refused(done, tmp_path):
    path, output, _, _ = done
    other = path.with_name("other.yaml")
    content = yaml.safe_load(path.read_text()) | {"output": str(output), "choose": {"number": 3}}
    other.write_text(yaml.safe_dump(content))
    with pytest.raises(LegatoError, match=r"made with other settings \(choose\)"):
        improve(other)


def test_files_out_and_labels_in(done):
    """The same loop for people with a queue; simulations of round 0 are those of the other."""
    path, output, _, _ = done
    folder = path.parent
    mine = folder / "queue"
    shutil.copytree(output, mine, symlinks=True)
    for name in ("settings.json", "labels.jsonl", "improve.json"):
        (mine / name).unlink()
    one = mine / "round-1"
    for name in ("model.ckpt", "model.nequip.pth", "added.extxyz", "errors.json", "trained.json"):
        (one / name).unlink()
    for name in ("life", "training"):
        shutil.rmtree(one / name)
    queue = folder / "queue.yaml"
    queue.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"labels": "files"}))
    log = folder / "queue.txt"
    text = finished(queue, log)
    assert f"{WAITING} after round 0" in text
    (line,) = [x for x in text.splitlines() if "wait for labels" in x]
    assert str(one / WANTED) in line
    assert not (one / "model.ckpt").exists()
    frames = ase.io.read(one / WANTED, ":")
    for frame in frames:
        frame.calc = EMT()
        values = {key: frame.calc.get_property(key, frame) for key in ("energy", "forces")}
        frame.calc = SinglePointCalculator(frame, **values)
    ase.io.write(one / RETURNED, frames)
    text = finished(queue, log)
    assert f"{LIMIT} after round 1" in text
    added = read_structures(one / "added.extxyz", "test")
    assert len(added) == len(frames)
    assert all(np.isnan(atoms.calc.results["stress"]).all() for atoms in added)
    assert not (one / WANTED).exists()


def test_two_rounds_with_a_committee_balls_and_a_fence_that_follows(checkpoint, deployed, tmp_path):
    """What was found in one round is in the frames, in the domain, and in the fence of the next."""
    start = {"structure": "start.extxyz", "sizes": [{"replicate": [2, 1, 1]}], "steps": 20}
    settings = loop_settings(checkpoint(ema=True))
    path = write_loop(
        tmp_path,
        checkpoint(ema=True),
        campaign=settings["campaign"] | start,
        observe={"committee": [str(deployed(seed=1))], "states_every": 10},
        choose={"number": 3, "whole": 100, "radius": 3.5, "vacuum": 3.0},
        fence={"kind": "gaps", "frames": "all"},
        training={"epochs": 1, "overrides": {"trainer": {"limit_train_batches": 2}}},
        rounds=2,
    )
    finished(path, tmp_path / "log.txt")
    content = json.loads((tmp_path / "loop" / "improve.json").read_text())
    rounds = [tmp_path / "loop" / f"round-{n}" for n in (0, 1, 2)]
    files = [info(folder / "model.nequip.pth") for folder in rounds]
    for number in (1, 2):
        chosen = read_structures(rounds[number] / "chosen.extxyz", "test")
        assert 1 <= len(chosen) <= 3
        assert all(4 <= len(atoms) < 128 for atoms in chosen)
        assert content["rounds"][number]["gathered"]["candidates"]["committee"] >= 1
        assert content["rounds"][number]["trained"]["steps"] == 2
        added = read_structures(rounds[number] / "added.extxyz", "test")  # of all rounds so far
        assert number < len(added) <= 3 * number
        assert files[number].domain_frames == files[0].domain_frames + len(added)
    assert files[0].entries["legato_fence"] != files[2].entries["legato_fence"]
