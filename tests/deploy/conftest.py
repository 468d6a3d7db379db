"""Fixtures of the deployment tests."""

from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from models import CUTOFF, TYPE_NAMES, ammonia_frames
from nequip.data import AtomicDataDict, from_ase
from nequip.utils.global_state import set_global_state
from processes import PROGRAMS, run_process

from nequip_legato.cli import deploy_main
from nequip_legato.trained.frames import Frame, frame_from_data


@pytest.fixture(scope="session")
def unseen() -> Atoms:
    """A structure that no model of ``train_tiny`` was trained on."""
    atoms = ammonia_frames()[9].copy()
    atoms.rattle(0.03, seed=1)
    return atoms


@pytest.fixture(scope="session")
def as_frame():
    """Function: atoms -> frame with the tiny models' types and cutoff."""
    set_global_state()  # as every program of nequip does: float64 positions

    def convert(atoms: Atoms) -> Frame:
        data = from_ase(atoms)
        types = [TYPE_NAMES.index(s) for s in atoms.get_chemical_symbols()]
        data[AtomicDataDict.ATOM_TYPE_KEY] = torch.tensor(types)
        return frame_from_data(data, r_max=CUTOFF)

    return convert


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str]):
    """Function: arguments of nequip-deploy -> its one line on stderr, after it has failed."""

    def run(*arguments) -> str:
        capfd.readouterr()
        assert deploy_main([str(a) for a in arguments]) == 1
        lines = capfd.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("nequip-deploy: error: ")
        return lines[0]

    return run


@pytest.fixture(scope="session")
def training_frames(checkpoint) -> list[Atoms]:
    """What the default checkpoint was trained on."""
    return ase.io.read(checkpoint().parent / "train.extxyz", ":")


@pytest.fixture
def elsewhere(checkpoint, tmp_path):
    """Function: where the data are said to be -> copy of the default checkpoint that says so."""

    def get(data_path: str) -> Path:
        content = torch.load(checkpoint(), map_location="cpu", weights_only=False)
        data = content["hyper_parameters"]["info_dict"]["data"]
        data["train_file_path"] = data_path.format("train")
        data["val_file_path"] = data_path.format("val")
        path = tmp_path / "moved" / "model.ckpt"
        path.parent.mkdir()
        torch.save(content, path)
        return path

    return get


@pytest.fixture
def package(tmp_path_factory):
    """Function: checkpoint -> nequip package of that model."""

    def get(checkpoint: Path) -> Path:
        path = tmp_path_factory.mktemp("package") / "model.nequip.zip"
        run_process(PROGRAMS / "nequip-package", "build", checkpoint, path)
        return path

    return get


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)
