"""What the commands that run campaigns have in common."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nequip_legato.errors import LegatoError

if TYPE_CHECKING:
    from nequip_legato.stability.run.run_queue import CampaignKind

__all__ = ["add_run", "run_or_show"]


def add_run(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]",
    *,
    about: str,
    docs: str,
    example: str,
) -> argparse.ArgumentParser:
    """Add ``run`` to the actions of a command; returns its parser.

    Args:
        actions: of the command.
        about: what it runs.
        docs: the page that describes the YAML file.
        example: of its use.
    """
    run = actions.add_parser(
        "run",
        help=about,
        description="Run what is left of a campaign. Ctrl-C ends it in order; the same command "
        "continues it. Several processes may work on one campaign, also on several machines.",
        epilog=f"Example: {example}",
    )
    run.add_argument("campaign", type=Path, help=f"the campaign's YAML file ({docs})")
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
    return run


def run_or_show(parsed: argparse.Namespace, kind: "CampaignKind") -> None:
    """Run a campaign, or print what it would run, as the options of `add_run` say."""
    from nequip_legato.stability.run.campaign import planned, run_kind
    from nequip_legato.stability.run.progress import show_progress
    from nequip_legato.stability.run.scripts import job_array

    settings, part = kind.load(parsed.campaign), _part(parsed.part)
    if parsed.script:
        plan = planned(kind, settings, part)
        tasks = min(10, len(plan.runs)) if parsed.tasks is None else parsed.tasks
        script = job_array(
            plan, parsed.campaign, system=parsed.script, tasks=tasks, action=kind.action
        )
        print(script, end="")
        return
    if parsed.dry_run:
        print(kind.commands(planned(kind, settings, part)))
        return
    with show_progress() as progress:
        status = run_kind(
            kind,
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
