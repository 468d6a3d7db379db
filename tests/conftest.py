"""Fixtures that several test folders share."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from models import train_tiny

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all worker processes of this session."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def checkpoint(shared_folder: Path) -> Callable[..., Path]:
    """Function: options of ``train_tiny`` -> checkpoint, trained once."""

    def get(**options) -> Path:
        label = "-".join(f"{k}={v}" for k, v in sorted(options.items())) or "default"
        safe = "".join(c if c.isalnum() or c in "=-." else "_" for c in label)
        folder = shared_folder / "checkpoints" / safe
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            trained = folder / "model.ckpt"
            return trained if trained.is_file() else train_tiny(folder, **options)

    return get


@pytest.fixture(scope="session")
def deployed(checkpoint: Callable[..., Path]) -> Callable[..., Path]:
    """Function: (suffix, options of ``train_tiny``) -> deployed file, made once."""
    from nequip_legato.deploy import build

    def get(suffix: str = ".nequip.pth", **options) -> Path:
        source = checkpoint(**options)
        path = source.with_name(f"model{suffix}")
        with FileLock(source.with_name(f"model{suffix}.lock")):
            if not path.is_file():
                threads = torch.get_num_threads()
                torch.set_num_threads(2)  # as on a user's machine; the file must not depend on it
                build(source, path)
                torch.set_num_threads(threads)
        return path

    return get
