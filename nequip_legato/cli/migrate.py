"""The command ``nequip-legato migrate``: parses, calls one function, and prints."""

import argparse
import sys
from pathlib import Path

from nequip_legato.errors import LegatoError

__all__ = ["add_migrate"]


def add_migrate(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``migrate`` to the commands."""
    parser = commands.add_parser(
        "migrate",
        help="turn a configuration of the original Allegro-Legato into today's",
        epilog="Example: nequip-legato migrate old.yaml new.yaml",
        description="Turn a configuration of the original Allegro-Legato (nequip 0.5, Allegro 0.2) "
        "into one for today's nequip-train, and name every key that has no counterpart.",
    )
    parser.add_argument("old", type=Path, metavar="OLD.yaml", help="the old configuration")
    parser.add_argument(
        "new",
        type=Path,
        nargs="?",
        metavar="NEW.yaml",
        help="where to write the new one (default: standard output)",
    )
    parser.add_argument(
        "--npz",
        type=Path,
        metavar="FRAMES.extxyz",
        help="write the frames of the npz file that the configuration names, and nothing else",
    )
    parser.add_argument(
        "--validation", action="store_true", help="with --npz: the validation data instead"
    )
    parser.set_defaults(run=_run)


def _run(parsed: argparse.Namespace) -> None:
    if parsed.npz is not None:
        _write_frames(parsed)
        return
    if parsed.validation:
        raise LegatoError("--validation says which frames --npz writes; give both")
    from nequip_legato.migrate import migrate

    done = migrate(parsed.old, parsed.new)
    if parsed.new is None:
        print(done.text, end="")
    # Keep the summary out of a configuration that goes to standard output.
    stream = sys.stdout if parsed.new is not None else sys.stderr
    for key, reason in done.without.items():
        print(f"nequip-legato: without counterpart: {key}: {reason}", file=stream)
    for line in done.assumed:
        print(f"nequip-legato: assumed: {line}", file=stream)
    print(
        f"nequip-legato: {len(done.used)} keys used, {len(done.without)} without counterpart"
        + (f"; wrote {parsed.new}" if parsed.new is not None else ""),
        file=stream,
    )


def _write_frames(parsed: argparse.Namespace) -> None:
    from nequip_legato.migrate.npz import npz_to_extxyz

    if parsed.new is not None:
        raise LegatoError("with --npz only frames are written; leave NEW.yaml out")
    prefix = "validation_" if parsed.validation else ""
    for name in npz_to_extxyz(parsed.old, parsed.npz, prefix=prefix):
        print(f"left out: {name}")
    print(f"wrote {parsed.npz}")
