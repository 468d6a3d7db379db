"""Schedules of the length of the climb: late phase, warm-up, along the learning rate."""

import math
from dataclasses import dataclass

from nequip_legato.errors import LegatoError

__all__ = ["SCHEDULES", "Schedule"]

SCHEDULES = ("constant", "warmup", "learning_rate")


@dataclass(frozen=True)
class Schedule:
    """Rho as a function of the step.

    Attributes:
        rho: its largest value.
        kind: ``constant``; ``warmup`` for rho times min(1, (s + 1) / (warmup S)), where s counts
            the S steps that climb; ``learning_rate`` for rho times the learning rate over its
            initial value.
        warmup: fraction of the steps that climb, in (0, 1].
        last_fraction: fraction of all steps, at the end, that climb; in (0, 1]. The steps before
            are plain training (Zhou et al., ICLR 2025, arXiv:2410.10373).
    """

    rho: float
    kind: str = "constant"
    warmup: float = 0.1
    last_fraction: float = 1.0

    @property
    def varies(self) -> bool:
        """Whether rho is not the same at every step."""
        return self.kind != "constant" or self.last_fraction < 1

    @property
    def needs_total(self) -> bool:
        """Whether the number of steps of the whole training must be known."""
        return self.rho > 0 and (self.kind == "warmup" or self.last_fraction < 1)

    def check_total(self, total: float) -> None:
        """Refuse training without an end if the schedule needs its length."""
        if self.needs_total and not math.isfinite(total):
            key = "last_fraction" if self.last_fraction < 1 else "schedule: warmup"
            raise LegatoError(
                f"SAM: {key} is a fraction of the whole training, which has no end here: set "
                "trainer.max_epochs or trainer.max_steps"
            )

    def first_step(self, total: float) -> int:
        """The first step that climbs.

        Args:
            total: number of steps of the whole training; infinite only if it is not needed.
        """
        if self.last_fraction == 1:
            return 0
        return round(total * (1 - self.last_fraction))

    def at(self, step: int, *, total: float, learning_rate: float = 1.0) -> float:
        """Rho at a step; 0 for a plain step.

        Args:
            step: number of steps done before.
            total: number of steps of the whole training.
            learning_rate: present learning rate over the initial one.
        """
        if self.rho == 0:
            return 0.0
        first = self.first_step(total)
        if step < first:
            return 0.0
        if self.kind == "warmup":
            return self.rho * min(1.0, (step - first + 1) / max(1.0, self.warmup * (total - first)))
        if self.kind == "learning_rate":
            return self.rho * learning_rate
        return self.rho
