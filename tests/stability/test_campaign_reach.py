"""What campaigns of 10,000 runs cost beside LAMMPS: seconds, and little memory."""

import json
import resource
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from campaigns import change_settings, finished, write_campaign
from measured import measure

from nequip_legato.stability.records import Record
from nequip_legato.stability.run.campaign import run_campaign
from nequip_legato.stability.run.plan import PlannedRun, make_plan
from nequip_legato.stability.run.resolve import load_settings

RUNS = 10_000


@pytest.fixture(scope="module")
def model(compiled) -> Path:
    return compiled


def simulate(run: PlannedRun) -> None:
    """The result of a run that nobody has done."""
    record = Record(
        run=run.name,
        model=run.model.name,
        group=run.model.group,
        training_seed=run.model.training_seed,
        atoms=run.start.atoms,
        velocity_seed=run.velocity_seed,
        ensemble=run.ensemble,
        temperature=300.0,
        timestep=0.5,
        step_limit=run.steps,
        outcome="failed",
        steps=run.velocity_seed,
        criterion="bonds",
        value=1.0,
        wall=1.0,
        fingerprint=run.fingerprint,
    )
    run.folder.mkdir(parents=True)
    run.result.write_text(json.dumps({"format": 1, **asdict(record)}))


@pytest.fixture(scope="module")
def large(model, tmp_path_factory) -> Path:
    """A campaign of 10,000 runs, all but two of them done."""
    folder = tmp_path_factory.mktemp("large")
    sizes = [{"replicate": [1, 1, n]} for n in (1, 2)]
    models = {f"m{n}": model for n in range(10)}
    campaign = write_campaign(folder, models, sizes=sizes, velocity_seeds=500, steps=2)
    plan = make_plan(load_settings(campaign))
    assert len(plan.runs) == RUNS
    for run in plan.runs[:-2]:
        simulate(run)
    return campaign


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--dry-run"], ["--script", "slurm", "--tasks", "100"], []])
def test_time_and_memory(arguments, large):
    """Of the whole program, which starts two real runs if it is not told otherwise."""
    used = measure("stability", "run", large, *arguments)
    assert used.seconds < 30
    assert used.megabytes < 1000
    if not arguments:
        assert len(finished(large)) == RUNS


@pytest.mark.slow
def test_own_time_of_a_run_among_many(model, tmp_path):
    """Taking 100 runs out of 10,000 and starting a program that ends at once."""
    campaign = write_campaign(tmp_path, {f"m{n}": model for n in range(20)}, velocity_seeds=500)
    plan = make_plan(load_settings(campaign))
    for run in plan.runs[100:]:
        simulate(run)
    nothing = tmp_path / "nothing"
    nothing.write_text("#!/bin/sh\nkill -9 $$\n")
    nothing.chmod(0o755)
    change_settings(campaign, launcher=str(nothing))
    started = time.process_time()
    status = run_campaign(campaign)
    used = time.process_time() - started
    assert len(status.interrupted) == 100
    print(f"{used:.1f} s of processor for planning, scanning and 100 starts")
    assert used < 30


@pytest.mark.slow
def test_starting_a_run_is_cheap(model, tmp_path):
    """Runs of one step, so nearly all is start and end: at most 5 % of a run of a minute.

    Processor time, which a busy machine does not stretch.
    """
    campaign = write_campaign(tmp_path, {"a": model}, velocity_seeds=3, steps=1)
    own = time.process_time()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert len(run_campaign(campaign).records) == 3
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = time.process_time() - own
    lammps = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"a run: {own / 3:.2f} s of our own, {lammps / 3:.2f} s of LAMMPS and its start")
    assert (own + lammps) / 3 < 0.05 * 60
