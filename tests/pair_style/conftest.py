"""Structures and references for the pair style's tests."""

from collections.abc import Callable
from pathlib import Path

import pytest
from ase import Atoms
from lammps_run import with_velocities, write_data
from models import ammonia_frames


@pytest.fixture(scope="session")
def ammonia() -> Atoms:
    """64 atoms of NH3, cubic and periodic, with velocities of about 300 K."""
    return with_velocities(ammonia_frames(2)[1])


@pytest.fixture
def data_file(tmp_path: Path, ammonia: Atoms) -> Path:
    """The ammonia box as data.lammps."""
    path = tmp_path / "data.lammps"
    write_data(path, ammonia, ["H", "N"])
    return path


@pytest.fixture(scope="session")
def reference(checkpoint: Callable[..., Path]) -> Callable[..., dict]:
    """Function: (atoms, options of ``train_tiny``) -> results of nequip's own ASE calculator."""
    from nequip.integrations.ase import NequIPCalculator

    calculators = {}

    def get(atoms: Atoms, **options) -> dict:
        path = checkpoint(**options)
        if path not in calculators:
            calculators[path] = NequIPCalculator._from_saved_model(str(path), device="cpu")
        atoms = atoms.copy()
        atoms.calc = calculators[path]
        atoms.get_potential_energy()
        return dict(atoms.calc.results)

    return get
