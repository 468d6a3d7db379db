"""What tests of the loop share: calculators to label with, settings, structures."""

import os
import signal
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import yaml
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from models import ammonia_frames

__all__ = [
    "CountingEMT",
    "Deadly",
    "Failing",
    "Unconverged",
    "liquid",
    "loop_settings",
    "write_loop",
]


class CountingEMT(EMT):
    """ASE's EMT, which notes in a file what it has labeled."""

    def __init__(self, log: str, wait: float = 0.0) -> None:
        super().__init__()
        self._log = log

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        with open(self._log, "a") as stream:
            stream.write(f"{atoms.positions.sum():.10f}\n")


class Failing(Calculator):
    """Raises for structures with an odd number of atoms."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        if len(atoms) % 2:
            raise RuntimeError("no self-consistency\nafter 250 cycles")
        self.results = {"energy": 1.0, "forces": np.zeros((len(atoms), 3))}


class Deadly(Failing):
    """Dies as by a segmentation fault for structures with an odd number of atoms."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        if len(atoms) % 2:
            os.kill(os.getpid(), signal.SIGKILL)
        super().calculate(atoms, properties, system_changes)


class Unconverged(Failing):
    """Gives numbers, and says that they are none."""

    converged = False


def liquid(n_molecules: int = 27, *, spacing: float = 4.0, seed: int = 1) -> Atoms:
    """Molecules of ammonia on a cubic lattice in a periodic box, with what LAMMPS' states have."""
    rng = np.random.default_rng(seed)
    side = round(n_molecules ** (1 / 3))
    atoms = Atoms(cell=[side * spacing] * 3, pbc=True)
    for site in np.ndindex(side, side, side):
        one = molecule("NH3")
        one.euler_rotate(*rng.uniform(0, 180, 3))
        one.translate(spacing * np.array(site))
        atoms += one
    atoms.wrap()
    names = np.array(atoms.get_chemical_symbols())
    atoms.arrays |= {
        "names": names,
        "type": np.where(names == "H", 1, 2),
        "id": np.arange(1, len(atoms) + 1),
        "flagged": np.arange(len(atoms)) == 0,
    }
    return atoms


def loop_settings(checkpoint: Path, **changes: Any) -> dict[str, Any]:
    """A loop of one round with a tiny model, whose simulations last a moment."""
    return {
        "checkpoint": str(checkpoint),
        "campaign": {
            "structure": "start.extxyz",
            "types": ["H", "N"],
            "temperature": 600.0,
            "timestep": 1.0,
            "velocity_seeds": 2,
            "steps": 40,
            "equilibration": {"steps": 0},
            "criteria": {
                "temperature_window": "off",
                "largest_force": "off",
                "closest_ratio": 0.8,
                "bonds": [{"center": "N", "neighbor": "H", "count": 3, "min": 0.7, "max": 1.3}],
            },
        },
        "labels": {"_target_": "ase.calculators.emt.EMT"},
        "checks": {"reference": False, "largest_force": 1000.0},
        "choose": {"number": 4},
        "training": {"epochs": 1},
        "test_frames": "test.extxyz",
        "rounds": 1,
    } | changes


def write_loop(folder: Path, checkpoint: Path, **changes: Any) -> Path:
    """Write ``loop.yaml`` with its start structure and test frames."""
    folder.mkdir(parents=True, exist_ok=True)
    frames = ammonia_frames(10)
    ase.io.write(folder / "test.extxyz", frames[4:6])
    ase.io.write(folder / "start.extxyz", Atoms(frames[9].symbols, frames[9].positions,
                                                cell=frames[9].cell, pbc=True))  # fmt: skip
    path = folder / "loop.yaml"
    path.write_text(yaml.safe_dump(loop_settings(checkpoint, **changes), sort_keys=False))
    return path
