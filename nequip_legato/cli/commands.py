"""The two programs and their commands."""

import argparse
from collections.abc import Sequence

from nequip_legato import __version__
from nequip_legato.cli.deploy import add_build, add_info
from nequip_legato.cli.improve import add_improve
from nequip_legato.cli.migrate import add_migrate
from nequip_legato.cli.plot import add_plot
from nequip_legato.cli.plugin import add_plugin
from nequip_legato.cli.quantum import add_quantum
from nequip_legato.cli.running import run
from nequip_legato.cli.sharpness import add_sharpness
from nequip_legato.cli.stability import add_stability

__all__ = ["deploy_main", "main"]


def deploy_main(arguments: Sequence[str] | None = None) -> int:
    """``nequip-deploy build|info``; returns the exit status."""
    parser = _parser(
        "nequip-deploy", "Deploy Allegro models for LAMMPS' pair_style allegro_legato."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (add_build, add_info):
        add(commands)
    return run(parser, arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """``nequip-legato COMMAND ...``; returns the exit status."""
    parser = _parser("nequip-legato", "Sharpness-aware Allegro models for nequip and LAMMPS.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (
        add_plugin,
        add_stability,
        add_improve,
        add_quantum,
        add_sharpness,
        add_plot,
        add_migrate,
    ):
        add(commands)
    return run(parser, arguments)


def _parser(name: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=name, description=description)
    parser.add_argument("--version", action="version", version=f"nequip-legato {__version__}")
    return parser
