"""From times of steps to ratios, and the whole benchmark at its smallest."""

import json
import sys
from pathlib import Path

import pytest
from processes import run_process

FOLDER = Path(__file__).parents[2] / "benchmarks" / "training"


@pytest.fixture
def ratios(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import step_ratios

    return step_ratios.ratios


def steps(method: str, passes: int, *seconds: float) -> list[dict]:
    """Steps of which all but half a second are passes."""
    return [
        {"method": method, "count": passes, "cpu": s, "wall": 2 * s, "passes": s - 0.5}
        for s in seconds
    ]


def test_ratios(ratios):
    rows = [
        *steps("plain", 1, 10.0, 10.0, 30.0),
        *steps("SAM", 2, 20.0, 20.0, 40.0),
        *steps("SAM, logging", 2, 20.0),
        *steps("ASAM", 2, 21.0),
        *steps("late", 1, 10.0),
        *steps("late", 2, 20.0),
        *steps("MomentumSAM", 1, 10.5),
        *steps("LookSAM", 1, 11.0),
        *steps("LookSAM", 2, 21.0),
    ]
    for row in rows:
        row["passes"] -= {"SAM": 0.4, "SAM, logging": 0.6}.get(row["method"], 0.0)
    found = ratios(rows, "cpu")
    assert found == pytest.approx(
        {
            "plain step, s": 10.0,
            "SAM": 2.0,
            "ASAM": 2.1,
            "late, 10 %": 1.1,
            "MomentumSAM": 1.05,
            "LookSAM, k = 5": 1.3,
            "overhead of SAM, %": 2.0,
            "the same where it logs, %": 3.0,
        }
    )
    assert ratios(rows, "wall")["SAM"] == pytest.approx(2.0)


@pytest.mark.slow
def test_quick_run(tmp_path):
    command = [sys.executable, FOLDER / "run.py", "--quick", "--results", tmp_path]
    run_process(*command)
    (found,) = json.loads((tmp_path / "quick" / "ratios.json").read_text())
    assert (found["model"], found["batch"]) == ("small", 1)
    # Two passes are about two passes, one is about one, whatever else the machine does.
    assert 1.4 < found["cpu"]["SAM"] < 3
    assert 0.6 < found["cpu"]["MomentumSAM"] < 1.5
    steps = json.loads((tmp_path / "quick" / "small-1.json").read_text())["steps"]
    assert {(s["method"], s["count"]) for s in steps} == {
        ("plain", 1), ("SAM", 2), ("SAM, logging", 2), ("ASAM", 2), ("MomentumSAM", 1),
        ("late", 1), ("late", 2), ("LookSAM", 1), ("LookSAM", 2),
    }  # fmt: skip
    run_process(*command, "--add", "--methods", "plain")
    more = json.loads((tmp_path / "quick" / "small-1.json").read_text())["steps"]
    assert more[: len(steps)] == steps
    assert len(more) > len(steps)
    assert {s["method"] for s in more[len(steps) :]} == {"plain"}
