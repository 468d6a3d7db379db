"""examples/gpu/build.sh really compiles the plugin for CUDA, for which no GPU is needed."""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SOURCES = Path(
    os.environ.get("NEQUIP_LEGATO_THIRD_PARTY", REPOSITORY.parent / "shared" / "third_party")
)
LAMMPS = SOURCES / "lammps-4Jul2026-kokkos.tar.xz"
KOKKOS = SOURCES / "kokkos-5.0.2.tar.gz"


def unpack(archive: Path, folder: Path) -> Path:
    """Top folder of the archive."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
        return folder / Path(tar.getnames()[0]).parts[0]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="there is no nvcc on the PATH")
@pytest.mark.skipif(
    not (LAMMPS.is_file() and KOKKOS.is_file()),
    reason="the sources of LAMMPS with Kokkos are absent (NEQUIP_LEGATO_THIRD_PARTY)",
)
def test_plugin_for_cuda(tmp_path):
    """With the Kokkos that comes with LAMMPS, whose own compilation that does not take."""
    lammps = unpack(LAMMPS, tmp_path)
    unpack(KOKKOS, tmp_path).rename(lammps / "lib" / "kokkos")
    done = subprocess.run(
        [
            str(REPOSITORY / "examples" / "gpu" / "build.sh"),
            *("--out", str(tmp_path / "out"), "--lammps", str(lammps), "--arch", "HOPPER90"),
            *("--jobs", "1", "--plugin-only"),
        ],
        env={
            **os.environ,
            "PYTHON": sys.executable,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    plugin = (tmp_path / "out" / "plugin-build" / "legatoplugin.so").read_bytes()
    assert b"allegro_legato/kk" in plugin
    assert b"sm_90" in plugin, "there is no code for the GPU that was asked for"
