"""examples/gpu with a LAMMPS that has Kokkos, as far as that goes without a GPU."""

import json
import os
import shutil
import sys
from importlib import metadata
from pathlib import Path

import pytest
from build_lammps import archives, extract
from kept import kept_folder
from processes import PROGRAMS, run_process

from nequip_legato.native.linkage import Library

_ROOT = Path(__file__).parents[2]
GPU = _ROOT / "examples" / "gpu"


def sources_for_cuda() -> list[Path | str]:
    """All that the plugin for CUDA is made from and checked with."""
    folders = [_ROOT / "lammps_plugin", _ROOT / "nequip_legato" / "native"]
    found = (path for folder in folders for path in sorted(folder.rglob("*")))
    sources = [p for p in found if p.is_file() and p.parent.name != "__pycache__"]
    compiler = run_process("nvcc", "--version").stdout
    torch = metadata.version("torch")
    return [*archives()[:2], GPU / "build.sh", _ROOT / "CMakeLists.txt", *sources, compiler, torch]


def compile_for_cuda(folder: Path) -> None:
    """With the Kokkos that comes with LAMMPS, which need not be compiled for that."""
    work = folder / "work"
    work.mkdir()
    kokkos, lammps = (
        extract(archive, work / name)
        for name, archive in zip(("kokkos", "lammps"), archives()[:2], strict=True)
    )
    kokkos.rename(lammps / "lib" / "kokkos")
    done = run_process(
        *(GPU / "build.sh", "--out", work / "out", "--lammps", lammps),
        *("--arch", "HOPPER90", "--jobs", 1, "--plugin-only"),
        environment={"PYTHON": sys.executable, "PATH": f"{PROGRAMS}:{os.environ['PATH']}"},
        merge=True,
        timeout=1800,
    )
    for name in ("legatoplugin.so", "legato_styles.so"):
        shutil.copy2(work / "out" / "plugin-build" / name, folder / name)
    (folder / "said").write_text(done.stdout)
    shutil.rmtree(work)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="there is no nvcc on the PATH")
@pytest.mark.skipif(bool(archives()[2]), reason=archives()[2])
def test_plugin_for_cuda():
    """It takes three minutes, so it is not repeated before something that goes into it changes."""
    folder = kept_folder("plugin-for-cuda", sources_for_cuda(), compile_for_cuda)
    said = (folder / "said").read_text()
    assert b"allegro_legato/kk" in (folder / "legatoplugin.so").read_bytes()
    styles = folder / "legato_styles.so"
    assert b"sm_90" in styles.read_bytes(), "there is no code for the GPU that was asked for"
    assert "legatoplugin.so: every library that is needed is named" in said
    assert "legato_styles.so: every library that is needed is named" in said
    assert any(name.startswith("libcudart.so") for name in Library(styles).needed)


def test_measurements_with_few_styles(tmp_path, kokkos_build, plain_program, deployed):
    """The LAMMPS of the tests, which check.sh --lean builds, has what they need."""
    for what, more in (("agreement", []), ("speed", ["--repeats", "1", "--rounds", "1"])):
        out = tmp_path / f"{what}.json"
        run_process(
            *(sys.executable, GPU / "measure.py", what, "--device", "cpu", *more),
            *("--lmp", kokkos_build / "lmp", "--work", tmp_path, "--out", out),
            *("--plugin", plain_program.environment["LAMMPS_PLUGIN_PATH"]),
            *("--", deployed(dtype="float32")),
        )
        rows = json.loads(out.read_text())["rows"]
        assert rows
        assert not any("error" in row for row in rows)
