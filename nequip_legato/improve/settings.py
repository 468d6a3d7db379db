"""The settings of a loop: the keys of its YAML file, and their allowed values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

from nequip_legato.deployed.reader import SUFFIXES
from nequip_legato.fence.settings import FenceSettings
from nequip_legato.improve.campaigns import PARTS, Campaigns, campaign_settings
from nequip_legato.stability.run.checks import at_least_one
from nequip_legato.stability.run.schema import AUTO, OFF, number_or_word, require

__all__ = [
    "FILES",
    "FILE_NAMES",
    "Checks",
    "Choose",
    "Fencing",
    "ImproveSettings",
    "Loop",
    "Observe",
    "Training",
    "check",
]

FILES = "files"
FILE_NAMES = tuple(f"model{suffix}" for suffix in SUFFIXES)


@dataclass(frozen=True)
class Observe:
    """What is looked at while exploring.

    Attributes:
        every: steps between checks of fence, domain and bonds.
        states_every: steps between states on which a committee is evaluated.
        committee: deployed files of further models of the same types.
        per_run: largest number of candidates from a run.
        lowest_ratio: states in which two atoms are closer than this fraction of the shortest
            distance in training are left out: labels there do not help dynamics.
    """

    every: int = 5
    states_every: int = 100
    committee: tuple[str, ...] = ()
    per_run: int = 20
    lowest_ratio: float = 0.6


@dataclass(frozen=True)
class Choose:
    """Which structures are labeled.

    Attributes:
        number: largest number per round.
        whole: cells of up to this many atoms are labeled whole; of larger ones a ball is cut out.
        radius: of the ball, Angstrom; ``auto`` for 1.5 cutoffs of the model.
        vacuum: around the ball, Angstrom.
    """

    number: int = 20
    whole: int = 200
    radius: float | None = number_or_word(None, {AUTO: None}, old={None: AUTO})
    vacuum: float = 10.0


@dataclass(frozen=True)
class Checks:
    """Which labels are set aside.

    Attributes:
        largest_force: limit, eV/Angstrom; ``auto`` for three times the largest in the training
            data.
        reference: compare the calculator with the label of one test frame first.
        per_atom_energy_tolerance: of that comparison, eV.
        force_tolerance: of that comparison, eV/Angstrom on any component.
    """

    largest_force: float | None = number_or_word(None, {AUTO: None}, old={None: AUTO})
    reference: bool = True
    per_atom_energy_tolerance: float = 0.002
    force_tolerance: float = 0.02


@dataclass(frozen=True)
class Training:
    """How a round is trained, from the weights of the model before.

    Attributes:
        epochs: passes over all frames, old and added.
        learning_rate: first learning rate, as a fraction of the original training's; it falls along
            a cosine to a twentieth of that.
        robust: larger errors of force components count linearly in the loss (Huber), eV/Angstrom;
            ``auto`` for four times the initial model's error on the test frames, ``off`` for the
            original loss. The same multiple of their error holds for per-atom energies.
        copies: how often an added frame is seen in an epoch.
        threads: of ``nequip-train``.
        overrides: changes of the configuration, as a mapping of mappings.
    """

    epochs: int = 2
    learning_rate: float = 0.2
    robust: float | None = number_or_word(None, {AUTO: None, OFF: 0.0}, old={None: AUTO, 0: OFF})
    copies: int = 1
    threads: int = 1
    overrides: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Fencing:
    """The fence of the models.

    Attributes:
        kind: ``wall``, ``gaps``, or ``none``.
        frames: frames whose distances it is chosen from: ``original`` training frames, or ``all``,
            with the added ones.
        temperature: temperature that the fence resists, K.
        stiffness: largest curvature, eV/Angstrom^2, which the time step has to resolve.
    """

    kind: str = "wall"
    frames: str = "original"
    temperature: float = 2000.0
    stiffness: float = 100.0


@dataclass(frozen=True)
class ImproveSettings:
    """A loop.

    Attributes:
        checkpoint: checkpoint of ``nequip-train`` with the model to improve, its training and the
            paths of its data.
        campaign: what exploring and testing have in common; settings of ``nequip-legato
            stability`` without ``models`` and ``output``.
        explore: changes of ``campaign`` for the runs that the model learns from.
        life: changes of ``campaign`` for the runs that measure the time to failure.
        labels: ``files``, or an ASE calculator: ``_target_`` and its keywords.
        jobs: number of labels computed at the same time.
        rounds: largest number of rounds.
        target: failures per 1,000 atom ps; the loop ends when the upper end of the interval is
            below; ``off`` for none.
        observe: what is checked while exploring.
        choose: which structures are labeled.
        checks: which labels are set aside.
        training: how a round is trained.
        fence: the fence of the models.
        test_frames: file of the old test set; default: that of the checkpoint's training.
        file: name of the deployed files, ``model.nequip.pth`` or ``model.nequip.pt2``.
        output: folder of the results, relative to the YAML file; default: its name without suffix.
    """

    checkpoint: str
    campaign: dict[str, Any]
    labels: Any
    explore: dict[str, Any] = field(default_factory=dict)
    life: dict[str, Any] = field(default_factory=dict)
    jobs: int = 1
    rounds: int = 2
    target: float = number_or_word(0.0, {OFF: 0.0}, old={None: OFF, 0: OFF})
    observe: Observe = field(default_factory=Observe)
    choose: Choose = field(default_factory=Choose)
    checks: Checks = field(default_factory=Checks)
    training: Training = field(default_factory=Training)
    fence: Fencing = field(default_factory=Fencing)
    test_frames: str = ""
    file: str = FILE_NAMES[0]
    output: str = ""


@dataclass(frozen=True, kw_only=True)
class Loop(ImproveSettings):
    """A loop whose settings are complete: all paths are absolute.

    Attributes:
        campaigns: what comes of ``campaign``, ``explore`` and ``life``.
    """

    campaigns: Campaigns


def check(s: ImproveSettings) -> None:
    """Refuse impossible values; files are not looked for.

    Raises:
        LegatoError: if there is one.
    """
    _check_labels(s.labels)
    require(s.rounds >= 1 and s.jobs >= 1, "rounds and jobs must be at least 1")
    require(0 <= s.target < inf, "target must be finite and not negative")
    _check_structures(s.observe, s.choose)
    _check_tolerances(s.checks)
    _check_training(s.training)
    _check_fence(s.fence)
    require(s.file in FILE_NAMES, f"file is {' or '.join(FILE_NAMES)}, not '{s.file}'")
    for part in PARTS:
        campaign_settings(s.campaign, getattr(s, part), part)


def _check_labels(labels: Any) -> None:
    if isinstance(labels, Mapping):
        require(
            isinstance(labels.get("_target_"), str),
            "labels: needs _target_, the import path of an ASE calculator, e.g. tblite.ase.TBLite",
        )
    else:
        require(labels == FILES, f"labels: '{labels}' is neither 'files' nor a calculator")


def _check_structures(o: Observe, c: Choose) -> None:
    at_least_one(o, "every", "states_every", "per_run", within="observe: ")
    require(0 <= o.lowest_ratio < 1, "observe: lowest_ratio must be at least 0 and below 1")
    require(c.number >= 1 and c.whole >= 0, "choose: number must be at least 1, whole not negative")
    require(c.radius is None or 0 < c.radius < inf, "choose: radius must be positive")
    require(0 < c.vacuum < inf, "choose: vacuum must be positive")


def _check_tolerances(k: Checks) -> None:
    require(
        k.largest_force is None or k.largest_force > 0, "checks: largest_force must be positive"
    )
    for key in ("per_atom_energy_tolerance", "force_tolerance"):
        require(getattr(k, key) > 0, f"checks: {key} must be positive")


def _check_training(t: Training) -> None:
    at_least_one(t, "epochs", "copies", "threads", within="training: ")
    require(0 < t.learning_rate < inf, "training: learning_rate must be positive")
    require(t.robust is None or 0 <= t.robust < inf, "training: robust must not be negative")


def _check_fence(f: Fencing) -> None:
    require(f.kind in ("wall", "gaps", "none"), "fence: kind is wall, gaps or none")
    require(f.frames in ("original", "all"), "fence: frames is original or all")
    if f.kind != "none":
        FenceSettings(kind=f.kind, temperature=f.temperature, stiffness=f.stiffness)
