"""Counts of the steps of a training, which checkpoints keep."""

from collections.abc import Mapping
from typing import Any

__all__ = ["StepCounts"]


class StepCounts:
    """Counts of steps, by parts of the training that had the same method and settings.

    A training that was resumed with other settings has several parts. Each is a dictionary:
    ``method`` (None for training without such a callback), ``settings`` (those that differ from the
    defaults, and rho), ``first_step``, ``steps``, ``climbed``, ``skipped``, ``followed`` (LookSAM's
    steps along the component it kept), ``first_climb`` (a step, or None), ``rho`` (smallest and
    largest rho of a climb, or None). Steps are those of the optimizer, from 0. ``climbed`` is None
    if a checkpoint of an earlier version did not count.
    """

    def __init__(self) -> None:
        self.parts: list[dict[str, Any]] = []

    @classmethod
    def of_checkpoint(cls, saved: Mapping[str, Any] | None, *, steps: int) -> "StepCounts":
        """Continue the counts of a checkpoint.

        Args:
            saved: the callback's entry; None without one.
            steps: ``global_step`` of the checkpoint.
        """
        counts = cls()
        if saved is not None and "parts" in saved:
            counts.parts = [dict(part) for part in saved["parts"]]
        elif steps:
            if saved is None:
                part = _part(None, {}, 0)
            else:
                part = _part(saved.get("method", "SAM"), {"rho": saved.get("rho")}, 0)
                part["climbed"] = None
            counts.parts = [part | {"steps": steps}]
        return counts

    def begin(self, method: str, settings: dict[str, Any], *, step: int) -> None:
        """Count steps of this method from now on."""
        last = self.parts[-1] if self.parts else None
        same = last is not None and (last["method"], last["settings"]) == (method, settings)
        if last is None or not same or last["climbed"] is None:
            self.parts.append(_part(method, settings, step))

    def reached(self, step: int) -> None:
        """Record that the training has done ``step`` steps in all."""
        if self.parts:
            self.parts[-1]["steps"] = step - self.parts[-1]["first_step"]

    def climbed(self, step: int, rho: float) -> None:
        """Count a step with its gradient at moved weights; ``step``: number of steps before it."""
        part = self.parts[-1]
        part["climbed"] += 1
        if part["first_climb"] is None:
            part["first_climb"] = step
        low, high = part["rho"] or (rho, rho)
        part["rho"] = [min(low, rho), max(high, rho)]

    def skipped(self) -> None:
        """Count a skipped step."""
        self.parts[-1]["skipped"] += 1

    def followed(self) -> None:
        """Count a step that used the component of an earlier climb."""
        self.parts[-1]["followed"] += 1

    def total(self, name: str) -> int:
        """Sum of ``steps``, ``climbed``, ``skipped`` or ``followed`` over all parts."""
        return sum(part[name] or 0 for part in self.parts)

    @property
    def first_climb(self) -> int | None:
        """Number of steps before the first that climbed; None if it is not known."""
        return next((p["first_climb"] for p in self.parts if p["first_climb"] is not None), None)


def _part(method: str | None, settings: dict[str, Any], step: int) -> dict[str, Any]:
    return {
        "method": method,
        "settings": settings,
        "first_step": step,
        "steps": 0,
        "climbed": 0,
        "skipped": 0,
        "followed": 0,
        "first_climb": None,
        "rho": None,
    }
