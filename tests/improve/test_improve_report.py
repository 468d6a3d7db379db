"""The report of a loop: its numbers are those of the records."""

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from improve_cases import liquid
from scipy.stats import poisson

from nequip_legato.improve.labels import BAD, GOOD, Label, LabelStore
from nequip_legato.improve.report import life_ratio, write_report
from nequip_legato.improve.rounds import Round
from nequip_legato.improve.settings import ImproveSettings
from nequip_legato.improve.structures import id_of, write_structures
from nequip_legato.stability.records import Record, write_record

ORIGIN = SimpleNamespace(source=SimpleNamespace(history={"steps": 1000}))


def test_a_ratio_and_its_inverse():
    one, two = (12, 3.0), (5, 4.0)
    there, back = life_ratio(one, two), life_ratio(two, one)
    assert there.value == pytest.approx((12 / 3.0) / (5 / 4.0))
    for a, b in ((there.value, back.value), (there.low, back.high), (there.high, back.low)):
        assert a * b == pytest.approx(1.0)
    assert there.low < there.value < there.high


def test_no_failures_leave_one_end_open():
    ratio = life_ratio((7, 1.0), (0, 1.0))
    assert math.isinf(ratio.value)
    assert math.isinf(ratio.high)
    assert ratio.low > 1.0
    assert math.isnan(life_ratio((0, 1.0), (0, 1.0)).value)


def test_intervals_hold_the_true_ratio_as_often_as_they_say():
    rng = np.random.default_rng(5)
    held = []
    for n, m in zip(poisson.rvs(8, size=200, random_state=rng),
                    poisson.rvs(3, size=200, random_state=rng), strict=True):  # fmt: skip
        if n + m:
            ratio = life_ratio((int(n), 1.0), (int(m), 1.0))
            held.append(ratio.low <= 8 / 3 <= ratio.high)
    assert np.mean(held) >= 0.94


def runs(folder: Path, group: str, steps: list[int], limit: int) -> None:
    """Records of runs of 64 atoms and 1 fs; those that end before the limit have failed."""
    for seed, n in enumerate(steps, 1):
        failed = n < limit
        place = folder / "runs" / "model" / "64-1x1x1" / f"nvt-{seed}"
        place.mkdir(parents=True)
        record = Record(
            run=f"model/64-1x1x1/nvt-{seed}", model="model", group=group, training_seed="model",
            atoms=64, velocity_seed=seed, ensemble="nvt", temperature=300.0, timestep=1.0,
            step_limit=limit, outcome="failed" if failed else "censored", steps=n,
            criterion="bonds" if failed else None, wall=1.0,
        )  # fmt: skip
        write_record(record, place)


def errors(force: float) -> dict[str, float]:
    return {
        "frames": 5, "force_rmse": force, "force_mae": force / 2, "force_largest": 3 * force,
        "energy_rmse": 0.002, "stress_rmse": 0.0013,
    }  # fmt: skip


@pytest.fixture
def loop(tmp_path) -> ImproveSettings:
    """A loop of two rounds, of which one is finished."""
    settings = ImproveSettings(checkpoint="", campaign={}, labels="files", output=str(tmp_path))
    zero, one = Round(0, settings), Round(1, settings)
    runs(zero.folder / "life", "round 0", [500, 1000, 250], 1000)
    runs(one.folder / "life", "round 1", [1000, 1000, 800], 1000)
    runs(one.folder / "explore", "round 1", [100, 1000], 1000)
    zero.errors.write_text(json.dumps({"test": errors(0.05)}))
    content = {"test": errors(0.051), "added_before": errors(1.5), "added_after": errors(0.4)}
    one.errors.write_text(json.dumps(content))
    chosen = [liquid(8, seed=seed) for seed in (1, 2, 3)]
    write_structures(one.chosen, chosen)
    store = LabelStore(tmp_path / "labels.jsonl")
    for status, reason, atoms in zip((GOOD, BAD, GOOD), ("", "a | reason", ""), chosen,
                                     strict=True):  # fmt: skip
        store.append(Label(id_of(atoms), status, reason, seconds=2.0))
    one.gathered.write_text(json.dumps({"candidates": {"contact": 7}, "chosen": {"contact": 3}}))
    one.trained.write_text(json.dumps({"old": 90, "added": 2, "epochs": 1, "steps": 92}))
    return settings


def test_numbers_are_those_of_the_records(loop):
    text = write_report(loop, ORIGIN, "at work").read_text()
    content = json.loads((Path(loop.output) / "improve.json").read_text())
    first, second = content["rounds"]
    assert (first["failures"], second["failures"]) == (2, 1)
    assert first["atom_ps"] == pytest.approx(64 * 1.75)
    assert second["ratio"]["value"] == pytest.approx((2 / 1.75) / (1 / 2.8))
    assert second["labels"] == {"good": 2, "set_aside": {"a | reason": 1}, "seconds": 6.0}
    assert second["cost"] == pytest.approx(0.092)
    assert second["explored"]["failures"] == 1
    assert "| 51.0 | +2.0% | 2.00 | 1.30 |" in text
    assert "1.50 → 0.40" in text
    assert "1 (1 a / reason)" in text  # no cell is torn apart
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {row.count(" | ") for row in rows[:4]} == {8}
    assert (Path(loop.output) / "improve.png").read_bytes().startswith(b"\x89PNG")


def test_what_depends_on_the_domain_is_said(loop):
    plain = write_report(loop, ORIGIN, "at work").read_text()
    moving = replace(loop, fence=replace(loop.fence, frames="all"))
    assert "`closest_ratio` differs" in write_report(moving, ORIGIN, "at work").read_text()
    assert "`closest_ratio` differs" not in plain
