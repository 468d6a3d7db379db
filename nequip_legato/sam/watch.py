"""Detecting an unsuitable rho in the first steps."""

import math

__all__ = ["RhoWatch"]

_STEPS = 10
_EXPLODED = 10.0
_NOTHING = 1e-6


class RhoWatch:
    """Checks the first steps that climb and warns, once, if rho is too large or too small.

    Too large: in most of them L(w + e) - L(w) is more than ten times L(w), so the gradient there
    has little to do with the loss. Too small: in all of them it is below a millionth of L(w), about
    the rounding error of float32.
    """

    def __init__(self) -> None:
        self._rises: list[float] = []

    def see(self, rho: float, loss: float, rise: float) -> str | None:
        """Check one step.

        Args:
            rho: length of the climb, > 0.
            loss: L(w).
            rise: L(w + e) - L(w).

        Returns:
            A warning after the last of the checked steps, or None.
        """
        if len(self._rises) == _STEPS:
            return None
        if not (math.isfinite(loss) and math.isfinite(rise)) or loss <= 0:
            return None
        self._rises.append(rise / loss)
        if len(self._rises) < _STEPS:
            return None
        if sum(relative > _EXPLODED for relative in self._rises) > _STEPS / 2:
            typical = sorted(self._rises)[_STEPS // 2]
            return (
                f"SAM: with rho = {rho:g} the climb makes the loss {1 + typical:.0f} times as "
                f"large, so its gradient is not that of nearby weights: try rho = {rho / 10:g}"
            )
        if all(abs(relative) < _NOTHING for relative in self._rises):
            return (
                f"SAM: with rho = {rho:g} the climb does not change the loss, so training is plain "
                f"at a higher cost: try rho = {rho * 10:g}"
            )
        return None
