"""examples/gpu with a LAMMPS that has Kokkos, as far as that goes without a GPU."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from build_lammps import archives, extract

from nequip_legato.native.linkage import Library

GPU = Path(__file__).parents[2] / "examples" / "gpu"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="there is no nvcc on the PATH")
@pytest.mark.skipif(bool(archives()[2]), reason=archives()[2])
def test_plugin_for_cuda(tmp_path):
    """With the Kokkos that comes with LAMMPS, which need not be compiled for that."""
    kokkos, lammps = (
        extract(archive, tmp_path / name)
        for name, archive in zip(("kokkos", "lammps"), archives()[:2], strict=True)
    )
    kokkos.rename(lammps / "lib" / "kokkos")
    done = subprocess.run(
        [
            str(GPU / "build.sh"),
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
    folder = tmp_path / "out" / "plugin-build"
    assert b"allegro_legato/kk" in (folder / "legatoplugin.so").read_bytes()
    styles = folder / "legato_styles.so"
    assert b"sm_90" in styles.read_bytes(), "there is no code for the GPU that was asked for"
    assert "legatoplugin.so: every library that is needed is named" in done.stdout
    assert "legato_styles.so: every library that is needed is named" in done.stdout
    assert any(name.startswith("libcudart.so") for name in Library(styles).needed)


def test_measurements_with_few_styles(tmp_path, kokkos_build, plain_program, deployed):
    """The LAMMPS of the tests, which check.sh --lean builds, has what they need."""
    for what, more in (("agreement", []), ("speed", ["--repeats", "1", "--rounds", "1"])):
        out = tmp_path / f"{what}.json"
        done = subprocess.run(
            [
                *(sys.executable, str(GPU / "measure.py"), what, "--device", "cpu", *more),
                *("--lmp", str(kokkos_build / "lmp"), "--work", str(tmp_path)),
                *("--plugin", plain_program.environment["LAMMPS_PLUGIN_PATH"]),
                *("--out", str(out), "--", str(deployed(dtype="float32"))),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        rows = json.loads(out.read_text())["rows"]
        assert rows
        assert not any("error" in row for row in rows)
