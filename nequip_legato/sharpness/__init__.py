"""How flat the training loss is around a model's weights."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nequip_legato.sharpness.measurement import Settings, measure

__all__ = ["Settings", "measure"]


def __getattr__(name: str) -> Any:
    """Import on first use: torch and nequip are heavy."""
    if name in __all__:
        from nequip_legato.sharpness import measurement as module

        return getattr(module, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
