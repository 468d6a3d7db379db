"""``python -m nequip_legato.lammps build|install|remove FOLDER``: a LAMMPS of one's own."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from nequip_legato.errors import LegatoError
from nequip_legato.lammps import tree

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m nequip_legato.lammps",
        description="Pair style allegro_legato for a LAMMPS that you compile yourself.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, folder, text in (
        ("build", _build, "BUILD", "compile the plugin for the LAMMPS in a CMake build folder"),
        ("install", _install, "LAMMPS", "put our files into a LAMMPS source tree, or update them"),
        ("remove", _remove, "LAMMPS", "take them out again"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("folder", type=Path, metavar=folder)
        command.set_defaults(run=run)
        if run is _build:
            command.add_argument(
                "--force", action="store_true", help="compile it even if it is there"
            )
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except (LegatoError, OSError) as problem:
        sys.stderr.write(getattr(problem, "output", ""))
        sys.stderr.write(f"{parser.prog}: error: {problem}\n")
        return 1
    return 0


def _build(options: argparse.Namespace) -> None:
    print(tree.build_plugin_for(options.folder, force=options.force))


def _install(options: argparse.Namespace) -> None:
    folder = options.folder
    changed = tree.install_into(folder)
    for path in changed:
        print(path)
    if not changed:
        print("everything is in place")
    hook = folder.absolute() / "cmake" / "legato.cmake"
    print(
        f"configure LAMMPS with -DCMAKE_PROJECT_lammps_INCLUDE={hook} -DCMAKE_CXX_STANDARD=20",
        file=sys.stderr,
    )


def _remove(options: argparse.Namespace) -> None:
    for path in tree.remove_from(options.folder):
        print(path)


if __name__ == "__main__":
    sys.exit(main())
