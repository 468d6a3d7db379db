"""The command ``nequip-legato sharpness``: parses, calls one function, and prints."""

import argparse
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from nequip_legato.errors import LegatoError

if TYPE_CHECKING:
    from nequip_legato.sharpness import Settings

__all__ = ["add_sharpness"]

_MEASURES = "gaussian relative sam eigenvalue trace line plane"


def add_sharpness(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``sharpness`` to the commands."""
    sharpness = commands.add_parser(
        "sharpness",
        help="how flat the training loss is around a model's weights",
        description="Measure the sharpness of the training loss of one or several models, on the "
        "same frames and with the same random numbers. The same command continues after Ctrl-C.",
        epilog="Example: nequip-legato sharpness plain/best.ckpt sam/best.ckpt. Checkpoints and "
        "packages are unpickled: open only files that you trust.",
    )
    _add_files(sharpness)
    sharpness.add_argument(
        "--measures",
        nargs="+",
        metavar="NAME",
        default=_MEASURES.split(),
        help=f"which of: {_MEASURES} (default: all)",
    )
    _add_noise(sharpness)
    _add_climb(sharpness)
    _add_curvature(sharpness)
    _add_landscape(sharpness)
    sharpness.add_argument(
        "--differences",
        action="store_true",
        help="Hessian products by finite differences of gradients",
    )
    sharpness.add_argument(
        "--seed", type=int, default=1, metavar="N", help="seed of all random numbers (default: 1)"
    )
    sharpness.add_argument(
        "--model-key",
        metavar="NAME",
        default="sole_model",
        help="which model, if a file holds several",
    )
    sharpness.set_defaults(run=_run)


def _add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", type=Path, nargs="+", help="nequip checkpoint (.ckpt) or package (.nequip.zip)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("sharpness"),
        metavar="FOLDER",
        help="folder of the results (default: sharpness)",
    )
    parser.add_argument(
        "--frames",
        type=Path,
        metavar="FILE",
        help="labeled frames (default: frames.extxyz in the results, made from the training data)",
    )
    parser.add_argument(
        "--n-frames",
        type=int,
        default=16,
        metavar="N",
        help="how many training frames to take (default: 16)",
    )
    parser.add_argument(
        "--weights",
        choices=("ema", "raw"),
        default="ema",
        help="ema: averaged weights, where there are any (default); raw: the optimizer's own",
    )


def _add_noise(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--epsilon",
        type=float,
        default=0.05,
        metavar="X",
        help="size of Gaussian noise (default: 0.05)",
    )
    parser.add_argument(
        "--relative-epsilon",
        type=float,
        default=0.02,
        metavar="X",
        help="size of relative noise (default: 0.02)",
    )
    parser.add_argument(
        "--samples", type=int, default=100, metavar="N", help="noise samples (default: 100)"
    )


def _add_climb(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rho",
        type=float,
        nargs="+",
        default=[0.005, 0.02, 0.05],
        metavar="X",
        help="radii of SAM's climb (default: 0.005 0.02 0.05)",
    )
    parser.add_argument(
        "--ascent-steps",
        type=int,
        default=1,
        metavar="N",
        help="steps of the climb (default: 1, as SAM does)",
    )


def _add_curvature(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--trace-samples",
        type=int,
        default=30,
        metavar="N",
        help="random vectors for the trace (default: 30)",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=1e-3,
        metavar="X",
        help="relative accuracy of the eigenvalue (default: 0.001)",
    )


def _add_landscape(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--reach",
        type=float,
        default=0.2,
        metavar="X",
        help="reach of lines and planes, in units of the weights' norm (default: 0.2)",
    )
    parser.add_argument(
        "--points",
        type=int,
        default=21,
        metavar="N",
        help="points on a line; a plane has half as many along each side (default: 21)",
    )


def _run(parsed: argparse.Namespace) -> None:
    # Users of this command cannot act on what torch and e3nn deprecate.
    warnings.simplefilter("ignore")
    from tqdm import tqdm

    from nequip_legato.sharpness import measure

    with tqdm(disable=not sys.stderr.isatty(), unit="unit") as bar:

        def watch(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        results = measure(
            parsed.model,
            out=parsed.out,
            frames=parsed.frames,
            n_frames=parsed.n_frames,
            weights=parsed.weights,
            settings=_settings(parsed),
            model_key=parsed.model_key,
            report=lambda line: tqdm.write(f"nequip-legato: {line}", file=sys.stdout),
            watch=watch,
        )
    for result in results:
        print(f"\n{result.name}")
        for line in result.lines():
            print(f"  {line}")
    if not results:
        raise LegatoError("nothing was measured")
    print(f"\nnequip-legato: wrote {parsed.out / 'sharpness.json'}")


def _settings(parsed: argparse.Namespace) -> "Settings":
    from nequip_legato.sharpness import Settings

    return Settings(
        measures=tuple(parsed.measures),
        seed=parsed.seed,
        epsilon=parsed.epsilon,
        relative_epsilon=parsed.relative_epsilon,
        samples=parsed.samples,
        rho=tuple(parsed.rho),
        ascent_steps=parsed.ascent_steps,
        trace_samples=parsed.trace_samples,
        tolerance=parsed.tolerance,
        reach=parsed.reach,
        points=parsed.points,
        differences=parsed.differences,
    )
