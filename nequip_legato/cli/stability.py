"""The command ``nequip-legato stability``: parses, calls one function, and prints."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nequip_legato.cli.report import add_report
from nequip_legato.errors import LegatoError

__all__ = ["RUN_DESCRIPTION", "add_run_options", "add_stability", "run_or_show"]

RUN_DESCRIPTION = (
    "Run what is left of a campaign. Ctrl-C ends it in order; the same command continues it. "
    "Several processes may work on one campaign, also on several machines."
)


def add_stability(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``stability run|report`` to the commands."""
    stability = commands.add_parser(
        "stability", help="how long molecular dynamics with a model stays stable"
    )
    actions = stability.add_subparsers(required=True, metavar="ACTION")
    run = actions.add_parser(
        "run",
        help="run a campaign: models x sizes x velocity seeds",
        description=RUN_DESCRIPTION,
        epilog="Example: nequip-legato stability run campaign.yaml --workers 4",
    )
    run.add_argument("campaign", type=Path, help="the campaign's YAML file (docs/stability.md)")
    add_run_options(run)
    run.set_defaults(run=_run)
    add_report(actions)


def add_run_options(run: argparse.ArgumentParser) -> None:
    """Add the options of every command that runs campaigns."""
    run.add_argument("--workers", type=int, metavar="N", help="runs at the same time")
    run.add_argument("--part", metavar="K/M", help="only every M-th run, beginning with the K-th")
    instead = run.add_mutually_exclusive_group()
    instead.add_argument(
        "--dry-run", action="store_true", help="print the commands, and run nothing"
    )
    instead.add_argument(
        "--script",
        choices=("slurm", "pbs"),
        help="print a job array that runs the campaign, and run nothing",
    )
    run.add_argument(
        "--tasks", type=int, default=None, metavar="M", help="size of the job array (default: 10)"
    )


def _run(parsed: argparse.Namespace) -> None:
    from nequip_legato.stability.run.campaign import run_campaign
    from nequip_legato.stability.run.plan import make_plan
    from nequip_legato.stability.run.resolve import load_settings
    from nequip_legato.stability.run.scripts import dry_run

    settings = load_settings(parsed.campaign)
    run_or_show(parsed, settings, make_plan, run_campaign, dry_run, action="stability")


def run_or_show(
    parsed: argparse.Namespace,
    settings: Any,
    plan_of: Callable[[Any], Any],
    run_all: Callable[..., Any],
    commands_of: Callable[[Any], str],
    *,
    action: str,
) -> None:
    """Run a campaign, or print what it would run, as the options of `add_run_options` say.

    Args:
        parsed: the options.
        settings: the campaign's.
        plan_of: settings -> plan.
        run_all: runs a campaign.
        commands_of: plan -> its commands.
        action: name of the command.
    """
    from nequip_legato.stability.run.progress import show_progress
    from nequip_legato.stability.run.scripts import job_array

    part = _part(parsed.part)
    if parsed.dry_run or parsed.script:
        plan = plan_of(settings)
        plan = plan if part is None else plan.part(*part)
        if parsed.script:
            tasks = min(10, len(plan.runs)) if parsed.tasks is None else parsed.tasks
            script = job_array(
                plan, parsed.campaign, system=parsed.script, tasks=tasks, action=action
            )
            print(script, end="")
        else:
            print(commands_of(plan))
        return
    with show_progress() as progress:
        status = run_all(
            settings,
            workers=parsed.workers,
            part=part,
            watch=progress.watch,
            report=progress.report,
        )
    print(f"nequip-legato: {progress.summary(status)} in {settings.output}")
    if status.interrupted:
        raise LegatoError(
            f"{len(status.interrupted)} runs were killed from outside ({status.interrupted[0]}"
            f"{', ...' if len(status.interrupted) > 1 else ''}); the same command continues them"
        )


def _part(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    number, slash, parts = text.partition("/")
    if not (slash and number.isdigit() and parts.isdigit() and int(parts) > 0):
        raise LegatoError(f"--part '{text}' is not K/M, for instance 3/10")
    return int(number), int(parts)
