"""The study of rates keeps the runs of several machines."""

import gzip
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic import simulate, write_runs

STUDY = Path(__file__).parents[2] / "benchmarks" / "fidelity_scaling"
RATES = STUDY / "rates"


@pytest.fixture
def keep(monkeypatch):
    """`keep` of the study of rates."""
    for folder in (STUDY, RATES):
        monkeypatch.syspath_prepend(str(folder))
    import tables

    yield tables.keep
    for name in ("tables", "pictures", "trajectories", "training"):
        sys.modules.pop(name, None)


def test_runs_of_other_campaigns_stay(keep, deployed, tmp_path):
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
