"""Options of ``nequip-deploy build`` for the fence."""

import argparse
from dataclasses import fields

from nequip_legato.errors import LegatoError
from nequip_legato.fence.settings import KINDS, FenceSettings

__all__ = ["add_fence_options", "fence_settings"]

_OPTIONS = {
    "temperature": (float, "K", "temperature that the fence resists"),
    "margin": (float, "X", "walls begin at 1 - X times the shortest distance"),
    "gap_width": (float, "A", "smallest width of a bump, Angstrom"),
    "stiffness": (float, "K", "largest curvature of bumps and walls, eV/A^2, for the time step"),
    "gap_pairs": (int, "N", "pairs that must have been seen on either side of a gap"),
}


def add_fence_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--fence`` and the options of the fence."""
    group = parser.add_argument_group(
        "fence", "A repulsive energy at distances that no training frame has; see docs/fence.md."
    )
    group.add_argument(
        "--fence",
        nargs="?",
        const="wall",
        choices=KINDS,
        help="walls below the shortest distances in training (wall, the default), or also bumps in "
        "gaps between them, which forbid reactions (gaps); give it after MODEL and OUTPUT",
    )
    defaults = {field.name: field.default for field in fields(FenceSettings)}
    for name, (kind, metavar, text) in _OPTIONS.items():
        option = f"--fence-{name.replace('_', '-')}"
        text = f"{text} (default: {defaults[name]:g})"
        group.add_argument(option, dest=f"fence_{name}", type=kind, metavar=metavar, help=text)


def fence_settings(parsed: argparse.Namespace) -> FenceSettings | None:
    """The settings of the fence that the options ask for; None without a fence.

    Raises:
        LegatoError: if an option has no effect, or a value is impossible.
    """
    options = {name: getattr(parsed, f"fence_{name}") for name in _OPTIONS}
    options = {name: value for name, value in options.items() if value is not None}
    if parsed.fence is None:
        if options:
            name = next(iter(options)).replace("_", "-")
            raise LegatoError(f"--fence-{name} has no effect without --fence; add --fence")
        return None
    return FenceSettings(kind=parsed.fence, **options)
