"""References for the pair style's tests."""

from collections.abc import Callable
from pathlib import Path

import pytest
from ase import Atoms


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
