"""Bad input to nequip-deploy: one line each, and no file."""

import shutil
import zipfile
from pathlib import Path

import ase.io
import pytest
import torch
from ase import Atoms
from processes import PROGRAMS, run_process

from nequip_legato.cli import deploy_main
from nequip_legato.deployed.reader import info
from nequip_legato.errors import LegatoError
from nequip_legato.native import builder


@pytest.fixture
def out(tmp_path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    yield folder / "m.nequip.pth"
    assert list(folder.iterdir()) == []


def test_missing_model(refused, out, tmp_path):
    assert "does not exist" in refused("build", tmp_path / "no.ckpt", out)


def test_folder_as_model(refused, out, tmp_path):
    assert "is not a file" in refused("build", tmp_path, out)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_truncated_checkpoint(share, refused, out, checkpoint, tmp_path):
    content = checkpoint().read_bytes()
    short = tmp_path / "short.ckpt"
    short.write_bytes(content[: int(share * len(content))])
    assert "damaged or incomplete" in refused("build", short, out)


def test_damaged_weights(refused, out, checkpoint, tmp_path):
    content = bytearray(checkpoint().read_bytes())
    with zipfile.ZipFile(checkpoint()) as archive:
        weights = max(
            archive.infolist(), key=lambda i: i.file_size if "/data/" in i.filename else 0
        )
    content[weights.header_offset + 300] ^= 1
    (tmp_path / "bad.ckpt").write_bytes(content)
    assert "wrong checksum" in refused("build", tmp_path / "bad.ckpt", out)


def test_damaged_checkpoint(refused, out, checkpoint, tmp_path):
    content = bytearray(checkpoint().read_bytes())
    content[200:600] = bytes(400)
    (tmp_path / "bad.ckpt").write_bytes(content)
    assert "damaged" in refused("build", tmp_path / "bad.ckpt", out)


@pytest.mark.parametrize("content", [{"a": 1}, [1, 2], torch.zeros(3)], ids=["dict", "list", "t"])
def test_foreign_checkpoint(content, refused, out, tmp_path):
    torch.save(content, tmp_path / "foreign.ckpt")
    assert "not written by nequip-train" in refused("build", tmp_path / "foreign.ckpt", out)


def test_deployed_file_as_model(refused, out, deployed):
    assert "not a nequip checkpoint" in refused("build", deployed(), out)


def test_foreign_package(refused, out, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.nequip.zip", "w") as archive:
        archive.writestr("readme", "hello")
    assert "not a nequip package" in refused("build", tmp_path / "x.nequip.zip", out)
    (tmp_path / "y.nequip.zip").write_text("hello")
    assert "not a nequip package" in refused("build", tmp_path / "y.nequip.zip", out)


@pytest.mark.slow
def test_message_passing_model(refused, out, checkpoint):
    line = refused("build", checkpoint(kind="nequip"), out)
    assert "message-passing" in line
    assert "AllegroModel" in line


@pytest.mark.parametrize("name", ["m.pth", "m.nequip.zip", "m", ".nequip.pth"])
def test_wrong_suffix(name, refused, checkpoint, tmp_path):
    assert ".nequip.pth (TorchScript)" in refused("build", checkpoint(), tmp_path / name)


def test_unknown_device(refused, out, checkpoint):
    assert "choose one of: cpu cuda" in refused("build", checkpoint(), out, "--device", "tpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_without_cuda(refused, out, checkpoint):
    assert "no CUDA device" in refused("build", checkpoint(), out, "--device", "cuda")


def test_no_output_folder(refused, checkpoint, tmp_path):
    line = refused("build", checkpoint(), tmp_path / "no" / "m.nequip.pth")
    assert "cannot write to the folder" in line


def test_output_folder_is_a_file(refused, checkpoint, tmp_path):
    (tmp_path / "file").touch()
    line = refused("build", checkpoint(), tmp_path / "file" / "m.nequip.pth")
    assert "cannot write to the folder" in line


def test_unwritable_output_folder(refused, checkpoint):
    # /proc takes no files from anyone, root included
    assert "cannot write to the folder" in refused("build", checkpoint(), "/proc/m.nequip.pth")


def test_output_is_a_folder(refused, checkpoint, tmp_path):
    (tmp_path / "m.nequip.pth").mkdir()
    assert "is a folder" in refused("build", checkpoint(), tmp_path / "m.nequip.pth")


def test_unknown_kernels(refused, out, checkpoint):
    assert "choose one of: auto off" in refused("build", checkpoint(), out, "--kernels", "all")


def test_unknown_modifier(refused, out, checkpoint):
    line = refused("build", checkpoint(), out, "--modifiers", "enable_Magic")
    assert "enable_Magic" in line
    assert "enable_ForceStressOutput" in line


def test_unknown_model_key(refused, out, checkpoint):
    assert "sole_model" in refused("build", checkpoint(), out, "--model-key", "other")


def test_no_frames_to_check(refused, out, checkpoint):
    assert "1 or more" in refused("build", checkpoint(), out, "--check-frames", 0)


def test_lost_training_data(refused, out, elsewhere):
    line = refused("build", elsewhere("/nowhere/{}.extxyz"), out)
    assert "--frames" in line
    assert "train.extxyz" in line


def test_bad_frames(refused, out, checkpoint, tmp_path):
    def line(file: Path) -> str:
        return refused("build", checkpoint(), out, "--frames", file)

    assert "does not exist" in line(tmp_path / "no.extxyz")
    (tmp_path / "text.extxyz").write_text("no frames\n")
    assert "cannot read frames" in line(tmp_path / "text.extxyz")
    ase.io.write(tmp_path / "gold.extxyz", Atoms("Au2", [[0, 0, 0], [0, 0, 2.5]]))
    assert "hold Au" in line(tmp_path / "gold.extxyz")
    ase.io.write(tmp_path / "lone.extxyz", Atoms("H"))
    assert "two atoms within the cutoff" in line(tmp_path / "lone.extxyz")


@pytest.mark.slow
def test_full_disk(checkpoint, out):
    """A limit on the size of files stands for a full disk; both stop the write half-way."""
    builder.ensure(builder.binding())  # not with that limit
    command = f"{PROGRAMS / 'nequip-deploy'} build {checkpoint()} {out}"
    done = run_process("bash", "-c", f"ulimit -f 32; exec {command}", check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "nothing was left behind" in done.stderr


def test_info_of_missing_file(refused, tmp_path):
    assert "does not exist" in refused("info", tmp_path / "m.nequip.pth")


@pytest.mark.parametrize("suffix", [".nequip.pth", ".nequip.pt2"])
def test_info_of_foreign_file(suffix, refused, tmp_path, checkpoint):
    path = tmp_path / f"m{suffix}"
    path.write_text("hello")
    assert "is not a deployed model" in refused("info", path)
    shutil.copy(checkpoint(), path)
    assert "is not a deployed" in refused("info", path)


def test_info_of_truncated_file(refused, tmp_path, deployed):
    content = deployed().read_bytes()
    (tmp_path / "m.nequip.pth").write_bytes(content[: len(content) // 2])
    assert "damaged or incomplete" in refused("info", tmp_path / "m.nequip.pth")


def test_damaged_metadata(tmp_path, deployed):
    path = tmp_path / "m.nequip.pth"
    with zipfile.ZipFile(deployed()) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("/extra/legato_shortest_distance"):
                content = b"1.0 2.0"
            new.writestr(name, content)
    with pytest.raises(LegatoError, match="2 numbers for 2 x 2 types"):
        info(path)


def test_no_arguments_shows_usage(capsys):
    with pytest.raises(SystemExit) as stop:
        deploy_main([])
    assert stop.value.code == 2
    assert "usage: nequip-deploy" in capsys.readouterr().err


@pytest.mark.slow
def test_command_is_quiet_about_deprecations(checkpoint, tmp_path):
    command = [PROGRAMS / "nequip-deploy", "build", checkpoint(), tmp_path / "m.nequip.pth"]
    done = run_process(*command, environment={"PYTHONWARNINGS": ""})
    assert done.stderr == ""
    last = done.stdout.splitlines()[-1]
    assert last.startswith(f"nequip-deploy: wrote {tmp_path / 'm.nequip.pth'} (")
