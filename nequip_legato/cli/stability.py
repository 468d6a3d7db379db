"""The command ``nequip-legato stability``: parses, calls one function, and prints."""

import argparse

from nequip_legato.cli.campaigns import add_run, run_or_show
from nequip_legato.cli.report import add_report

__all__ = ["add_stability"]


def add_stability(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``stability run|report`` to the commands."""
    stability = commands.add_parser(
        "stability", help="how long molecular dynamics with a model stays stable"
    )
    actions = stability.add_subparsers(required=True, metavar="ACTION")
    run = add_run(
        actions,
        about="run a campaign: models x sizes x velocity seeds",
        docs="docs/stability.md",
        example="nequip-legato stability run campaign.yaml --workers 4",
    )
    run.set_defaults(run=_run)
    add_report(actions)


def _run(parsed: argparse.Namespace) -> None:
    from nequip_legato.stability.run.campaign import STABILITY

    run_or_show(parsed, STABILITY)
