"""AOTInductor files; each build takes about half a minute."""

import json
import subprocess
import zipfile
from pathlib import Path

import pytest
import torch
from kept import compiled_from, kept_folder
from models import CUTOFF
from processes import PROGRAMS, run_process

from nequip_legato.deploy.blocks import evaluate_in_blocks
from nequip_legato.deploy.export import load_deployed
from nequip_legato.deployed.elf import needs_executable_stack
from nequip_legato.deployed.reader import info

CUTOFFS = torch.full((2, 2), CUTOFF, dtype=torch.float64)


@pytest.fixture
def compiled_by_nequip(checkpoint):
    """Function: compile target -> file of nequip-compile."""

    def get(target: str) -> Path:
        name = f"{target}.nequip.pt2"

        def make(folder: Path) -> None:
            options = ["--device", "cpu", "--mode", "aotinductor", "--target", target]
            run_process(PROGRAMS / "nequip-compile", checkpoint(), folder / name, *options)

        return kept_folder(f"nequip-compile-{target}", compiled_from(checkpoint()), make) / name

    return get


@pytest.mark.slow
def test_file(deployed, unseen, as_frame):
    path = deployed(".nequip.pt2")
    found, script = info(path), info(deployed())
    assert found.usable
    assert found.remark == ""
    assert found.kind == "AOTInductor"
    ours = {k: v for k, v in found.entries.items() if k.startswith("legato_")}
    theirs = {k: v for k, v in script.entries.items() if k.startswith("legato_")}
    assert ours == theirs | {"legato_kernels": "cpp"}
    assert found.entries["nequip_aoti_inputs"] == "pos edge_index atom_types edge_vectors"
    assert found.entries["nequip_aoti_outputs"] == "atomic_energy edge_forces"
    frame = as_frame(unseen)
    for sizes in ((1,), (9,), (128,)):
        results = [
            evaluate_in_blocks(load_deployed(p, device="cpu"), frame, cutoffs=CUTOFFS, sizes=sizes)
            for p in (path, deployed())
        ]
        torch.testing.assert_close(results[0].forces, results[1].forces, rtol=0, atol=1e-10)
        torch.testing.assert_close(results[0].energies, results[1].energies, rtol=0, atol=1e-10)


@pytest.mark.slow
def test_file_needs_no_executable_stack(deployed):
    with zipfile.ZipFile(deployed(".nequip.pt2")) as archive:
        libraries = [archive.read(n) for n in archive.namelist() if n.endswith(".so")]
    assert len(libraries) == 1
    assert not needs_executable_stack(libraries[0])


@pytest.mark.slow
def test_one_thread_whatever_the_machine_has(deployed):
    """LAMMPS evaluates blocks side by side; threads inside them made it twice as slow."""
    with zipfile.ZipFile(deployed(".nequip.pt2")) as archive:
        kernels = [archive.read(n) for n in archive.namelist() if n.endswith(".kernel.cpp")]
    assert kernels
    assert not any(b"omp parallel" in kernel for kernel in kernels)


@pytest.mark.slow
def test_target_of_nequip_compile(compiled_by_nequip, deployed, unseen, as_frame):
    path = compiled_by_nequip("pair_allegro_legato")
    found = info(path)
    assert found.usable
    assert "made by nequip-compile" in found.remark
    with zipfile.ZipFile(path) as archive:
        stack = [needs_executable_stack(archive.read(n)) for n in archive.namelist() if ".so" in n]
    assert ("GLIBC_TUNABLES" in found.remark) == any(stack)
    frame = as_frame(unseen)
    results = [
        evaluate_in_blocks(load_deployed(p, device="cpu"), frame, cutoffs=CUTOFFS, sizes=(11,))
        for p in (path, deployed())
    ]
    torch.testing.assert_close(results[0].forces, results[1].forces, rtol=0, atol=1e-10)


@pytest.mark.slow
def test_files_for_pair_allegro_are_named(compiled_by_nequip, capsys):
    from nequip_legato.cli import deploy_main

    path = compiled_by_nequip("pair_allegro")
    assert not info(path).usable
    assert deploy_main(["info", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "pair_allegro file" in shown
    assert f"nequip-deploy build CHECKPOINT {path}" in shown


@pytest.mark.slow
def test_no_compiler(checkpoint, tmp_path):
    command = [PROGRAMS / "nequip-deploy", "build", checkpoint(), tmp_path / "m.nequip.pt2"]
    done = run_process(*command, environment={"CXX": "no-such-compiler"}, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "needs a C++ compiler" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wanted", [True, False])
def test_stack_of_a_library(wanted, tmp_path):
    source, library = tmp_path / "x.c", tmp_path / "x.so"
    source.write_text("int f(void) { return 1; }\n")
    flag = "-Wl,-z,execstack" if wanted else "-Wl,-z,noexecstack"
    run_process("gcc", "-shared", "-fPIC", flag, "-o", library, source)
    assert needs_executable_stack(library.read_bytes()) == wanted


def test_no_library_asks_for_nothing():
    assert not needs_executable_stack(b"PK\x03\x04" + bytes(100))


@pytest.mark.slow
def test_two_models_of_one_architecture_at_once(checkpoint):
    """Inductor names its files by the code, which these two share."""
    climbs = (0.01, 0.02)
    sources = [checkpoint(layers=1, sam={"rho": rho}) for rho in climbs]

    def make(folder: Path) -> None:
        builds = []
        for rho, source in zip(climbs, sources, strict=True):
            command = [PROGRAMS / "nequip-deploy", "build", source]
            command += [folder / f"{rho}.nequip.pt2"]
            builds.append(subprocess.Popen([*map(str, command)]))
        assert [process.wait(timeout=900) for process in builds] == [0, 0]

    parts = [part for source in sources for part in compiled_from(source)]
    folder = kept_folder("two-at-once", [*parts, Path(__file__)], make)
    for rho in climbs:
        told = info(folder / f"{rho}.nequip.pt2").entries["legato_training"]
        assert json.loads(told)["rho"] == rho
