"""Sharpness-aware Allegro models: training, deployment and LAMMPS.

Importing this package is cheap: LAMMPS' launcher imports it in every MPI rank to find the
plugin, so torch and nequip are only imported when a name that needs them is used.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from nequip_legato.lazy import lazy_names

if TYPE_CHECKING:
    from nequip_legato.calculator import LegatoCalculator
    from nequip_legato.errors import LegatoError, ValueLegatoError
    from nequip_legato.sam import SAM, LateCheckpoint, LookSAM, MomentumSAM

__all__ = [
    "SAM",
    "LateCheckpoint",
    "LegatoCalculator",
    "LegatoError",
    "LookSAM",
    "MomentumSAM",
    "ValueLegatoError",
    "__version__",
]

try:
    __version__ = version("nequip-legato")
except PackageNotFoundError:  # running from a source tree that is not installed
    __version__ = "0+unknown"

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "SAM": "nequip_legato.sam",
        "LateCheckpoint": "nequip_legato.sam",
        "LookSAM": "nequip_legato.sam",
        "MomentumSAM": "nequip_legato.sam",
        "LegatoCalculator": "nequip_legato.calculator",
        "LegatoError": "nequip_legato.errors",
        "ValueLegatoError": "nequip_legato.errors",
    },
)
