"""Data and runs that several tests of SAM share."""

from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from sam_harness import Run, nequip_train, settings


def _frames(count: int) -> list[Atoms]:
    """Rattled crystals of 8 atoms with EMT's energies and forces."""
    rng = np.random.default_rng(11)
    frames = []
    for _ in range(count):
        frame = bulk("Cu", cubic=True, a=3.8).repeat((2, 1, 1))
        frame.set_chemical_symbols(["Al", "Cu"] * 4)
        frame.rattle(0.1, rng=rng)
        frame.calc = EMT()
        labels = {"energy": frame.get_potential_energy(), "forces": frame.get_forces()}
        frame.calc = SinglePointCalculator(frame, **labels)
        frames.append(frame)
    return frames


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with ``train.extxyz`` (8 frames) and ``val.extxyz`` (2 frames)."""
    folder = tmp_path_factory.mktemp("sam_data")
    frames = _frames(10)
    ase.io.write(folder / "train.extxyz", frames[:8])
    ase.io.write(folder / "val.extxyz", frames[8:])
    return folder


@pytest.fixture
def train(data: Path, tmp_path: Path) -> Callable[..., Run]:
    """Function: (name, overrides, ranks, options of ``settings``) -> run, which succeeded."""

    def run(name: str, *overrides: str, ranks: int = 1, **options) -> Run:
        done = nequip_train(tmp_path / name, settings(data, **options), *overrides, ranks=ranks)
        assert done.returncode == 0, done.output[-4000:]
        return done

    return run


@pytest.fixture
def refusal(data: Path, tmp_path: Path) -> Callable[..., str]:
    """Function: options of ``settings`` -> output of nequip-train, which failed."""

    def run(config: dict | None = None, **options) -> str:
        done = nequip_train(tmp_path, config or settings(data, **options))
        assert done.returncode == 1, done.output[-4000:]
        return done.output

    return run
