"""Result of a measurement for one model."""

from dataclasses import dataclass
from typing import Any

from nequip_legato.sharpness.loss import TOTAL

__all__ = ["Result"]


@dataclass(frozen=True)
class Result:
    """Sharpness of one model.

    Attributes:
        name: of the model.
        model: its file.
        weights: ``ema`` or ``raw``.
        parameters: number of weights.
        frames: number of frames.
        values: ``loss``, ``eigenvalue``: part of the loss -> value. ``gaussian``, ``relative``,
            ``trace``: part -> {mean, error}, the first two of the rise of the loss. ``sam``: rho ->
            part -> rise. ``line``: name -> {x, part: values}. ``plane``: {x, part: rows}. Only what
            was measured; losses that are not finite are null.
        against_first: difference from the first of the models, with the standard error of paired
            samples: ``gaussian``, ``relative``, ``trace``: part -> {mean, error}. Empty for the
            first.
    """

    name: str
    model: str
    weights: str
    parameters: int
    frames: int
    values: dict[str, Any]
    against_first: dict[str, Any]

    def lines(self) -> list[str]:
        """The numbers in words, one per line."""
        found = [f"loss {self.values['loss'][TOTAL]:.4g}"]
        for name in ("gaussian", "relative"):
            if name in self.values:
                entry = self.values[name][TOTAL]
                found.append(f"rise under {name} noise {_shown(entry)}")
        for rho, rise in self.values.get("sam", {}).items():
            found.append(f"rise of SAM's climb, rho {rho}: {_number(rise[TOTAL])}")
        if "eigenvalue" in self.values:
            found.append(f"largest eigenvalue {_number(self.values['eigenvalue'][TOTAL])}")
        if "trace" in self.values:
            found.append(f"trace of the Hessian {_shown(self.values['trace'][TOTAL])}")
        for name, parts in self.against_first.items():
            found.append(f"{name}, against the first model: {_shown(parts[TOTAL])}")
        return found


def _shown(entry: dict[str, float | None]) -> str:
    return f"{_number(entry['mean'])} +- {_number(entry['error'])}"


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"
