"""A fence: a repulsive pair energy at distances that no training frame has.

It is exactly zero on all training frames. It repels below the shortest distance of a pair of types
(a wall), and, if asked for, in the gaps between its shells (a bump).
"""

# Names are imported when they are first used, because most need torch.

from typing import TYPE_CHECKING

from nequip_legato.lazy import lazy_names

if TYPE_CHECKING:
    from nequip_legato.fence.choice import choose_fence
    from nequip_legato.fence.module import FencedEnergy
    from nequip_legato.fence.profile import Fence, Gap, Wall
    from nequip_legato.fence.settings import FenceSettings
    from nequip_legato.fence.survey import Survey

__all__ = ["Fence", "FenceSettings", "FencedEnergy", "Gap", "Survey", "Wall", "choose_fence"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Fence": "nequip_legato.fence.profile",
        "FenceSettings": "nequip_legato.fence.settings",
        "FencedEnergy": "nequip_legato.fence.module",
        "Gap": "nequip_legato.fence.profile",
        "Survey": "nequip_legato.fence.survey",
        "Wall": "nequip_legato.fence.profile",
        "choose_fence": "nequip_legato.fence.choice",
    },
)
