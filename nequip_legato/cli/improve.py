"""The command ``nequip-legato improve``: parses, calls one function, and prints."""

import argparse
import warnings
from pathlib import Path

__all__ = ["add_improve"]


def add_improve(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``improve`` to the commands."""
    improve = commands.add_parser(
        "improve",
        help="simulate, label what failed, train on it, and again until the model lives",
        description="Do what is left of a loop: explore, choose structures, label, train, deploy, "
        "measure the life. It may be ended at any point; the same command goes on.",
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
    # What torch and e3nn deprecate is nothing to the user of this command.
    warnings.simplefilter("ignore")
    from nequip_legato.improve.forecast import forecast
    from nequip_legato.improve.loop import check_before, improve
    from nequip_legato.improve.rounds import Show
    from nequip_legato.improve.settings import load_improve_settings
    from nequip_legato.stability.run.progress import shown

    settings = load_improve_settings(parsed.config)
    if parsed.dry_run:
        print(forecast(settings, check_before(settings)))
        return
    with shown() as display:
        outcome = improve(settings, show=Show(display.report, display.watch))
    print(f"nequip-legato: {outcome.reason} after round {outcome.rounds}; see {outcome.folder}")
