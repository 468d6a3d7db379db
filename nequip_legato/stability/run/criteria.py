"""Failure criteria as LAMMPS commands, and how LAMMPS' output tells that one has fired.

Only stock commands are used (``fix halt``, ``compute reduce``, ``compute coord/atom``, ``compute
pair``), so that LAMMPS does not have to be rebuilt.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from nequip_legato.stability.run.settings import Bonds, Criteria, Settings

__all__ = [
    "Firing",
    "bond_counts",
    "commands",
    "failure_of_error",
    "first_firing",
    "resolved_largest_force",
]

BONDS = "bonds"
CLOSEST_RATIO = "closest_ratio"
LARGEST_FORCE = "largest_force"
LOST_ATOMS = "lost_atoms"
NOT_FINITE = "not_finite"
TEMPERATURE_HIGH = "temperature_high"
TEMPERATURE_LOW = "temperature_low"

_FORCE_FACTOR = 5.0
_PREFIX = "stop_"
_HALT = re.compile(
    rf"^(?:ERROR: )?Fix halt condition for fix-id {_PREFIX}(\w+) "
    r"met on step (\d+) with value (\S+)",
    re.MULTILINE,
)
_PAIRS = {
    True: ["compute pairs all pair allegro_legato", "variable ratio equal c_pairs[1]"],
    False: ["variable ratio equal 0.0"],
}
# Errors of LAMMPS that mean a failure of the model, not a mistake in the input.
_FAILURE_ERRORS = (
    (re.compile(r"^ERROR.*Lost atoms", re.MULTILINE), LOST_ATOMS),
    (re.compile(r"^ERROR.*(Non-numeric|not a number|NaN)", re.MULTILINE), NOT_FINITE),
    (re.compile(r"^ERROR.*Neighbor list overflow", re.MULTILINE), CLOSEST_RATIO),
    (re.compile(r"^ERROR.*Out of range atoms", re.MULTILINE), LOST_ATOMS),
)


@dataclass(frozen=True)
class Firing:
    """A criterion that fired.

    Attributes:
        criterion: its name.
        step: when it fired; None if LAMMPS stopped with an error without the step.
        value: what it measured; None if that was not finite.
        threshold: what it was compared with.
    """

    criterion: str
    step: int | None
    value: float | None
    threshold: float | None


def resolved_largest_force(criteria: Criteria, training_largest: float | None) -> float:
    """Threshold of the largest force in eV/Angstrom; 0 for none.

    Args:
        criteria: the settings.
        training_largest: largest force in the model's training data, eV/Angstrom, if known.
    """
    if criteria.largest_force is not None:
        return criteria.largest_force
    return _FORCE_FACTOR * training_largest if training_largest else 0.0


def thresholds(settings: Settings, *, largest_force: float) -> dict[str, float]:
    """Name of each criterion with a threshold -> that threshold."""
    c = settings.criteria
    found: dict[str, float] = {}
    if c.temperature_window:
        found[TEMPERATURE_HIGH] = settings.temperature + c.temperature_window
        if settings.temperature > c.temperature_window:
            found[TEMPERATURE_LOW] = settings.temperature - c.temperature_window
    if largest_force:
        found[LARGEST_FORCE] = largest_force
    if c.closest_ratio:
        found[CLOSEST_RATIO] = c.closest_ratio
    return found


def commands(
    settings: Settings,
    *,
    largest_force: float,
    temperature: bool = True,
    beads: int = 1,
    hard: bool = False,
    force: str = "fx fy fz",
    pair: bool = True,
) -> str:
    """LAMMPS commands that define what is measured, and stop the run when a criterion fires.

    The variables ``temp``, ``pe``, ``force``, ``ratio`` are for the trace too. Where several
    criteria are met on one step, the first in this order counts: lost atoms, values that are not
    finite, temperature, force, pairs, bonds.

    Args:
        settings: the campaign's.
        largest_force: threshold in eV/Angstrom; 0 for none.
        temperature: whether to check the temperature (not during the equilibration).
        beads: number of beads of the ring polymer, one partition each. Its temperature is that many
            times the physical one, which the variable ``temp`` takes into account.
        hard: whether a criterion ends LAMMPS like an error. Needed with several partitions, which
            would wait for the one that has stopped.
        force: names of the components of the model's force on an atom.
        pair: whether the potential is a deployed model, which reports the closest pair.
    """
    c = settings.criteria
    components = "+".join(f"{component}^2" for component in force.split())
    limits = thresholds(settings, largest_force=largest_force)
    lines = [
        f"variable temp equal temp/{beads}" if beads > 1 else "variable temp equal temp",
        "variable pe equal pe",
        f"variable force_norm atom sqrt({components})",
        "compute largest all reduce max v_force_norm",
        "variable force equal c_largest",
        # The maximum ignores NaN, the sum keeps it.
        "compute total all reduce sum v_force_norm",
        # A comparison with NaN is false, so this is 0 for NaN and infinities alike. Computes, since
        # a variable that refers to a variable that is NaN is an error.
        "variable finite equal (abs(c_thermo_pe)<1.0e300)&&(c_thermo_temp<1.0e300)&&"
        "(c_total<1.0e300)",
        "variable lost equal $(count(all))-count(all)",
        *_PAIRS[pair],
        _halt(LOST_ATOMS, c.every, "v_lost > 0", hard=hard),
        _halt(NOT_FINITE, c.every, "v_finite < 0.5", hard=hard),
    ]
    if temperature and TEMPERATURE_HIGH in limits:
        condition = f"v_temp > {limits[TEMPERATURE_HIGH]!r}"
        lines.append(_halt(TEMPERATURE_HIGH, c.every, condition, hard=hard))
    if temperature and TEMPERATURE_LOW in limits:
        condition = f"v_temp < {limits[TEMPERATURE_LOW]!r}"
        lines.append(_halt(TEMPERATURE_LOW, c.every, condition, hard=hard))
    if LARGEST_FORCE in limits:
        condition = f"v_force > {limits[LARGEST_FORCE]!r}"
        lines.append(_halt(LARGEST_FORCE, c.every, condition, hard=hard))
    if pair and CLOSEST_RATIO in limits:
        condition = f"v_ratio < {limits[CLOSEST_RATIO]!r}"
        lines.append(_halt(CLOSEST_RATIO, c.contacts_every, condition, hard=hard))
    for number, bond in enumerate(c.bonds, 1):
        lines += _bond_commands(number, bond, settings, hard=hard)
    return "\n".join(lines)


def _halt(name: str, every: int, condition: str, *, hard: bool) -> str:
    kind = "hard" if hard else "soft"
    return f"fix {_PREFIX}{name} all halt {every} {condition} error {kind} message yes"


def _bond_commands(number: int, bond: Bonds, settings: Settings, *, hard: bool) -> list[str]:
    tag = f"bond{number}"
    halt = _halt(f"{BONDS}{number}", settings.criteria.contacts_every, f"v_{tag} > 0", hard=hard)
    return [*bond_counts(bond, settings.types, tag), halt]


def bond_counts(bond: Bonds, type_names: Sequence[str], tag: str) -> list[str]:
    """LAMMPS commands for a variable that counts atoms with a wrong number of neighbors.

    Args:
        bond: the bonds that must stay.
        type_names: type name of each LAMMPS type.
        tag: name of the variable.
    """

    def types(name: str) -> str:
        return " ".join(str(n) for n, t in enumerate(type_names, 1) if t == name)

    lines = [
        f"group {tag} type {types(bond.center)}",
        f"group {tag}_to type {types(bond.neighbor)}",
        f"compute {tag}_near {tag} coord/atom cutoff {bond.max!r} group {tag}_to",
    ]
    wrong = f"c_{tag}_near{'<' if bond.at_least else '!='}{bond.count}"
    if bond.min > 0:
        lines.append(f"compute {tag}_close {tag} coord/atom cutoff {bond.min!r} group {tag}_to")
        wrong = f"({wrong})||(c_{tag}_close>0)"
    return [
        *lines,
        f"variable {tag}_wrong atom {wrong}",
        f"compute {tag} {tag} reduce sum v_{tag}_wrong",
        f"variable {tag} equal c_{tag}",
    ]


def first_firing(log: str, limits: dict[str, float]) -> Firing | None:
    """The criterion that has fired according to LAMMPS' log; None if none has."""
    match = _HALT.search(log)
    if match is None:
        return None
    name, step, value = match.groups()
    number = float(value)
    finite = abs(number) < float("inf")
    kind = BONDS if name.startswith(BONDS) else name
    measured = number if finite and kind != NOT_FINITE else None
    return Firing(kind, int(step), measured, limits.get(kind))


def failure_of_error(text: str) -> Firing | None:
    """The failure that an ERROR of LAMMPS stands for; None if it is not a failure of the model."""
    halted = first_firing(text, {})
    if halted is not None:
        return halted
    for pattern, criterion in _FAILURE_ERRORS:
        if pattern.search(text):
            return Firing(criterion, None, None, None)
    return None
