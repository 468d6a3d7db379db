"""Whatever is wrong with a campaign gives one clear line, and nothing is half-written."""

import shlex
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from campaigns import (
    LMP,
    change_settings,
    contents,
    finished,
    run_folder,
    run_program,
    start_atoms,
    write_campaign,
)

from nequip_legato.errors import LegatoError
from nequip_legato.stability.run.campaign import run_campaign
from nequip_legato.stability.run.plan import make_plan
from nequip_legato.stability.run.resolve import load_settings

INF, NAN = float("inf"), float("nan")
HUGE = 10**12


@pytest.fixture(scope="module")
def model(deployed) -> Path:
    return deployed()


@pytest.fixture
def campaign(tmp_path, model) -> Path:
    return write_campaign(tmp_path, {"a": model}, steps=2)


def refused(campaign: Path) -> str:
    """The one line with which a campaign is refused before anything is written."""
    before = contents(campaign.parent)
    with pytest.raises(LegatoError) as refusal:
        run_campaign(campaign)
    assert contents(campaign.parent) == before
    text = str(refusal.value)
    assert text
    assert "\n" not in text
    return text


def bonds(**changes) -> dict:
    return {"bonds": [{"center": "N", "neighbor": "H", "count": 3, "max": 1.5} | changes]}


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("stepz", 3, "Key 'stepz' not in 'Settings'"),
        ("models", [], "models is empty"),
        ("models", "x", "models"),
        ("models", [{"name": "a"}], "models[0].file"),
        ("models", [{"name": "a", "file": "no.nequip.pth"}], "no.nequip.pth does not exist"),
        ("models", [{"name": "a", "file": "start.extxyz"}], "must end in .nequip.pth"),
        ("models", [{"name": "a", "file": "x", "color": 1}], "Key 'color' not in 'Model'"),
        ("models", [{"name": "a/b", "file": "x"}], "cannot be the name of a folder"),
        ("models", [{"name": "..", "file": "x"}], "cannot be the name of a folder"),
        ("models", [{"name": "a", "file": "x"}, {"name": "a", "file": "y"}], "several are called"),
        ("structure", "no.xyz", "no.xyz does not exist"),
        ("structure", "campaign.yaml", "ASE cannot read the start structure"),
        ("structure", "start.extxyz@7", "start.extxyz@7"),
        ("structure", ".", "structure"),
        ("types", [], "types is empty"),
        ("types", ["H"], "holds N, which is not among symbols"),
        ("types", ["H", "O"], "not among symbols"),
        ("types", "H N", "types"),
        ("symbols", ["H"], "symbols needs as many entries as types"),
        ("symbols", ["H", "Qq"], "Qq is not a chemical element"),
        ("masses", [1.0], "masses needs as many entries as types"),
        ("masses", [0.0, 1.0], "masses must be positive"),
        ("masses", [1.0, NAN], "masses must be positive"),
        ("masses", ["heavy", 1.0], "masses[0]"),
        ("sizes", [], "sizes is empty"),
        ("sizes", [{"replicate": 2}], "replicate"),
        ("sizes", [{"replicate": [1, 1]}], "three positive numbers"),
        ("sizes", [{"replicate": [1, 0, 1]}], "three positive numbers"),
        ("sizes", [{"replicate": [1, 1.5, 1]}], "'1.5' of type 'float'"),
        ("sizes", [{"replicate": [1, 1, 1]}] * 2, "two of them are the same"),
        ("sizes", [{"replicate": [10**6] * 3}], "more than LAMMPS holds"),
        ("sizes", [{"replicate": [1, 1, 1], "steps": 0}], "steps must be positive"),
        ("sizes", [{"replicate": [1, 1, 1], "velocity_seeds": 0}], "velocity_seeds"),
        ("velocity_seeds", 0, "velocity_seeds must be positive"),
        ("velocity_seeds", "many", "'many' of type 'str'"),
        ("velocity_seeds", HUGE, "seeds up to"),
        ("first_velocity_seed", 0, "first_velocity_seed must be at least 1"),
        ("first_velocity_seed", HUGE, "seeds up to"),
        ("ensembles", ["npt"], "'npt' is not one of nvt langevin nve"),
        ("ensembles", [], "ensembles is empty"),
        ("ensembles", ["nve", "nve"], "two of them are the same"),
        ("temperature", -5, "temperature must be positive"),
        ("temperature", INF, "temperature must be positive and finite"),
        ("timestep", 0, "timestep must be positive"),
        ("timestep", NAN, "timestep must be positive"),
        ("damping_steps", INF, "damping_steps must be positive and finite"),
        ("steps", 0, "steps must be positive"),
        ("steps", HUGE, "steps must be at most"),
        ("steps", 2.5, "'2.5' of type 'float'"),
        ("equilibration", 3, "equilibration"),
        ("equilibration", {"steps": -1}, "equilibration: steps must not be negative"),
        ("equilibration", {"seed": HUGE}, "seeds up to"),
        ("equilibration", {"model": "nobody", "steps": 3}, "equilibration: model"),
        ("criteria", {"bond": 1}, "Key 'bond' not in 'Criteria'"),
        ("criteria", {"every": 0}, "every and contacts_every"),
        ("criteria", {"temperature_window": -1.0}, "temperature_window"),
        ("criteria", {"largest_force": NAN}, "largest_force"),
        ("criteria", {"closest_ratio": INF}, "closest_ratio"),
        ("criteria", bonds(center="C"), "'C', which is not among types"),
        ("criteria", bonds(max=9.0), "not below the cutoff"),
        ("criteria", bonds(min=2.0), "min < max"),
        ("launcher", "mpiexec 'lmp", "launcher: No closing quotation"),
        ("ranks", 0, "ranks must be at least 1"),
        ("threads", 0, "threads must be at least 1"),
        ("workers", -1, "workers must not be negative"),
        ("trace_every", 0, "trace_every must be positive"),
        ("restart_every", -1, "restart_every must not be negative"),
        ("output", "campaign.yaml", "cannot write into the folder"),
        ("output", "/proc/nowhere", "cannot write into the folder"),
    ],
)
def test_settings(key, value, part, campaign):
    change_settings(campaign, **{key: value})
    assert part in refused(campaign)


@pytest.mark.parametrize("text", ["", "[1, 2]", "words", "models: [", "a: b: c", "\t- x", "\x00"])
def test_no_settings_at_all(text, campaign):
    campaign.write_text(text)
    assert str(campaign) in refused(campaign)


def test_missing_campaign(tmp_path):
    with pytest.raises(LegatoError, match="does not exist"):
        load_settings(tmp_path / "nowhere.yaml")


def test_types_that_the_model_lacks(campaign, tmp_path):
    atoms = start_atoms(campaign)
    atoms.symbols[atoms.symbols == "N"] = "P"
    atoms.write(tmp_path / "start.extxyz")
    change_settings(campaign, types=["H", "P"])
    assert "knows no type P; its types are H N" in refused(campaign)


def test_structures_that_cannot_be_replicated(campaign, tmp_path):
    atoms = start_atoms(campaign)
    atoms.pbc = [True, True, False]
    atoms.write(tmp_path / "start.extxyz")
    assert "not periodic in three directions" in refused(campaign)


@pytest.mark.parametrize("content", [[1, 5], [0, 1], [-1, 1]])
def test_types_in_a_structure_that_are_not_ours(content, campaign, tmp_path):
    """Arrays called ``type`` come with many files, and need not be types of LAMMPS."""
    atoms = start_atoms(campaign)
    atoms.arrays["type"] = np.resize(content, len(atoms))
    atoms.write(tmp_path / "start.extxyz")
    plan = make_plan(load_settings(campaign))
    types = plan.start_atoms.arrays["type"]
    assert [("H", "N")[t - 1] for t in types] == list(atoms.symbols)


@pytest.mark.slow
def test_changed_settings_over_an_existing_campaign(campaign, tmp_path):
    run_campaign(campaign)
    before = contents(campaign.with_suffix("") / "runs")
    for change in (
        {"steps": 3},
        {"timestep": 0.4},
        {"damping_steps": 50.0},
        {"criteria": {"temperature_window": 400.0}},
        {"temperature": 310.0},
        {"masses": [2.0, 14.0]},
    ):
        change_settings(campaign, **change)
        with pytest.raises(LegatoError, match=r"was made (with|from) another"):
            run_campaign(campaign)
        change_settings(
            campaign,
            **{
                "steps": 2,
                "timestep": 0.5,
                "damping_steps": 100.0,
                "temperature": 300.0,
                "masses": None,
            },
            criteria={"temperature_window": "off", "largest_force": "off", "closest_ratio": "off"},
        )
    assert contents(campaign.with_suffix("") / "runs") == before
    run_campaign(campaign)  # and the old ones are good again
    change_settings(campaign, velocity_seeds=2)  # campaigns may grow
    run_campaign(campaign)
    assert len(finished(campaign)) == 2


def test_another_model_of_the_same_name(campaign, tmp_path, model):
    shutil.copy(model, tmp_path / "model.nequip.pth")
    change_settings(campaign, models=[{"name": "a", "file": "model.nequip.pth"}])
    run_campaign(campaign)
    with zipfile.ZipFile(tmp_path / "model.nequip.pth", "a") as archive:
        archive.comment = b"trained again"
    with pytest.raises(LegatoError, match="another model"):
        run_campaign(campaign)


@pytest.mark.parametrize("steps", [0, 3], ids=["run", "equilibration"])
@pytest.mark.parametrize(
    ("launcher", "part"),
    [
        ("no-such-program -x", "no-such-program"),
        ("/etc", "could not be started"),
        ("true", "without starting LAMMPS"),
        ("sh -c 'exit 3'", "status 3 without starting LAMMPS"),
        ("sh -c nothing-here", "nothing-here"),
    ],
)
def test_launchers_that_start_no_lammps(launcher, part, steps, campaign):
    change_settings(campaign, launcher=launcher, equilibration={"steps": steps})
    with pytest.raises(LegatoError) as refusal:
        run_campaign(campaign)
    assert part in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not finished(campaign)
    change_settings(campaign, launcher=None, equilibration={"steps": 0})
    assert run_campaign(campaign).censored == 1


@pytest.mark.parametrize(
    "name", ["NaN is not a number.nequip.pth", "Lost atoms $x # '&.nequip.pth"]
)
def test_input_error_is_no_failure_of_the_model(name, tmp_path, model):
    """The words in LAMMPS' error are those of a simulation that died; the input was wrong."""
    path = tmp_path / name
    shutil.copy(model, path)
    campaign = write_campaign(tmp_path / "campaign", {"a": path}, steps=2)
    hide = tmp_path / "hide"
    moved = shlex.join(["mv", str(path), f"{path}.gone"])
    hide.write_text(f'#!/bin/bash\n{moved}\nexec {LMP} "$@"\n')
    hide.chmod(0o755)
    change_settings(campaign, launcher=str(hide))
    with pytest.raises(LegatoError, match="cannot open model file"):
        run_campaign(campaign)
    assert not finished(campaign)
    Path(f"{path}.gone").rename(path)
    change_settings(campaign, launcher=None)
    assert run_campaign(campaign).censored == 1


@pytest.mark.slow
def test_half_a_result_is_not_read(campaign):
    run_campaign(campaign)
    (name,) = finished(campaign)
    result = run_folder(campaign, name) / "result.json"
    result.write_text(result.read_text()[:40])
    with pytest.raises(LegatoError, match=r"result.json is not a record.*remove it"):
        run_campaign(campaign)
    result.unlink()
    run_campaign(campaign)
    assert list(finished(campaign)) == [name]


@pytest.mark.slow
def test_folder_that_cannot_be_written(campaign):
    """As when a disk is full: one line, and the campaign goes on when it is put right."""
    runs = campaign.with_suffix("") / "runs"
    runs.parent.mkdir()
    runs.write_text("a file where folders should be")
    done = run_program("run", campaign)
    assert done.returncode == 1
    assert done.stderr.startswith("nequip-legato: error: ")
    assert len(done.stderr.splitlines()) == 1
    runs.unlink()
    assert run_campaign(campaign).censored == 1


@pytest.mark.slow
def test_program_prints_one_line(campaign):
    for arguments in (
        ("run", campaign.parent / "nowhere.yaml"),
        ("run", campaign, "--part", "3"),
        ("run", campaign, "--part", "2/1"),
        ("run", campaign, "--workers", "-1"),
        ("run", campaign, "--script", "slurm", "--tasks", "0"),
        ("run", campaign, "--script", "pbs", "--tasks", "2"),
    ):
        done = run_program(*arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("nequip-legato: error: ")
        assert len(done.stderr.splitlines()) == 1
        assert not done.stdout
    assert not campaign.with_suffix("").exists()
