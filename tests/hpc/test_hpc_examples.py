"""The job scripts are sound shell, and what they start runs: at small size, on the CPU."""

import os
import re
import stat
from pathlib import Path

import pytest
from processes import PROGRAMS, run_process

HPC = Path(__file__).parents[2] / "examples" / "hpc"
DATA = HPC.parent / "nh3" / "data" / "start_432.data"
SCRIPTS = sorted(p.name for p in HPC.glob("*.sh"))
LMP = PROGRAMS / "lmp"

# Neither SLURM nor MPI over nodes is here: run the program alone, without its Kokkos options.
LAUNCHER = """#!/bin/bash
printf '%s\\n' "$@" > launched.txt
while [[ $# -gt 0 && ${1##*/} != lmp ]]; do shift; done
kept=()
while [[ $# -gt 0 ]]; do
  case $1 in
    -k) shift 4 ;;
    -sf) shift 2 ;;
    -pk) shift 6 ;;
    *) kept+=("$1"); shift ;;
  esac
done
exec "${kept[@]}" -var data "$DATA" -var closest 0 -var every 2
"""


def lammps(folder: Path, model: Path, **variables) -> str:
    command = [LMP, "-in", HPC / "in.nh3_large"]
    settings = {"model": model, "data": DATA, "closest": 0, "every": 2} | variables
    for name, value in settings.items():
        command += ["-var", name, str(value)]
    return run_process(*command, cwd=folder, merge=True, timeout=300).stdout


def last_line(text: str) -> list[float]:
    """Step, time, temperature and energies of the last line of thermo output."""
    rows = [line.split() for line in text.partition("Loop time")[0].splitlines()]
    numbers = [row for row in rows if len(row) == 9 and re.fullmatch(r"\d+", row[0])]
    return [float(word) for word in numbers[-1][:5]]


def test_there_are_scripts_for_both_queues_and_nodes():
    assert [f"{q}_{n}.sh" for q in ("pbs", "slurm") for n in ("a100_4gpu", "h100_8gpu")] == SCRIPTS


@pytest.mark.parametrize("name", SCRIPTS)
def test_syntax(name):
    assert run_process("bash", "-n", HPC / name).stderr == ""


@pytest.mark.parametrize("name", SCRIPTS)
def test_numbers_of_gpus_agree(name):
    """The queue's GPUs and ranks a node are those that LAMMPS is told."""
    text = (HPC / name).read_text()
    wanted = int(re.search(r"_(\d)gpu", name)[1])
    if name.startswith("slurm"):
        asked = re.findall(r"--(?:ntasks|gpus)-per-node=(\d+)", text)
    else:
        asked = re.findall(r"(?:mpiprocs|ngpus)=(\d+)", text)
    asked += re.findall(r"^gpus_per_node=(\d+)", text, re.MULTILINE)
    assert [int(n) for n in asked] == [wanted] * 3
    assert '-k on g "$gpus_per_node"' in text


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_script_starts_the_run_and_goes_on(name, tmp_path, compiled):
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "in.nh3_large").write_text((HPC / "in.nh3_large").read_text())
    programs = tmp_path / "bin"
    programs.mkdir()
    for launcher in ("srun", "mpirun"):
        (programs / launcher).write_text(LAUNCHER)
        (programs / launcher).chmod(stat.S_IRWXU)
    (tmp_path / "nodes").write_text("one\ntwo\n" * 4)
    environment = os.environ | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "DATA": str(DATA),
        "LMP": str(LMP),
        "MODEL": str(compiled),
        **dict.fromkeys(("NX", "NY", "NZ"), "1"),
        "SLURM_SUBMIT_DIR": str(folder),
        "PBS_O_WORKDIR": str(folder),
        "PBS_NODEFILE": str(tmp_path / "nodes"),
    }

    def submit(steps: int) -> str:
        variables = environment | {"STEPS": str(steps)}
        command = ["bash", HPC / name]
        return run_process(*command, cwd=folder, environment=variables, merge=True).stdout

    assert last_line(submit(2))[0] == 2
    words = (folder / "launched.txt").read_text().split()
    assert words[words.index("-pk") :][:6] == ["-pk", "kokkos", "newton", "on", "neigh", "half"]
    if name.startswith("pbs"):
        gpus = int(re.search(r"_(\d)gpu", name)[1])
        assert int(words[words.index("-np") + 1]) == 2 * gpus
    assert last_line(submit(4))[0] == 4
    assert "last.restart" in (folder / "launched.txt").read_text()


@pytest.mark.slow
def test_restart_continues_the_same_trajectory(tmp_path, deployed):
    whole = last_line(lammps(tmp_path, deployed(dtype="float64"), steps=6))
    lammps(tmp_path, deployed(dtype="float64"), steps=4)
    rest = lammps(tmp_path, deployed(dtype="float64"), steps=6, **{"continue": "yes"})
    assert whole[0] == 6
    assert last_line(rest) == pytest.approx(whole, rel=1e-7)


def test_time_limit_leaves_a_restart(tmp_path, compiled):
    text = lammps(tmp_path, compiled, steps=100000, limit="0:00:01")
    assert last_line(text)[0] < 100000
    assert (tmp_path / "last.restart").stat().st_size > 0


def test_replication_and_threads_of_a_failing_run(tmp_path, compiled):
    """Twice the box has twice the atoms; a run beyond the domain stops by itself."""
    text = lammps(tmp_path, compiled, nx=2, steps=4, closest=10, every=1)
    assert "864 atoms" in text
    assert "halt" in text.lower()
    assert last_line(text)[0] < 4
