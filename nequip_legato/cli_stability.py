"""The command ``nequip-legato stability``: parses, calls one function, and prints."""

import argparse
from pathlib import Path

from nequip_legato.cli_report import add_report
from nequip_legato.errors import LegatoError

__all__ = ["add_stability"]


def add_stability(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``stability run|report`` to the commands."""
    stability = commands.add_parser(
        "stability", help="how long molecular dynamics with a model lives"
    )
    actions = stability.add_subparsers(required=True, metavar="ACTION")
    run = actions.add_parser(
        "run",
        help="run a campaign: models x sizes x velocity seeds",
        description="Do what is left of a campaign. Ctrl-C ends it in order; the same command goes "
        "on. Several of them may work on one campaign, also from several machines.",
    )
    run.add_argument("campaign", type=Path, help="the campaign's YAML file (docs/stability.md)")
    run.add_argument("--workers", type=int, metavar="N", help="runs at the same time")
    run.add_argument("--part", metavar="K/M", help="only every M-th run, beginning with the K-th")
    instead = run.add_mutually_exclusive_group()
    instead.add_argument(
        "--dry-run", action="store_true", help="print the commands, and run nothing"
    )
    instead.add_argument(
        "--script",
        choices=("slurm", "pbs"),
        help="print a job array that does the campaign, and run nothing",
    )
    run.add_argument(
        "--tasks", type=int, default=None, metavar="M", help="size of the job array (default: 10)"
    )
    run.set_defaults(run=_run)
    add_report(actions)


def _run(parsed: argparse.Namespace) -> None:
    from nequip_legato.stability.campaign import run_campaign
    from nequip_legato.stability.plan import make_plan
    from nequip_legato.stability.progress import shown
    from nequip_legato.stability.scripts import dry_run, job_array
    from nequip_legato.stability.settings import load_settings

    settings = load_settings(parsed.campaign)
    part = _part(parsed.part)
    if parsed.dry_run or parsed.script:
        plan = make_plan(settings)
        plan = plan if part is None else plan.part(*part)
        if parsed.script:
            tasks = min(10, len(plan.runs)) if parsed.tasks is None else parsed.tasks
            script = job_array(plan, parsed.campaign, system=parsed.script, tasks=tasks)
            print(script, end="")
        else:
            print(dry_run(plan))
        return
    with shown() as progress:
        status = run_campaign(
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
            f"{', ...' if len(status.interrupted) > 1 else ''}); the same command goes on with them"
        )


def _part(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    number, slash, parts = text.partition("/")
    if not (slash and number.isdigit() and parts.isdigit() and int(parts) > 0):
        raise LegatoError(f"--part '{text}' is not K/M, for instance 3/10")
    return int(number), int(parts)
