"""The command ``nequip-legato improve``: parses, calls one function, and prints."""

import argparse
import warnings
from pathlib import Path

__all__ = ["add_improve"]


def add_improve(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``improve`` to the commands."""
    improve = commands.add_parser(
        "improve",
        help="simulate, label failures, train on them, and repeat until simulations are stable",
        description="Run what is left of a loop: explore, choose structures, label, train, deploy, "
        "measure the time to failure. It may be stopped at any point; the same command continues.",
        epilog="Example: nequip-legato improve improve.yaml. Checkpoints are unpickled: open only "
        "files that you trust.",
    )
    improve.add_argument("config", type=Path, help="the loop's YAML file (docs/improve.md)")
    improve.add_argument(
        "--dry-run",
        action="store_true",
        help="say what would be done and at what cost, and run nothing",
    )
    improve.set_defaults(run=_run)


def _run(parsed: argparse.Namespace) -> None:
    # Users of this command cannot act on what torch and e3nn deprecate.
    warnings.simplefilter("ignore")
    from nequip_legato.improve.forecast import forecast
    from nequip_legato.improve.loop import check_before, improve
    from nequip_legato.improve.resolve import load_improve_settings
    from nequip_legato.improve.rounds import Show
    from nequip_legato.stability.run.progress import show_progress

    settings = load_improve_settings(parsed.config)
    if parsed.dry_run:
        print(forecast(settings, check_before(settings)))
        return
    with show_progress() as display:
        outcome = improve(settings, show=Show(display.report, display.watch))
    print(f"nequip-legato: {outcome.reason} after round {outcome.rounds}; see {outcome.folder}")
