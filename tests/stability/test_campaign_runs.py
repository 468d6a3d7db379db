"""Campaigns of real short runs: what is run, what comes out, and how batch systems do it."""

import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
from campaigns import (
    LMP,
    change_settings,
    counting_launcher,
    finished,
    lammps_starts,
    outcomes,
    run_folder,
    run_program,
    write_campaign,
)
from models import ammonia_frames
from processes import run_process

from nequip_legato.stability.run.campaign import run_campaign
from nequip_legato.stability.run.plan import make_plan
from nequip_legato.stability.run.resolve import load_settings

FAILING = {"temperature_window": 70.0, "largest_force": "off", "closest_ratio": "off"}


@pytest.fixture(scope="module")
def model(compiled) -> Path:
    return compiled


@pytest.mark.slow
def test_models_sizes_and_seeds(tmp_path, model):
    """Every combination once, with what its size says, and all of them from the same start."""
    campaign = write_campaign(
        tmp_path,
        {"a": model, "b": model},
        atoms=ammonia_frames(2)[1][:8],  # two molecules in the cell of sixteen
        sizes=[{"replicate": [1, 1, 1]}, {"replicate": [1, 1, 2], "steps": 4, "velocity_seeds": 1}],
        velocity_seeds=2,
        first_velocity_seed=11,
        steps=6,
        equilibration={"steps": 5},
    )
    assert run_campaign(campaign).total == 6
    found = finished(campaign)
    expected = {
        f"{name}/{size}/nvt-{seed}"
        for name in "ab"
        for size, seeds in (("8-1x1x1", (11, 12)), ("16-1x1x2", (11,)))
        for seed in seeds
    }
    assert set(found) == expected
    for record in found.values():
        limit = 6 if record.atoms == 8 else 4
        assert (record.outcome, record.steps, record.step_limit) == ("censored", limit, limit)
        assert record.criterion is record.value is record.threshold is None
        assert record.wall > 0
    # the two models are one file, so same seed, same run; another seed, another one
    traces = {name: (run_folder(campaign, name) / "trace.csv").read_text() for name in found}
    assert traces["a/8-1x1x1/nvt-11"] == traces["b/8-1x1x1/nvt-11"]
    assert traces["a/8-1x1x1/nvt-11"] != traces["a/8-1x1x1/nvt-12"]
    data = (campaign.with_suffix("") / "starts" / "16-1x1x2" / "start.data").read_text()
    assert "16 atoms" in data
    before = outcomes(campaign)
    assert run_campaign(campaign).total == 6
    assert outcomes(campaign) == before


def test_masses_temperature_and_time_step_reach_lammps(tmp_path, model):
    """The equipartition of the first step, and the time that LAMMPS counts."""
    campaign = write_campaign(
        tmp_path, {"a": model}, masses=[2.014, 14.007], temperature=150.0, timestep=0.25, steps=4
    )
    run_campaign(campaign)
    rows = (run_folder(campaign, "a/64-1x1x1/nvt-1") / "trace.csv").read_text().split()
    assert float(rows[1].split(",")[1]) == pytest.approx(150.0)
    text = (run_folder(campaign, "a/64-1x1x1/nvt-1") / "log.lammps").read_text()
    assert "timestep 0.00025" in text
    assert "nvt temp 150.0 150.0 0.025" in text  # 100 steps, in ps
    data = (campaign.with_suffix("") / "starts" / "64-1x1x1" / "start.data").read_text()
    masses = data.split("Masses")[1].split("Atoms")[0].split()
    assert masses == ["1", "2.014", "2", "14.007"]
    (record,) = finished(campaign).values()
    assert record.time == pytest.approx(4 * 0.25e-3)


@pytest.mark.slow
def test_ensembles(tmp_path, model):
    """NVE keeps the total energy; a thermostat does not."""
    campaign = write_campaign(
        tmp_path,
        {"a": model},
        ensembles=["nve", "langevin"],
        damping_steps=10.0,
        timestep=0.1,
        steps=40,
    )
    run_campaign(campaign)
    drift = {}
    for name, record in finished(campaign).items():
        log = (run_folder(campaign, name) / "log.lammps").read_text()
        table = log.split("Step          Temp")[1].split("Loop time")[0].splitlines()[1:]
        total = np.array([float(line.split()[3]) for line in table if line.split()])
        drift[record.ensemble] = np.ptp(total)
    assert drift["nve"] < 1e-2 < drift["langevin"]


@pytest.mark.slow
def test_one_and_two_ranks_agree(tmp_path, model):
    found = {}
    for ranks in (1, 2):
        campaign = write_campaign(
            tmp_path / str(ranks), {"a": model}, criteria=FAILING, ranks=ranks, steps=60
        )
        run_campaign(campaign)
        (record,) = finished(campaign).values()
        assert record.ranks == ranks
        found[ranks] = record
    one, two = found[1], found[2]
    assert (one.outcome, one.steps, one.criterion) == (two.outcome, two.steps, two.criterion)
    assert (one.value is None) == (two.value is None)
    if one.value is not None:
        assert one.value == pytest.approx(two.value, rel=1e-5)


def test_launcher_of_the_user(tmp_path, model):
    """Its words, quoted ones too, come before LAMMPS' own options."""
    log = tmp_path / "with space" / "starts.txt"
    launcher = counting_launcher(log.parent, log, before='echo "$1" > word; shift')
    campaign = write_campaign(
        tmp_path, {"a": model}, launcher=shlex.join([str(launcher), "two words"]), steps=2
    )
    assert run_campaign(campaign).censored == 1
    folder = run_folder(campaign, "a/64-1x1x1/nvt-1")
    assert lammps_starts(log) == [str(folder)]
    assert (folder / "word").read_text() == "two words\n"


@pytest.mark.slow
def test_dry_run(tmp_path, model):
    """Prints what would be started, and leaves nothing behind; what is done is not in it."""
    campaign = write_campaign(
        tmp_path,
        {"a": model},
        velocity_seeds=2,
        steps=2,
        equilibration={"steps": 2},
        launcher="my-launcher --tasks 4 'lmp mpi'",
    )
    done = run_program("run", campaign, "--dry-run")
    assert done.returncode == 0
    folder = campaign.with_suffix("")
    assert not folder.exists()
    lines = done.stdout.splitlines()
    places = [folder / "starts/64-1x1x1"] + [folder / f"runs/a/64-1x1x1/nvt-{n}" for n in (1, 2)]
    assert len(lines) == len(places)
    for line, place in zip(lines, places, strict=True):
        words = shlex.split(line)
        assert words[:3] == ["cd", str(place), "&&"]
        assert words[3:7] == ["my-launcher", "--tasks", "4", "lmp mpi"]
        assert words[7:] == ["-in", "in.lammps", "-log", "log.lammps"]
    change_settings(campaign, launcher=None)
    run_campaign(campaign, part=(1, 2))
    lines = run_program("run", campaign, "--dry-run").stdout.splitlines()
    assert len(lines) == 1
    assert "nvt-2 && " in lines[0]
    assert str(LMP) in lines[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("system", "variable"), [("slurm", "SLURM_ARRAY_TASK_ID"), ("pbs", "PBS_ARRAY_INDEX")]
)
def test_job_array(system, variable, tmp_path, model):
    """Each task, executed as the batch system would, does its part; together all, nothing twice."""
    starts = tmp_path / "starts.txt"
    folder = tmp_path / "a folder"
    launcher = counting_launcher(tmp_path, starts)
    campaign = write_campaign(
        folder,
        {"a": model},
        velocity_seeds=3,
        steps=2,
        launcher=str(launcher),
        equilibration={"steps": 2},
    )
    script = tmp_path / "array.sh"
    made = run_program("run", campaign, "--script", system, "--tasks", "2")
    assert made.returncode == 0
    assert not campaign.with_suffix("").exists()
    script.write_text(made.stdout)
    run_process("bash", "-n", script)
    plan = make_plan(load_settings(campaign))
    tasks = [
        subprocess.Popen(
            ["bash", str(script)],
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "HOME": str(Path.home()), variable: str(number)},
        )
        for number in (1, 2)
    ]
    assert [task.wait(180) for task in tasks] == [0, 0]
    assert set(finished(campaign)) == {run.name for run in plan.runs}
    places = lammps_starts(starts)
    assert len(places) == len(set(places)) == 4  # three runs and the equilibration
    # and without the variable it does nothing
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(Path.home())}
    done = run_process("bash", script, environment=environment, inherit=False, check=False)
    assert done.returncode != 0
    assert lammps_starts(starts) == places


@pytest.mark.slow
def test_start_structures_of_other_shapes(tmp_path, model):
    """A triclinic cell, replicated, has the density of the one it was made from."""
    atoms = ammonia_frames(2)[1]
    cell = atoms.cell.array
    cell[1, 0], cell[2, 0], cell[2, 1] = 0.9, -0.7, 0.5
    atoms.set_cell(cell, scale_atoms=True)
    campaign = write_campaign(
        tmp_path, {"a": model}, atoms=atoms, sizes=[{"replicate": [1, 2, 1]}], steps=2
    )
    run_campaign(campaign)
    (record,) = finished(campaign).values()
    assert record.atoms == 128
    log = (run_folder(campaign, record.run) / "log.lammps").read_text()
    energy = [
        float(line.split()[2]) for line in log.splitlines() if line.split()[:2] == ["0", "300"]
    ]
    single = write_campaign(tmp_path / "single", {"a": model}, atoms=atoms, steps=2)
    run_campaign(single)
    log = (run_folder(single, "a/64-1x1x1/nvt-1") / "log.lammps").read_text()
    half = [float(line.split()[2]) for line in log.splitlines() if line.split()[:2] == ["0", "300"]]
    assert energy[0] == pytest.approx(2 * half[0], rel=1e-7)
