"""The rounds of a loop and their files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ase import Atoms

from nequip_legato.deploy import info
from nequip_legato.errors import LegatoError
from nequip_legato.improve.labels import GOOD, LabelStore, labeled
from nequip_legato.improve.resolve import campaign_of
from nequip_legato.improve.settings import Loop
from nequip_legato.improve.structures import id_of, read_structures
from nequip_legato.stability.run.settings import Bonds, Settings
from nequip_legato.stability.run.status import Status

__all__ = ["Round", "Show", "bonds_of", "label_store", "largest_force", "new_frames"]

_FORCE_FACTOR = 3.0


@dataclass(frozen=True)
class Show:
    """Where messages go.

    Attributes:
        report: called with messages of one line.
        watch: called with the status of a campaign.
    """

    report: Callable[[str], None] = lambda line: None
    watch: Callable[[Status], None] = lambda status: None


@dataclass(frozen=True)
class Round:
    """The files of one round: its model, and how that was made.

    Attributes:
        number: 0 for the initial model.
        settings: the loop's.
    """

    number: int
    settings: Loop

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return Path(self.settings.output) / f"round-{self.number}"

    @property
    def checkpoint(self) -> Path:
        """Checkpoint of its model; in round 0 the user's."""
        if self.number == 0:
            return Path(self.settings.checkpoint)
        return self.folder / "model.ckpt"

    @property
    def model(self) -> Path:
        """Its deployed model."""
        return self.folder / self.settings.file

    @property
    def chosen(self) -> Path:
        """Structures chosen to be labeled, extxyz."""
        return self.folder / "chosen.extxyz"

    @property
    def added(self) -> Path:
        """All frames that have been added up to this round, extxyz."""
        return self.folder / "added.extxyz"

    @property
    def errors(self) -> Path:
        """Errors of its model, JSON."""
        return self.folder / "errors.json"

    @property
    def gathered(self) -> Path:
        """Numbers of candidates that exploring has found, JSON."""
        return self.folder / "gathered.json"

    @property
    def trained(self) -> Path:
        """Steps and time of the training, JSON."""
        return self.folder / "trained.json"

    @property
    def before(self) -> "Round":
        """The round before."""
        return Round(self.number - 1, self.settings)

    def campaign(self, part: str) -> Settings:
        """The campaign ``explore`` (with the model before) or ``life`` (with the round's own)."""
        owner = self.before if part == "explore" else self
        return campaign_of(
            self.settings,
            part,
            model=str(owner.model),
            start=str(Round(0, self.settings).model),
            number=self.number,
            output=str(self.folder / part),
        )

    def campaign_unmade(self, part: str) -> Settings:
        """The same before its model exists: the initial checkpoint is named instead."""
        stand_in = self.settings.checkpoint
        return campaign_of(self.settings, part, model=stand_in, start=stand_in, number=self.number)


def label_store(settings: Loop) -> LabelStore:
    """All labels of a loop."""
    return LabelStore(Path(settings.output) / "labels.jsonl")


def largest_force(settings: Loop) -> float:
    """Limit of the forces of labels, eV/Angstrom.

    Raises:
        LegatoError: if the training data have no forces to take the limit from.
    """
    if settings.checks.largest_force is not None:
        return settings.checks.largest_force
    largest = info(Round(0, settings).model).largest_force
    if not largest > 0:
        raise LegatoError(
            "the training data have no forces, so there is no limit for those of labels; set "
            "checks: {largest_force: ...} (eV/Angstrom)"
        )
    return _FORCE_FACTOR * largest


def bonds_of(round_: Round) -> list[Bonds]:
    """Bonds that should stay, from the criteria of the campaign ``life``."""
    return list(round_.campaign_unmade("life").criteria.bonds)


def new_frames(round_: Round) -> list[Atoms]:
    """The labeled frames that a round adds: those whose labels are good."""
    store = label_store(round_.settings)
    chosen = read_structures(round_.chosen, "chosen")
    known = [(atoms, store[id_of(atoms)]) for atoms in chosen if id_of(atoms) in store]
    return [labeled(atoms, label) for atoms, label in known if label.status == GOOD]
