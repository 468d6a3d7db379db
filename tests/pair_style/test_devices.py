"""Keyword ``device`` where torch has no GPU; with one, examples/gpu/check.sh tests the rest."""

import json
import zipfile

import numpy as np
import pytest
import torch
from lammps_run import dumped, lammps_input, run_lammps, succeed

EVERYTHING = ["fx", "fy", "fz", "vx", "vy", "vz", "c_eatom"]
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="torch has a GPU here")


def refuse(folder, script: str, *parts: str, ranks: int = 1) -> None:
    run = run_lammps(folder, script, ranks=ranks)
    assert run.returncode != 0
    errors = [line for line in run.text.splitlines() if line.startswith("ERROR")]
    assert len(errors) == 1, run.text[-2000:]
    for part in parts:
        assert part in errors[0], errors[0]


@pytest.mark.slow
@without_gpu
def test_without_a_gpu_every_choice_is_the_cpu(tmp_path, data_file, deployed):
    runs = {
        style: succeed(tmp_path, lammps_input(deployed(), steps=5, style=style))
        for style in ("", "device cpu", "device auto")
    }
    default = runs.pop("")
    for style, run in runs.items():
        assert "on the CPU" in run.text
        np.testing.assert_array_equal(dumped(run, *EVERYTHING), dumped(default, *EVERYTHING), style)
        np.testing.assert_array_equal(run.thermo["PotEng"], default.thermo["PotEng"])


@without_gpu
@pytest.mark.parametrize("ranks", [1, 2])
def test_no_gpu(ranks, tmp_path, data_file, deployed):
    script = lammps_input(deployed(), style="device cuda")
    refuse(tmp_path, script, "is to run on a GPU", "'device cpu'", ranks=ranks)


@pytest.mark.parametrize("word", ["gpu", "cuda:0", "CPU", "0"])
def test_unknown_device(word, tmp_path, data_file, deployed):
    script = lammps_input(deployed(), style=f"device {word}")
    refuse(tmp_path, script, "must be auto, cpu or cuda", f"but is {word}")


def test_device_without_a_word(tmp_path, data_file, deployed):
    refuse(tmp_path, lammps_input(deployed(), style="device"), "needs auto, cpu or cuda")


@pytest.mark.slow
def test_compiled_for_another_device(tmp_path, data_file, deployed):
    """Machine code of one device, asked to run on the other."""
    source = deployed(".nequip.pt2", dtype="float32")
    script = lammps_input(source, style="device cuda")
    refuse(tmp_path, script, "compiled for the CPU", "--device cuda", "'device cpu'")

    with (
        zipfile.ZipFile(source) as old,
        zipfile.ZipFile(tmp_path / "gpu.nequip.pt2", "w") as new,
    ):
        for item in old.infolist():
            content = old.read(item)
            if item.filename.endswith("_metadata.json"):
                changes = {"AOTI_DEVICE_KEY": "cuda", "legato_device": "cuda"}
                content = json.dumps({**json.loads(content), **changes}).encode()
            new.writestr(item.filename, content)
    script = lammps_input("gpu.nequip.pt2", style="device cpu")
    refuse(tmp_path, script, "compiled for a GPU", "--device cpu", "'device cuda'")
    if not torch.cuda.is_available():  # automatic: what the file is for
        refuse(tmp_path, lammps_input("gpu.nequip.pt2"), "is to run on a GPU")
