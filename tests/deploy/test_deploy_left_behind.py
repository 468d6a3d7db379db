"""nequip-deploy leaves no scratch files, however it ends."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from processes import PROGRAMS

from nequip_legato.deploy.export import load_deployed

PROGRAM = PROGRAMS / "nequip-deploy"


def scratch(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.name.startswith((".nequip-", "nequip-", "aoti"))]


def start(checkpoint: Path, folder: Path, suffix: str) -> subprocess.Popen:
    (folder / "temporary").mkdir(exist_ok=True)
    return subprocess.Popen(
        [PROGRAM, "build", checkpoint, folder / f"out.nequip.{suffix}"],
        env={**os.environ, "TMPDIR": str(folder / "temporary")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_signals(checkpoint, tmp_path):
    process = start(checkpoint(), tmp_path, "pt2")
    for line in process.stdout:
        if "compiling" in line:
            break
    time.sleep(3)
    assert scratch(tmp_path)
    process.send_signal(signal.SIGTERM)
    assert "interrupted" in process.communicate(timeout=60)[0]
    assert process.returncode == 130
    assert scratch(tmp_path) == []

    process = start(checkpoint(), tmp_path, "pth")
    process.stdout.readline()
    process.kill()
    process.communicate()
    (left,) = scratch(tmp_path)
    os.utime(left, (0, 0))
    process = start(checkpoint(), tmp_path, "pth")
    assert "wrote" in process.communicate(timeout=300)[0]
    assert scratch(tmp_path) == []


@pytest.mark.slow
def test_loading(deployed, tmp_path, monkeypatch):
    """Not even while the model is there."""
    path = deployed(".nequip.pt2")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert callable(load_deployed(path, device="cpu"))
    assert list(tmp_path.rglob("*")) == []
    assert os.environ["TMPDIR"] == str(tmp_path)
