"""The study's tables are those that its raw results give."""

import shutil
import sys
from pathlib import Path

import pytest
from processes import run_process

STUDY = Path(__file__).parents[1] / "benchmarks" / "fidelity_scaling"


@pytest.mark.slow
def test_tables_are_made_from_what_is_kept(tmp_path):
    results = tmp_path / "results"
    shutil.copytree(STUDY / "results", results)
    (results / "tables.md").unlink()
    shutil.rmtree(results / "report")
    command = [sys.executable, STUDY / "run.py", "--only", "collect"]
    command += ["--results", results, "--work", tmp_path / "work"]
    run_process(*command, cwd=tmp_path)
    assert (results / "tables.md").read_text() == (STUDY / "results" / "tables.md").read_text()
    assert (results / "report" / "report.html").is_file()


@pytest.mark.slow
def test_tables_of_rates_are_made_from_what_is_kept(tmp_path):
    results = tmp_path / "results"
    shutil.copytree(STUDY / "rates" / "results", results)
    (results / "tables.md").unlink()
    command = [sys.executable, STUDY / "rates" / "run.py", "--only", "collect"]
    command += ["--results", results, "--work", tmp_path / "work"]
    run_process(*command, cwd=tmp_path)
    assert (results / "tables.md").read_text() == (STUDY / "rates/results/tables.md").read_text()
