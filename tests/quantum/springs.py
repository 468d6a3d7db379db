"""Campaigns that take seconds: atoms on springs, LAMMPS' own potential."""

from pathlib import Path

import ase.io
import numpy as np
import yaml
from ase import Atoms
from processes import PROGRAMS, run_process

from nequip_legato.quantum.units import MASS

__all__ = ["SPRING", "SPRINGS", "frequency", "run_campaign", "write_campaign", "write_solid"]

SPRING = 20.0  # eV/A^2
SPRINGS = f"""pair_style zero 3.0
pair_coeff * *
fix spring all spring/self {SPRING}
fix_modify spring energy yes
"""


def write_campaign(folder: Path, *, commands: str = SPRINGS, **changes) -> Path:
    """Two atoms; the YAML file. ``changes`` are of its settings."""
    ase.io.write(folder / "two.xyz", Atoms("HN", [[0, 0, 0], [4, 0, 0]], cell=[9] * 3, pbc=True))
    content = {
        "models": [{"name": "springs", "commands": commands}],
        "systems": [{"name": "two", "structure": "two.xyz"}],
        "types": ["H", "N"],
        "methods": ["classical"],
        "steps": 40,
        "equilibration_steps": 10,
        "fix_center_of_mass": False,
        "sample_every": 5,
        "restart_every": "off",
    }
    path = folder / "campaign.yaml"
    path.write_text(yaml.safe_dump(content | changes))
    return path


def write_solid(folder: Path, side: int, **changes) -> Path:
    """As `write_campaign`, of side^3 atoms H, H, N on their sites, which do not see one another."""
    path = write_campaign(folder, **changes)
    # away from the border of the box, beyond which i-PI and LAMMPS count images differently
    sites = 0.5 + np.array(
        [(x, y, z) for x in range(side) for y in range(side) for z in range(side)]
    )
    symbols = (["H", "H", "N"] * len(sites))[: len(sites)]
    solid = Atoms(symbols, 4.0 * sites, cell=[4.0 * side] * 3, pbc=True)
    ase.io.write(folder / "two.xyz", solid, format="extxyz")
    return path


def run_campaign(path: Path) -> None:
    """The command, to its end."""
    run_process(PROGRAMS / "nequip-legato", "quantum", "run", path, timeout=1500)


def frequency(mass: float, spring: float = SPRING) -> float:
    """Of an atom on its spring, in 1/ps; its mass in u."""
    return float(np.sqrt(spring / (mass * MASS)))
