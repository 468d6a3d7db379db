"""More ranks than cores: MPICH's ranks sleep while they wait."""

import os
from pathlib import Path

import pytest
from processes import run_process

from nequip_legato.stability.run.lammps_process import launch_command

VARIABLE = "MPIR_CVAR_CH4_PROGRESS_THROTTLE"
CORES = len(os.sched_getaffinity(0))


@pytest.fixture(autouse=True)
def unset(monkeypatch) -> None:
    """As for a user: the tests themselves set it for all of their programs."""
    for name in [name for name in os.environ if name.startswith(VARIABLE)]:
        monkeypatch.delenv(name)


def test_the_command_runs(tmp_path):
    (tmp_path / "in.lammps").write_text("info comm\n")
    command = launch_command([], CORES + 1)
    assert f"{VARIABLE}=1" in command
    assert f"Nprocs = {CORES + 1}" in run_process(*command, cwd=tmp_path).stdout


def test_nothing_is_said_where_each_rank_has_a_core():
    assert not any(VARIABLE in word for word in launch_command([], CORES))
    if CORES > 1:
        assert Path(launch_command([], CORES)[0]).name == "mpiexec"


def test_the_user_knows_better(monkeypatch):
    assert launch_command(["srun", "lmp"], CORES + 1)[:2] == ["srun", "lmp"]
    monkeypatch.setenv(VARIABLE, "0")
    assert not any(VARIABLE in word for word in launch_command([], CORES + 1))
