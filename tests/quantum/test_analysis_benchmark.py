"""The benchmark of the analysis runs, and analyzes what it writes."""

import json
import sys
from pathlib import Path

import pytest
from processes import run_process

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "quantum" / "analysis.py"


def test_small_benchmark(tmp_path):
    command = [sys.executable, PROGRAM, "--frames", "60", "--beads", "3"]
    command += ["--work", tmp_path, "--out", tmp_path / "results.json"]
    run_process(*command, cwd=tmp_path)
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["frames"] == 60
    assert 0 < found["peak_megabytes"] < 1000
    # 3 k T / 2, and the mean of 20 eV/A^2 times the square of 0.1 A about the centroid, halved
    expected = 1.5 * 8.617e-5 * 300.0 + 0.5 * 3 * 20.0 * 0.01 * (1 - 1 / 3)
    assert found["kinetic_energy_of_hydrogen_eV"] == pytest.approx(expected, rel=0.02)
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]
