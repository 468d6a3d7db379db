"""What the plans of all kinds of campaigns have in common."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from nequip_legato.errors import LegatoError
from nequip_legato.stability.records import RECORD_NAME

__all__ = ["CampaignPlan", "CampaignRun"]

P = TypeVar("P", bound="CampaignPlan")


@dataclass(frozen=True, kw_only=True)
class CampaignRun(ABC):
    """One run of a campaign.

    Attributes:
        model: the model.
        velocity_seed: seed of the initial velocities.
        largest_force: threshold in eV/Angstrom; 0 for none.
        folder: where it runs.
        fingerprint: fingerprint of everything that determines its result.
    """

    model: Any
    velocity_seed: int
    largest_force: float
    folder: Path
    fingerprint: str

    @property
    def name(self) -> str:
        """Name of the run: its folder within ``runs/``."""
        return "/".join(self.folder.parts[-3:])

    @property
    def result(self) -> Path:
        """Exists when the run has failed or reached its end."""
        return self.folder / RECORD_NAME

    @property
    @abstractmethod
    def size(self) -> int:
        """What the cost of a step is proportional to."""


@dataclass(frozen=True, kw_only=True)
class CampaignPlan(ABC):
    """All runs of a campaign.

    Attributes:
        settings: the campaign's.
        runs: its runs.
    """

    settings: Any
    runs: Sequence[Any]

    @property
    def folder(self) -> Path:
        """Where the results are."""
        return Path(self.settings.output)

    @property
    @abstractmethod
    def cores(self) -> int:
        """Number of cores of the largest run."""

    def part(self: P, number: int, parts: int) -> P:
        """Every ``parts``-th run, beginning with the ``number``-th (from 1)."""
        if not 1 <= number <= parts:
            raise LegatoError(f"part {number} of {parts} does not exist; count from 1")
        return replace(self, runs=self.runs[number - 1 :: parts])
