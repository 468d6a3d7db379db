"""The command ``nequip-legato plot``: parses, calls one function, and prints."""

import argparse
from pathlib import Path

__all__ = ["add_plot"]


def add_plot(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``plot`` to the commands."""
    parser = commands.add_parser(
        "plot",
        help="draw loss, validation errors and sharpness of training runs",
        description="Draw loss, validation errors and sharpness over epochs of one or several "
        "nequip-train runs into one picture, also while they train.",
        epilog="Example: nequip-legato plot outputs/plain outputs/sam --out training.pdf",
    )
    parser.add_argument(
        "folders", type=Path, nargs="+", metavar="RUN_DIR", help="the folder of a run"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("training.png"),
        metavar="FILE.png",
        help="the picture to write; png, pdf or svg (default: training.png)",
    )
    parser.set_defaults(run=_run)


def _run(parsed: argparse.Namespace) -> None:
    from nequip_legato.training_plots.plot import plot_runs

    for run in plot_runs(parsed.folders, parsed.out):
        last = run.values.index.max() + 1
        print(f"nequip-legato: {run.name}: {last} epochs, {run.skipped} steps skipped")
    print(f"nequip-legato: wrote {parsed.out}")
