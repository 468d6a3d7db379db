"""The finished file is checked where its crash, or its hanging, is one line and no file."""

import os
import re
import signal
import threading
import time
import zipfile
from pathlib import Path

import pytest
import torch
from models import CUTOFF
from processes import PROGRAMS, run_process

from nequip_legato.cli import deploy_main
from nequip_legato.deploy import build, export
from nequip_legato.deploy.check import isolated_atoms, reference_of
from nequip_legato.deploy.finished import LARGEST_BLOCKS, FinishedFile, check_finished, find_engine
from nequip_legato.deployed.reader import info
from nequip_legato.errors import LegatoError
from nequip_legato.trained.checkpoint import open_source

CUTOFFS = torch.full((2, 2), CUTOFF, dtype=torch.float64)
BLOCK_SIZES = Path(__file__).parents[2] / "lammps_plugin" / "core" / "block_size.h"
CODE = {
    "crash": "#include <signal.h>\n__attribute__((constructor)) void f(void) { raise(SIGSEGV); }",
    "hang": "#include <unistd.h>\n__attribute__((constructor)) void f(void) { for (;;) pause(); }",
}


@pytest.fixture
def compiles_to(deployed, tmp_path, monkeypatch):
    """Function: name of CODE -> nequip-deploy's compiled library has that code instead."""

    def replace(name: str) -> None:
        good = deployed(".nequip.pt2")
        (tmp_path / "x.c").write_text(CODE[name])
        library = tmp_path / "x.so"
        run_process("gcc", "-shared", "-fPIC", "-o", library, tmp_path / "x.c")

        def save(model, metadata, path, **_):
            with zipfile.ZipFile(good) as old, zipfile.ZipFile(path, "w") as new:
                for entry in old.namelist():
                    content = old.read(entry)
                    new.writestr(entry, library.read_bytes() if ".so" in entry else content)

        monkeypatch.setattr(export, "save_aotinductor", save)

    return replace


@pytest.fixture
def target(tmp_path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "m.nequip.pt2"


def test_unchecked(checkpoint, tmp_path, capsys):
    """Nothing is evaluated, so that no limit is too short, and the file remembers it."""
    target = tmp_path / "m.nequip.pth"
    command = ["build", str(checkpoint()), str(target), "--check-limit", "0.001"]
    assert deploy_main(command) == 1
    assert "gave no result within 0.001 s" in capsys.readouterr().err
    assert deploy_main([*command, "--unchecked"]) == 0
    assert "was not checked" in capsys.readouterr().out
    assert "no: made with --unchecked" in str(info(target))


def test_block_sizes_are_those_of_the_engine():
    stated = dict(re.findall(r"constexpr int (\w+) = (\d+);", BLOCK_SIZES.read_text()))
    assert int(stated["kCpuBlock"]) == LARGEST_BLOCKS["cpu"]
    assert int(stated["kLargestGpuBlock"]) == LARGEST_BLOCKS["cuda"]


@pytest.mark.slow
def test_crash_is_one_line_and_no_file(checkpoint, compiles_to, target, refused):
    compiles_to("crash")
    said = refused("build", checkpoint(), target)
    assert "crashed (SIGSEGV: Segmentation fault), while loading it, in " in said
    assert "f of " in said  # the function of CODE, whatever raise() shows of itself before it
    assert said.endswith("deploy with --kernels off, or to .nequip.pth (TorchScript) instead")
    modifier = "enable_ForceStressOutput"
    said = refused("build", checkpoint(), target, "--modifiers", modifier)
    assert said.endswith(f"leave out --modifiers {modifier}")
    assert list(target.parent.iterdir()) == []


@pytest.mark.slow
def test_hang_ends_at_the_limit(checkpoint, compiles_to, target, refused):
    compiles_to("hang")
    target.write_text("precious")
    said = refused("build", checkpoint(), target, "--check-limit", 4)
    assert "gave no result within 4 s, while loading it" in said
    assert "--check-limit" in said
    assert target.read_text() == "precious"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.slow
def test_killed_check(checkpoint, compiles_to, target, refused):
    """As by a system that is out of memory."""
    compiles_to("hang")
    killed = []

    def kill() -> None:
        until = time.monotonic() + 120
        while not killed and time.monotonic() < until:
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    command = (process / "cmdline").read_bytes()
                    parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
                except OSError:
                    continue  # it has ended
                if b"check_process" in command and parent == own:
                    time.sleep(2)  # into the library
                    killed.append(int(process.name))
                    os.kill(killed[0], signal.SIGKILL)
            time.sleep(0.1)

    own = str(os.getpid())
    thread = threading.Thread(target=kill)
    thread.start()
    said = refused("build", checkpoint(), target)
    thread.join()
    assert "crashed (SIGKILL: Killed; out of memory?)" in said
    assert list(target.parent.iterdir()) == []


@pytest.mark.slow
def test_damaged_weights(checkpoint, deployed, target, monkeypatch):
    """A library that runs, with the weights of another training."""
    other = deployed(".nequip.pt2")
    monkeypatch.setattr(
        export,
        "save_aotinductor",
        lambda model, metadata, path, **_: path.write_bytes(other.read_bytes()),
    )
    with pytest.raises(LegatoError, match="deployed file differ") as caught:
        build(checkpoint(seed=1), target)
    assert str(caught.value).endswith("or to .nequip.pth (TorchScript) instead")
    assert list(target.parent.iterdir()) == []


def references_of(model_path: Path, frame) -> list:
    model = open_source(model_path, model_key="sole_model").model
    return [reference_of(model, f) for f in (frame, isolated_atoms(num_types=2, cutoffs=CUTOFFS))]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ours", "torch"])
def test_same_deviations_either_way(engine, checkpoint, deployed, as_frame, unseen):
    """Repeated to fill a block of 64; a periodic frame, atoms alone, and a dimer."""
    references = references_of(checkpoint(), as_frame(unseen))
    file = FinishedFile(deployed(), "cpu", "float64", CUTOFFS, "mend it")
    path = find_engine(print) if engine == "ours" else None
    found = check_finished(file, references, engine=path)
    assert found.n_frames == 2
    assert found.force < 1e-9
    assert found.virial < 1e-9
    references[0].sums.virial[0, 1] += 1e-3  # of 64 atoms
    with pytest.raises(LegatoError, match=r"differs .* mend it"):
        check_finished(file, references, engine=path)


@pytest.mark.slow
def test_energies_alone_are_compared(checkpoint, deployed, as_frame, unseen, monkeypatch):
    """They may come from a second model, so they are looked at on their own."""
    from nequip_legato.deploy import finished

    references = references_of(checkpoint(), as_frame(unseen))
    file = FinishedFile(deployed(), "cpu", "float64", CUTOFFS, "mend it")
    run = finished._run

    def off_by_little(*arguments):
        results = run(*arguments)
        return {k: v + 1e-6 if k.endswith("alone") else v for k, v in results.items()}

    monkeypatch.setattr(finished, "_run", off_by_little)
    with pytest.raises(LegatoError, match=r"energies alone .* by 1.0e-06 eV"):
        check_finished(file, references, engine=find_engine(print))


def test_file_for_another_device_cannot_be_used(checkpoint, deployed, as_frame, unseen):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here, on which the file runs")
    references = references_of(checkpoint(), as_frame(unseen))
    file = FinishedFile(deployed(), "cuda", "float64", CUTOFFS, "mend it")
    with pytest.raises(LegatoError, match=r"cannot be used, while loading it: .* GPU.*; mend it"):
        check_finished(file, references, engine=find_engine(print))


@pytest.mark.slow
def test_without_a_compiler_for_the_engine(checkpoint, tmp_path):
    """TorchScript needs none; what then checks the file is said."""
    environment = {
        "PATH": "/nowhere",
        "CXX": "no-such-compiler",
        "NEQUIP_LEGATO_CACHE": str(tmp_path / "cache"),
    }
    command = [PROGRAMS / "nequip-deploy", "build", checkpoint(), tmp_path / "m.nequip.pth"]
    done = run_process(*command, environment=environment, inherit=False)
    assert "CXX=no-such-compiler is not a program" in done.stdout
    assert "checked by torch's own loader instead" in done.stdout
    assert (tmp_path / "m.nequip.pth").is_file()


@pytest.mark.parametrize("limit", ["0", "-1", "nan", "inf"])
def test_bad_limit(limit, refused, checkpoint, tmp_path):
    said = refused("build", checkpoint(), tmp_path / "m.nequip.pth", f"--check-limit={limit}")
    assert "check_limit must be a positive number of seconds" in said
