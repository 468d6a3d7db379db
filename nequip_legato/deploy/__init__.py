"""Deploying trained models for ``pair_style allegro_legato``.

Names are imported when they are first used: ``import nequip`` imports this package (for its compile
target), and ``nequip-deploy info`` needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nequip_legato.deploy.builder import Deployed, build
    from nequip_legato.deploy.reader import ModelInfo, info

__all__ = ["Deployed", "ModelInfo", "build", "info"]

_PUBLIC = {
    "Deployed": "nequip_legato.deploy.builder",
    "ModelInfo": "nequip_legato.deploy.reader",
    "build": "nequip_legato.deploy.builder",
    "info": "nequip_legato.deploy.reader",
}


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_PUBLIC))
