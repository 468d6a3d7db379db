"""Campaigns that are killed at any point: nothing lost, nothing doubled, and the same end."""

import fcntl
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from campaigns import (
    PROGRAM,
    change_settings,
    counting_launcher,
    finished,
    kill,
    lammps_starts,
    launch,
    outcomes,
    run_folder,
    run_program,
    write_campaign,
)
from processes import run_process, wait_for

from nequip_legato.errors import LegatoError
from nequip_legato.stability.run.campaign import run_campaign
from nequip_legato.stability.run.plan import make_plan
from nequip_legato.stability.run.processes import ALIVE
from nequip_legato.stability.run.resolve import load_settings

RUNS = 3
# Some of these runs fail, some are censored.
SETTINGS = {
    "steps": 60,
    "velocity_seeds": RUNS,
    "criteria": {"temperature_window": 70.0, "largest_force": "off", "closest_ratio": "off"},
    "restart_every": "off",
}


@pytest.fixture(scope="module")
def model(compiled) -> Path:
    return compiled


@pytest.fixture(scope="module")
def uninterrupted(model, tmp_path_factory) -> dict[str, tuple]:
    """What comes out if nobody kills anything."""
    campaign = write_campaign(tmp_path_factory.mktemp("whole"), {"a": model}, **SETTINGS)
    run_campaign(campaign)
    found = outcomes(campaign)
    assert len(found) == RUNS
    return found


def counted(folder: Path, model: Path, **changes) -> tuple[Path, Path]:
    """A campaign whose starts of LAMMPS are noted in a file."""
    log = folder / "starts.txt"
    launcher = counting_launcher(folder, log)
    return write_campaign(
        folder, {"a": model}, **SETTINGS | {"launcher": str(launcher)} | changes
    ), log


def processes_in(folder: Path) -> list[int]:
    """Processes whose working folder lies in ``folder``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                inside = Path(os.readlink(entry / "cwd")).is_relative_to(folder)
                running = (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
            except OSError:
                continue
            if inside and running:
                found.append(int(entry.name))
    return found


def in_dynamics(campaign: Path, name: str):
    """Function: whether that run has written a row of its trace and has not ended."""
    part = run_folder(campaign, name) / "trace.part"
    return lambda: part.is_file() and part.stat().st_size > 100


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_killed_runner(number, tmp_path, model):
    """LAMMPS ends with it, the run counts as neither failed nor censored, and is done again."""
    campaign, starts = counted(tmp_path, model, steps=100_000, velocity_seeds=1, criteria={
        "temperature_window": "off", "largest_force": "off", "closest_ratio": "off"})  # fmt: skip
    process = launch("run", campaign, output=tmp_path / "output.txt")
    wait_for(in_dynamics(campaign, "a/64-1x1x1/nvt-1"))
    status = kill(process, number)
    assert status == (-number if number == signal.SIGKILL else 130)
    wait_for(lambda: not processes_in(campaign.with_suffix("")))
    assert not finished(campaign)
    assert not list(tmp_path.rglob("result.json"))
    if number != signal.SIGKILL:
        assert "interrupted" in (tmp_path / "output.txt").read_text()
    assert len(lammps_starts(starts)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_lammps(ranks, tmp_path, model):
    """The run counts as neither; the others go on, and the next call does what is left."""
    campaign, starts = counted(tmp_path, model, velocity_seeds=2, ranks=ranks, steps=150)
    change_settings(
        campaign,
        launcher=None if ranks > 1 else str(tmp_path / "counted-lmp"),
        criteria={"temperature_window": "off", "largest_force": "off", "closest_ratio": "off"},
        workers=1,
    )
    process = launch("run", campaign, output=tmp_path / "output.txt")
    first, second = "a/64-1x1x1/nvt-1", "a/64-1x1x1/nvt-2"
    wait_for(in_dynamics(campaign, first))
    victims = processes_in(run_folder(campaign, first))
    programs = [n for n in victims if b"log.lammps" in Path(f"/proc/{n}/cmdline").read_bytes()]
    os.kill(programs[-1], signal.SIGKILL)
    assert process.wait(120) == 1
    assert "killed" in (tmp_path / "output.txt").read_text()
    assert list(finished(campaign)) == [second]
    status = run_campaign(campaign)
    assert status.censored == 2
    assert set(finished(campaign)) == {first, second}
    if ranks == 1:
        folders = [Path(line).name for line in lammps_starts(starts)]
        assert folders == ["nvt-1", "nvt-2", "nvt-1"]


@pytest.mark.parametrize("fault", ["SEGV", "ABRT"])
def test_lammps_that_crashes_by_itself(fault, tmp_path, model):
    """It is not redone for ever: the third time an error says where to look."""
    log = tmp_path / "starts.txt"
    launcher = counting_launcher(tmp_path, log, before=f"kill -{fault} $$")
    campaign = write_campaign(
        tmp_path,
        {"a": model},
        **SETTINGS
        | {"velocity_seeds": 1, "equilibration": {"steps": 0}, "launcher": str(launcher)},
    )
    for _ in range(2):
        assert run_campaign(campaign).interrupted == ["a/64-1x1x1/nvt-1"]
    with pytest.raises(LegatoError, match=r"has ended 3 times without an error message.*nvt-1"):
        run_campaign(campaign)
    assert len(lammps_starts(log)) == 3
    assert not list(tmp_path.rglob("result.json"))
    assert run_campaign(campaign).interrupted  # counted anew


def test_early_ends_of_other_settings_do_not_count(tmp_path, model):
    """Two crashes with other settings, then two with these before the third is an error."""
    log = tmp_path / "starts.txt"
    launcher = counting_launcher(tmp_path, log, before="kill -SEGV $$")
    campaign = write_campaign(tmp_path, {"a": model}, launcher=str(launcher), steps=20)
    name = "a/64-1x1x1/nvt-1"
    for steps in (20, 30):  # another step limit is another run in the same folder
        change_settings(campaign, steps=steps)
        for _ in range(2):
            assert run_campaign(campaign).interrupted == [name]
    with pytest.raises(LegatoError, match=r"has ended 3 times without an error message.*nvt-1"):
        run_campaign(campaign)
    assert len(lammps_starts(log)) == 5


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_points(seed, tmp_path, model, uninterrupted):
    """However often, the table at the end is that of a campaign that nobody has killed."""
    random_time = random.Random(seed)
    campaign, starts = counted(tmp_path, model)
    folder = campaign.with_suffix("")
    kills = 0
    for _ in range(40):
        process = launch("run", campaign, output=tmp_path / "output.txt")
        try:
            # The first kill comes before any machine can be done; later ones hit every stage.
            limit = random_time.uniform(0.5, 6.0) + kills / 5 if kills else random_time.random()
            assert process.wait(limit) in (0, 1)
        except subprocess.TimeoutExpired:
            numbers = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT]
            lammps = processes_in(folder)
            if lammps and random_time.random() < 0.3:
                os.kill(random_time.choice(lammps), signal.SIGKILL)
                process.wait(60)
            else:
                kill(process, random_time.choice(numbers))
            kills += 1
        assert outcomes(campaign).items() <= uninterrupted.items()
        if len(finished(campaign)) == RUNS:
            break
    assert kills
    wait_for(lambda: not processes_in(folder))
    assert outcomes(campaign) == uninterrupted
    done = lammps_starts(starts)
    assert len(done) <= RUNS + kills
    assert run_campaign(campaign).total == RUNS
    assert lammps_starts(starts) == done  # nothing is left to do
    left = [p.name for p in folder.rglob("*") if p.is_file()]
    assert not {"restart", "trace.part", "screen.txt", "fingerprint"} & set(left)


@pytest.mark.slow
def test_run_that_goes_on_from_its_restart_file(tmp_path, model):
    """Killed twice on its way: the steps before are not repeated, and the trace is whole."""
    off = {"temperature_window": "off", "largest_force": "off", "closest_ratio": "off"}
    settings = {"steps": 400, "velocity_seeds": 1, "criteria": off, "restart_every": 50}
    whole = write_campaign(tmp_path / "whole", {"a": model}, **settings)
    run_campaign(whole)
    campaign, starts = counted(tmp_path, model, **settings)
    name = "a/64-1x1x1/nvt-1"
    restart = run_folder(campaign, name) / "restart"
    for _ in range(2):
        before = restart.stat().st_mtime_ns if restart.is_file() else 0
        process = launch("run", campaign, output=tmp_path / "output.txt")
        wait_for(lambda b=before: restart.is_file() and restart.stat().st_mtime_ns != b)
        kill(process)
        wait_for(lambda: not processes_in(restart.parent))
    run_campaign(campaign)
    assert len(lammps_starts(starts)) == 3
    log = (restart.parent / "log.lammps").read_text()
    assert "read_restart" in log
    first_step = int(log.split("Step          Temp")[1].splitlines()[1].split()[0])
    assert first_step >= 100
    assert outcomes(campaign) == outcomes(whole)
    rows, expected = (
        [line.split(",") for line in (run_folder(c, name) / "trace.csv").read_text().split()[1:]]
        for c in (campaign, whole)
    )
    assert [row[0] for row in rows] == [row[0] for row in expected]
    for row, other in zip(rows, expected, strict=True):
        assert [float(x) for x in row] == pytest.approx([float(x) for x in other], rel=1e-3)


@pytest.mark.slow
def test_several_processes_share_a_campaign(tmp_path, model, uninterrupted):
    """Three at once, one of them killed: every run is started once, but for what was killed."""
    campaign, starts = counted(tmp_path, model)
    processes = [launch("run", campaign, output=tmp_path / f"{n}.txt") for n in range(3)]
    wait_for(lambda: len(lammps_starts(starts)) >= 2)
    kill(processes[0])
    assert [p.wait(180) for p in processes[1:]] == [0, 0]
    wait_for(lambda: not processes_in(campaign.with_suffix("")))
    run_campaign(campaign)
    assert outcomes(campaign) == uninterrupted
    folders = lammps_starts(starts)
    assert len(set(folders)) == RUNS
    assert len(folders) - len(set(folders)) <= 1


@pytest.mark.slow
def test_process_that_outlives_its_campaign(tmp_path, model):
    """LAMMPS that no signal reaches: nobody starts a second one beside it."""
    off = {"temperature_window": "off", "largest_force": "off", "closest_ratio": "off"}
    campaign, starts = counted(tmp_path, model, steps=2, velocity_seeds=1, criteria=off)
    stubborn = counting_launcher(tmp_path, starts, before='trap "" TERM; touch here; sleep 9')
    change_settings(campaign, launcher=str(stubborn))
    process = launch("run", campaign, output=tmp_path / "output.txt")
    name = "a/64-1x1x1/nvt-1"
    wait_for(lambda: (run_folder(campaign, name) / "here").exists())
    kill(process)
    assert run_campaign(campaign).interrupted == [name]
    assert len(lammps_starts(starts)) == 1
    wait_for(lambda: not processes_in(run_folder(campaign, name)))
    change_settings(campaign, launcher=str(counting_launcher(tmp_path, starts)))
    assert run_campaign(campaign).censored == 1
    assert len(lammps_starts(starts)) == 2


@pytest.mark.slow
def test_what_dead_processes_leave_is_no_obstacle(tmp_path, model, uninterrupted):
    """Locks without holders, and files that were being written."""
    campaign, starts = counted(tmp_path, model)
    for name in uninterrupted:
        folder = run_folder(campaign, name)
        folder.mkdir(parents=True)
        for lock in (".lock", ".alive"):
            (folder / lock).touch()
        (folder / ".result.json.x7").write_text('{"format": 1, "run"')
        (folder / "restart").write_bytes(b"half a restart file")
        (folder / "restart.new").write_bytes(b"less than that")
        (folder / "trace.part").write_text("step,temperature\n0,1")
        (folder / "log.lammps").write_text("LAMMPS\nrun 60 upto\nlegato: the run has ended\n")
    start = campaign.with_suffix("") / "starts" / "64-1x1x1"
    start.mkdir(parents=True)
    (start / ".lock").touch()
    (start / "start.data").write_text("half a start structure")
    run_campaign(campaign)
    assert outcomes(campaign) == uninterrupted
    assert len(lammps_starts(starts)) == RUNS


@pytest.mark.slow
def test_killed_equilibration_makes_no_start(tmp_path, model):
    campaign, _ = counted(tmp_path, model, velocity_seeds=1, equilibration={"steps": 100_000})
    process = launch("run", campaign, output=tmp_path / "output.txt")
    start = campaign.with_suffix("") / "starts" / "64-1x1x1"
    log = start / "log.lammps"
    wait_for(lambda: log.is_file() and "TotEng" in log.read_text())
    kill(process, signal.SIGTERM)
    assert not (start / "start.data").exists()
    assert not (start / "done.json").exists()
    change_settings(campaign, equilibration={"steps": 5})
    assert len(run_campaign(campaign).records) == 1


def test_launcher_that_dies_does_not_go_round_for_ever(tmp_path, model):
    for steps in (0, 5):
        campaign, starts = counted(tmp_path / str(steps), model, equilibration={"steps": steps})
        counting_launcher(tmp_path / str(steps), starts, before="kill -9 $$")
        begin = time.monotonic()
        if steps:
            with pytest.raises(LegatoError, match="killed"):
                run_campaign(campaign)
        else:
            assert len(run_campaign(campaign).interrupted) == RUNS
        assert time.monotonic() - begin < 30
        assert len(lammps_starts(starts)) == (1 if steps else RUNS)
        assert not finished(campaign)


@pytest.mark.slow
def test_time_limit_of_a_batch_system(tmp_path, model, uninterrupted):
    """``timeout`` ends the program as batch systems do; the next job goes on."""
    campaign, starts = counted(tmp_path, model)
    # The last run never ends by itself, so that the limit always comes before the end.
    counting_launcher(
        tmp_path, starts, before=f'[ $(wc -l < "{starts}") -lt {RUNS} ] || exec sleep 1000'
    )
    command = ["timeout", "--preserve-status", 10, PROGRAM, "stability", "run", campaign]
    assert run_process(*command, check=False).returncode == 130
    assert len(outcomes(campaign)) < RUNS
    assert outcomes(campaign).items() <= uninterrupted.items()
    counting_launcher(tmp_path, starts)
    assert run_program("run", campaign).returncode == 0
    assert outcomes(campaign) == uninterrupted


def test_signal_that_comes_again_and_again(tmp_path, model):
    """As from ``timeout``, which sends it to the program and to its group; it ends in order."""
    campaign, starts = counted(tmp_path, model)
    counting_launcher(tmp_path, starts, before="exec sleep 1000")
    process = launch("run", campaign, output=tmp_path / "output.txt")
    wait_for(lambda: lammps_starts(starts))
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        process.send_signal(signal.SIGTERM)
        time.sleep(0.001)
    assert process.wait(1) == 130
    assert (tmp_path / "output.txt").read_text().count("interrupted") == 1
    assert not processes_in(campaign.with_suffix(""))


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"half a restart file"])
def test_restart_file_that_a_dying_node_left(content, tmp_path, model, uninterrupted):
    """It is not readable, so the run is done again from its start."""
    campaign, starts = counted(tmp_path, model)
    plan = make_plan(load_settings(campaign))
    folder = plan.runs[0].folder
    folder.mkdir(parents=True)
    (folder / "restart").write_bytes(content)
    (folder / "fingerprint").write_text(plan.runs[0].fingerprint)
    run_campaign(campaign)
    assert outcomes(campaign) == uninterrupted
    assert len(lammps_starts(starts)) == RUNS + 1


@pytest.mark.slow
def test_langevin_goes_on_with_other_random_numbers(tmp_path, model):
    off = {"temperature_window": "off", "largest_force": "off", "closest_ratio": "off"}
    campaign, _ = counted(
        tmp_path,
        model,
        steps=100,
        velocity_seeds=1,
        criteria=off,
        restart_every=10,
        ensembles=["langevin"],
    )
    folder = run_folder(campaign, "a/64-1x1x1/langevin-1")
    process = launch("run", campaign, output=tmp_path / "output.txt")
    wait_for((folder / "restart").exists)
    kill(process)
    wait_for(lambda: not processes_in(folder))
    assert run_campaign(campaign).censored == 1
    log = (folder / "log.lammps").read_text()
    lines = [line for line in log.splitlines() if line.startswith("fix thermostat")]
    seed = int(lines[-1].split()[-1])  # the last one: with the variable put in
    assert seed > 10
    assert (seed - 1) % 10 == 0


def test_processes_of_a_killed_campaign_may_take_a_moment_to_end(tmp_path, model):
    campaign, _ = counted(tmp_path, model, velocity_seeds=1)
    folder = make_plan(load_settings(campaign)).runs[0].folder
    folder.mkdir(parents=True)
    with (folder / ALIVE).open("wb") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        left = subprocess.Popen(["sleep", "1"], pass_fds=[alive.fileno()])
    assert not run_campaign(campaign).interrupted
    assert left.wait() == 0
