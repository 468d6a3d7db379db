"""A campaign that takes seconds: two atoms on springs, LAMMPS' own potential."""

from pathlib import Path

import ase.io
import yaml
from ase import Atoms

__all__ = ["SPRINGS", "write_campaign"]

SPRINGS = """pair_style zero 3.0
pair_coeff * *
fix spring all spring/self 20.0
fix_modify spring energy yes
"""


def write_campaign(folder: Path, *, commands: str = SPRINGS, **changes) -> Path:
    """Its YAML file; ``changes`` are of its settings."""
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
