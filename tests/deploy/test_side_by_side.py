"""Deployments at the same time on one machine."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest
import torch

from nequip_legato.deploy import finished
from nequip_legato.errors import LegatoError
from nequip_legato.files import scratch_folder


def test_a_second_deployment_leaves_the_check_of_the_first_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    still_there = []

    def slow_check(command, *, cwd, **options):
        os.utime(cwd, (0, 0))  # as on a busy machine, where it takes longer than some seconds
        with scratch_folder("nequip-deploy-", tmp_path):  # of the second, which cleans up first
            still_there.append(Path(cwd).is_dir())
        raise subprocess.TimeoutExpired(command, 1.0)

    monkeypatch.setattr(subprocess, "run", slow_check)
    file = finished.FinishedFile(
        tmp_path / "x.nequip.pth", "cpu", "float64", torch.ones(1, 1), "do something else", False
    )
    with pytest.raises(LegatoError, match="no result within"):
        finished._run(file, {}, [], 1.0)
    assert still_there == [True]
    assert list(tmp_path.iterdir()) == []
