"""The command ``nequip-legato quantum``: parses, calls one function, and prints."""

import argparse
from pathlib import Path

from nequip_legato.cli.campaigns import add_run, run_or_show

__all__ = ["add_quantum"]


def add_quantum(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``quantum run|report`` to the commands."""
    quantum = commands.add_parser("quantum", help="nuclear quantum effects by path integrals")
    actions = quantum.add_subparsers(required=True, metavar="ACTION")
    run = add_run(
        actions,
        about="run a campaign: models x systems x isotopes x temperatures x methods x beads x "
        "seeds",
        docs="docs/quantum.md",
        example="nequip-legato quantum run structure.yaml --dry-run",
    )
    run.set_defaults(run=_run)
    report = actions.add_parser(
        "report",
        help="kinetic energies, distributions, spectra, isotope effects, convergence with beads",
        description="Write an HTML page, pictures and tables on the finished runs of a campaign.",
        epilog="Example: nequip-legato quantum report structure",
    )
    report.add_argument("campaign", type=Path, help="the campaign's folder")
    report.add_argument(
        "--out", type=Path, metavar="FOLDER", help="default: report, in the campaign's folder"
    )
    report.set_defaults(run=_report)


def _run(parsed: argparse.Namespace) -> None:
    from nequip_legato.quantum.campaign import QUANTUM

    run_or_show(parsed, QUANTUM)


def _report(parsed: argparse.Namespace) -> None:
    from nequip_legato.quantum.report import report

    done = report(parsed.campaign, out=parsed.out)
    print(done.text)
    print(f"nequip-legato: wrote {done.page}")
