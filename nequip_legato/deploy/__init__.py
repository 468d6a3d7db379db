"""Deploying trained models for ``pair_style allegro_legato``."""

# Names are imported when they are first used: ``import nequip`` imports this package (for its
# compile target), and ``nequip-deploy info`` needs no torch.

from typing import TYPE_CHECKING

from nequip_legato.lazy import lazy_names

if TYPE_CHECKING:
    from nequip_legato.deploy.builder import Deployed, build
    from nequip_legato.deployed.reader import ModelInfo, info

__all__ = ["Deployed", "ModelInfo", "build", "info"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Deployed": "nequip_legato.deploy.builder",
        "ModelInfo": "nequip_legato.deployed.reader",
        "build": "nequip_legato.deploy.builder",
        "info": "nequip_legato.deployed.reader",
    },
)
