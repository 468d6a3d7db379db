"""Settings of a fence."""

import math
from dataclasses import dataclass

from nequip_legato.errors import ValueLegatoError

__all__ = ["KINDS", "FenceSettings", "as_settings"]

KINDS = ("wall", "gaps")


@dataclass(frozen=True, kw_only=True)
class FenceSettings:
    """How a fence is chosen from the training frames.

    Attributes:
        kind: ``wall`` for walls below the shortest distances; ``gaps`` for bumps in gaps, too,
            which forbid reactions.
        margin: walls begin at (1 - margin) times the shortest distance in training.
        temperature: temperature that the fence resists, K.
        barrier: thermal part of the fence's energy, in units of kB times the temperature.
        penetration: the wall reaches its energy at (1 - penetration) times the distance at which it
            begins, or deeper where it would be too stiff.
        gap_margin: bumps keep this fraction of the distance away from both ends of the gap; less
            than for walls, because bumps rise slowly.
        gap_width: smallest width of a bump, Angstrom; narrower gaps are left alone.
        gap_pairs: number of pairs that must have been seen on either side of a gap. A note lists
            walls that rest on fewer.
        stiffness: largest curvature of a bump, and of a wall where it has its energy, in
            eV/Angstrom^2, which the time step has to resolve: bumps in narrow gaps are lower, walls
            at short distances are entered deeper. Stretching an N-H bond has about 45, N2 about
            140.

    Raises:
        ValueLegatoError: if a value is impossible.
    """

    kind: str = "wall"
    margin: float = 0.05
    temperature: float = 2000.0
    barrier: float = 5.0
    penetration: float = 0.15
    gap_margin: float = 0.02
    gap_width: float = 0.15
    gap_pairs: int = 100
    stiffness: float = 100.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueLegatoError(f"unknown fence '{self.kind}'; choose one of: {' '.join(KINDS)}")
        self._check("margin", 0.0 < self.margin < 0.5, "between 0 and 0.5")
        self._check("temperature", self.temperature > 0.0, "positive (K)")
        self._check("barrier", self.barrier > 0.0, "positive")
        self._check("penetration", 0.0 < self.penetration < 1.0, "between 0 and 1")
        self._check("gap_margin", 0.0 < self.gap_margin < 0.5, "between 0 and 0.5")
        self._check("stiffness", self.stiffness > 0.0, "positive (eV/Angstrom^2)")
        self._check("gap_width", self.gap_width > 0.0, "positive (Angstrom)")
        self._check("gap_pairs", self.gap_pairs >= 1, "1 or more")

    def _check(self, name: str, holds: bool, wanted: str) -> None:
        value = getattr(self, name)
        if not holds or not math.isfinite(value):
            raise ValueLegatoError(f"the fence's {name} must be {wanted}, but is {value}")


def as_settings(fence: FenceSettings | str | None) -> FenceSettings | None:
    """A kind of fence as settings; settings and None are returned unchanged."""
    return FenceSettings(kind=fence) if isinstance(fence, str) else fence
