"""Settings of a measurement of sharpness."""

import math
from dataclasses import dataclass, field

from nequip_legato.errors import ValueLegatoError

__all__ = ["MEASURES", "Settings"]

MEASURES = ("gaussian", "relative", "sam", "eigenvalue", "trace", "line", "plane")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a measurement; the defaults of ``gaussian`` are the original study's.

    Attributes:
        measures: what is measured; all of it by default.
        seed: seed of all random numbers; the same for all models.
        epsilon: standard deviation of Gaussian noise on the weights.
        relative_epsilon: standard deviation of noise relative to each weight's magnitude.
        samples: number of noise samples of each kind.
        rho: radii of SAM's climb.
        ascent_steps: steps of the climb: 1 for SAM's own, more for projected gradient ascent.
        trace_samples: number of Hutchinson's random vectors.
        tolerance: relative accuracy of the eigenvalue.
        differences: always use finite differences of gradients instead of exact Hessian products.
        reach: half-length of lines and planes, in units of the weights' norm.
        points: number of points on a line; a plane has half as many along each side.

    Raises:
        ValueLegatoError: if a value is impossible.
    """

    measures: tuple[str, ...] = MEASURES
    seed: int = 1
    epsilon: float = 0.05
    relative_epsilon: float = 0.02
    samples: int = 100
    rho: tuple[float, ...] = field(default=(0.005, 0.02, 0.05))
    ascent_steps: int = 1
    trace_samples: int = 30
    tolerance: float = 1e-3
    differences: bool = False
    reach: float = 0.2
    points: int = 21

    def __post_init__(self) -> None:
        unknown = [name for name in self.measures if name not in MEASURES]
        if unknown or not self.measures:
            raise ValueLegatoError(
                f"there is no measure {' '.join(unknown) or '(none given)'}; there are: "
                f"{' '.join(MEASURES)}"
            )
        for name in ("epsilon", "relative_epsilon", "tolerance", "reach"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueLegatoError(f"{name} must be positive and finite")
        if not self.rho or not all(0 < rho < math.inf for rho in self.rho):
            raise ValueLegatoError("rho must be positive and finite")
        for name, least in (("samples", 2), ("trace_samples", 2), ("ascent_steps", 1)):
            if getattr(self, name) < least:
                raise ValueLegatoError(f"{name} must be at least {least}")
        if self.points < 5:
            raise ValueLegatoError("points must be at least 5")
