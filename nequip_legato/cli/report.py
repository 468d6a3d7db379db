"""The command ``nequip-legato stability report``: parses, calls one function, and prints."""

import argparse
from pathlib import Path

__all__ = ["add_report"]


def add_report(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``report`` to the actions of ``stability``."""
    report = actions.add_parser(
        "report",
        help="survival curves, times to failure and their exponent in the number of atoms",
        description="Write an HTML page, pictures and tables on the finished runs of campaigns.",
        epilog="Example: nequip-legato stability report campaign --reference plain",
    )
    report.add_argument(
        "campaign",
        type=Path,
        nargs="+",
        help="a campaign's folder, or a file *.jsonl with one record per line",
    )
    report.add_argument(
        "--out", type=Path, metavar="FOLDER", help="default: report, in the campaign's folder"
    )
    report.add_argument(
        "--reference",
        metavar="GROUP",
        help="the group that others are compared with (default: plain, or the first)",
    )
    report.add_argument(
        "--draws", type=int, default=1000, metavar="N", help="bootstrap samples (default: 1000)"
    )
    report.set_defaults(run=_report)


def _report(parsed: argparse.Namespace) -> None:
    from nequip_legato.stability.report.report import markdown, report, report_folder

    analyses = report(
        parsed.campaign, out=parsed.out, reference=parsed.reference, draws=parsed.draws
    )
    for analysis in analyses:
        print(markdown(analysis))
    print(f"nequip-legato: wrote {report_folder(parsed.campaign, parsed.out) / 'report.html'}")
