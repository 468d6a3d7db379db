"""examples/gpu/bundle.sh and what it makes, run without a GPU by the tests' LAMMPS with Kokkos."""

import json
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
from processes import Done, run_process

from nequip_legato.native.cache import CACHE_VARIABLE, cache_folder
from nequip_legato.native.installed import find_torch

GPU = Path(__file__).parents[2] / "examples" / "gpu"


def run(*command: object, **environment: str) -> Done:
    environment = {"PYTHON": sys.executable, **environment}
    return run_process(*command, environment=environment, merge=True, timeout=1800, check=False)


def wheel_of_torch(folder: Path) -> Path:
    """The installed torch as a wheel, with what a plugin is compiled against."""
    torch = find_torch().folder
    libraries = [torch / "lib" / f"lib{name}.so" for name in ("torch", "torch_cpu", "c10")]
    headers = [p for p in (torch / "include").rglob("*") if p.is_file()]
    path = folder / "torch-0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file in (torch / "version.py", *libraries, *headers):
            wheel.write(file, file.relative_to(torch.parent))
    return path


@pytest.mark.slow
def test_bundle_without_a_gpu(tmp_path, steady_folder, kokkos_build, checkpoint, deployed):
    small = {"dtype": "float32", "layers": 1}
    bundle = steady_folder / "bundle"
    done = run(
        GPU / "bundle.sh",
        *("--out", bundle, "--built", kokkos_build, "--torch", wheel_of_torch(tmp_path)),
        *("--checkpoint", checkpoint(**small)),
        *("--medium", checkpoint(dtype="float32"), "--no-wheels"),
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert f"for torch {find_torch().version}" in done.stdout
    assert not (bundle / ".making").exists()
    assert (bundle / "lammps" / "liblammps.so").is_file()

    # there, from another place
    moved = tmp_path / "there" / "bundle"
    moved.parent.mkdir()
    shutil.move(bundle, moved)
    results = moved / "results"
    results.mkdir()
    # what is there is not compiled again, as after a run that was cut off
    shutil.copy(deployed(".nequip.pt2", **small), results / "small.nequip.pt2")
    done = run(
        *(moved / "run.sh", "--python", sys.executable, "--device", "cpu", "--quick"),
        **{CACHE_VARIABLE: str(cache_folder())},  # the engine is compiled once for all tests
    )
    assert done.returncode == 0, done.stdout[-5000:]
    table = (results / "table.md").read_text()
    assert table in done.stdout
    assert "failed" not in table
    steps = {line.split("\t")[0] for line in (results / "steps.tsv").read_text().splitlines()}
    deployments = {step for step in steps if step.startswith("deploy_")}
    assert deployments == {"deploy_small.nequip.pth", "deploy_medium.nequip.pth"}
    for size in ("small", "medium"):
        for file, ways in (("", {"kk", "plain"}), ("hard_", {"kk small blocks", "kk two ranks"})):
            rows = json.loads((results / f"agreement_{file}{size}.json").read_text())["rows"]
            assert {row["name"].partition(" ")[2] for row in rows} == ways
            assert all(row["passed"] for row in rows)
    speeds = json.loads((results / "speed.json").read_text())["rows"]
    assert all(row["atom_steps_per_s"] > 0 for row in speeds)
    assert any("block 64" in row["name"] for row in speeds)
    (training,) = json.loads((results / "training.json").read_text())
    assert training["ratio"] > 1
    assert " passed" in (results / "tests_kokkos.log").read_text()

    (moved / "lammps" / "torch-version").write_text("2.0.0\n")
    done = run(moved / "run.sh", "--python", sys.executable)
    assert done.returncode == 1
    assert "the plugin was built for torch 2.0.0" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--speed", "x"], "unknown option '--speed'"),
        (["--out"], "option --out needs a value"),
        (["--out", "x"], "--lammps or --built is needed"),
        (["--out", "x", "--built", "/nowhere"], "there is no lmp in"),
    ],
)
def test_bad_input_of_the_bundle(arguments, part, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(GPU / "bundle.sh", *arguments)
    assert done.returncode == 1
    assert part in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_torch_that_is_no_wheel(tmp_path):
    (tmp_path / "torch.whl").write_text("none")
    (tmp_path / "lmp").touch(mode=0o755)
    done = run(
        GPU / "bundle.sh",
        *("--out", tmp_path / "out", "--built", tmp_path, "--torch", tmp_path / "torch.whl"),
    )
    assert done.returncode == 1
    assert "is not a wheel of torch for Linux" in done.stdout
    assert list((tmp_path / "out").iterdir()) == []


def test_run_outside_of_a_bundle():
    done = run(GPU / "there.sh")
    assert done.returncode == 1
    assert "is not a bundle" in done.stdout
