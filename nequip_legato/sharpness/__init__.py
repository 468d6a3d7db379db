"""How flat the training loss is around a model's weights."""

# Names are imported when they are first used: torch and nequip are heavy.

from typing import TYPE_CHECKING

from nequip_legato.lazy import lazy_names

if TYPE_CHECKING:
    from nequip_legato.sharpness.measurement import measure
    from nequip_legato.sharpness.settings import Settings

__all__ = ["Settings", "measure"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Settings": "nequip_legato.sharpness.settings",
        "measure": "nequip_legato.sharpness.measurement",
    },
)
