"""Campaigns in folders with any name, in any locale."""

import shlex
import shutil
from pathlib import Path

import pytest
from campaigns import finished, run_program, write_campaign

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}


def campaign_in(folder: Path, model: Path, **changes) -> Path:
    folder.mkdir(parents=True)
    shutil.copy(model, folder / "modèle 1.nequip.pth")
    changes = {"steps": 4, "equilibration": {"steps": 2}} | changes
    return write_campaign(folder, {"m": Path("modèle 1.nequip.pth")}, **changes)


@pytest.mark.parametrize(
    ("name", "environment"),
    [
        ("mü ll\"er's $HOME ${x} & # %\t;:", {}),
        ("müller", ASCII),
        pytest.param("long" * 60, {}, marks=pytest.mark.slow),
        pytest.param("two\nlines", {}, marks=pytest.mark.slow),
    ],
    ids=["any letters", "ASCII locale", "long", "line end"],
)
def test_any_folder(name, environment, tmp_path, deployed):
    campaign = campaign_in(tmp_path / name, deployed())
    done = run_program("run", campaign, **environment)
    assert done.returncode == 0, done.stderr
    assert len(finished(campaign)) == 1
    for text in campaign.with_suffix("").rglob("in.lammps"):
        assert text.read_bytes().isascii()


def test_model_name_that_the_locale_cannot_write(tmp_path, deployed):
    campaign = write_campaign(tmp_path, {"modèle": deployed()})
    done = run_program("run", campaign, **ASCII)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "set LC_ALL=C.UTF-8" in done.stderr


def test_type_name_that_lammps_cannot_read(tmp_path, deployed):
    campaign = write_campaign(tmp_path, {"m": deployed()}, types=["H", "Ñ"])
    done = run_program("run", campaign)
    assert done.returncode == 1
    assert "types: LAMMPS cannot be given the type name 'Ñ'" in done.stderr


@pytest.mark.parametrize("system", ["slurm", "pbs"])
def test_job_script(system, tmp_path, deployed):
    campaign = campaign_in(tmp_path / "mü ll\"er's $HOME", deployed())
    campaign = campaign.rename(campaign.with_name("größe 1.yaml"))
    done = run_program("run", campaign, "--script", system, "--tasks", 1, **ASCII)
    assert done.returncode == 0, done.stderr
    commands = [line for line in done.stdout.splitlines() if line.startswith("exec ")]
    assert str(campaign) in shlex.split(commands[0])
    headers = [line for line in done.stdout.splitlines() if line.startswith(("#SBATCH", "#PBS"))]
    assert all(line.isascii() for line in headers)
    assert any("gr-" in line for line in headers)
