"""The study of rates: its training frames, and that it keeps the runs of several machines."""

import gzip
import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
from synthetic import simulate, write_runs

STUDY = Path(__file__).parents[2] / "benchmarks" / "fidelity_scaling"
RATES = STUDY / "rates"
TRAINING_FRAMES = STUDY.parents[1] / "examples" / "nh3" / "data" / "train.extxyz"


@pytest.fixture
def study(monkeypatch):
    """Function: name -> module of the study."""
    for folder in (STUDY, RATES):
        monkeypatch.syspath_prepend(str(folder))
    yield importlib.import_module
    for name in ("frames", "pictures", "tables", "training", "trajectories"):
        sys.modules.pop(name, None)


def test_runs_of_other_campaigns_stay(study, deployed, tmp_path):
    keep = study("tables").keep

    def campaign(group: str, closest: float) -> Path:
        folder = tmp_path / f"{group}-{closest}"
        runs = simulate(np.random.default_rng(1), group=group, seeds=1, runs=1, sizes=(64, 256))
        write_runs(folder, [replace(run, criterion="close") for run in runs])
        for run in runs:
            place = folder / "runs" / run.run
            (place / "model.nequip.pth").symlink_to(deployed())
            text = f"step,closest_ratio,largest_force\n0,{closest},1.0\n"
            (place / "trace.csv").write_text(text)
        return folder

    results = tmp_path / "results"
    for group, closest in (("plain", 0.9), ("fenced", 0.8), ("plain", 0.7)):
        keep([campaign(group, closest)], results, "report")
    records = [json.loads(line) for line in (results / "report.jsonl").read_text().splitlines()]
    assert [r["group"] for r in records] == ["fenced", "fenced", "plain", "plain"]
    with gzip.open(results / "report_traces.csv.gz", "rt") as stream:
        header, *rows = stream.read().splitlines()
    assert header == "run,step,closest_ratio,force_ratio"
    assert [row.split(",")[2] for row in rows] == ["0.800", "0.800", "0.700", "0.700"]


@pytest.mark.parametrize(("pair", "distance"), [("H-H", 1.0), ("N-H", 1.5), ("N-N", 2.2)])
def test_contact_of_one_pair(study, pair, distance):
    frames = study("frames")
    usable = ase.io.read(TRAINING_FRAMES, "312:390:10")
    found = [frames.measure(a) for a in usable]
    shortest = {name: min(f[name] for f in found) for name in ("H-H", "N-H", "N-N")}
    generator = np.random.default_rng(3)
    made = frames.contact(usable, pair, distance, shortest, generator)
    now = frames.measure(made)
    assert now[pair] == pytest.approx(distance)
    assert all(now[name] >= shortest[name] for name in shortest if name != pair)
    # molecules are as they were in one of the frames
    assert any(now["bond"] == pytest.approx(f["bond"], abs=1e-9) for f in found)


def test_few_frames_make_an_epoch_of_the_same_length(study, tmp_path):
    path = study("frames").few_frames(tmp_path / "few.extxyz", 4)
    frames, all_frames = ase.io.read(path, ":"), ase.io.read(TRAINING_FRAMES, ":")
    assert len(frames) == len(all_frames)
    assert len({a.positions.tobytes() for a in frames}) == 4
    assert {a.info["temperature"] for a in frames[:4]} == {200, 400, 500, 800}
