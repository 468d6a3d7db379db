"""The command ``nequip-deploy``: parses, calls one function, and prints."""

import argparse
import warnings

from nequip_legato.cli.fence import add_fence_options, fence_settings

__all__ = ["add_build", "add_info"]


def add_build(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``build`` to the commands."""
    build = commands.add_parser(
        "build",
        help="make a file for LAMMPS from a checkpoint or package",
        description="Make a file for pair_style allegro_legato from a trained model, and check it "
        "against nequip's eager model before it appears under its name.",
        epilog="Example: nequip-deploy build best.ckpt model.nequip.pt2 --fence. Checkpoints and "
        "packages are unpickled: open only files that you trust.",
    )
    build.add_argument("model", help="nequip checkpoint (.ckpt) or package (.nequip.zip)")
    build.add_argument(
        "output", help="OUT.nequip.pth (TorchScript) or OUT.nequip.pt2 (AOTInductor, faster)"
    )
    build.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    build.add_argument(
        "--frames",
        metavar="FILE",
        help="the training frames, in any format of ASE (default: the training data that the "
        "checkpoint names)",
    )
    build.add_argument(
        "--modifiers", nargs="+", default=[], metavar="NAME", help="nequip model modifiers to apply"
    )
    build.add_argument(
        "--model-key",
        metavar="NAME",
        help="which model, if the checkpoint holds several",
    )
    _add_check(build)
    _add_compilation(build)
    add_fence_options(build)
    build.set_defaults(run=_build)


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--check-frames",
        type=int,
        default=3,
        metavar="N",
        help="number of frames to check the file on (default: 3)",
    )
    parser.add_argument(
        "--check-limit",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="time after which the check of the finished file counts as hanging (default: 600)",
    )
    parser.add_argument(
        "--unchecked",
        action="store_true",
        help="leave out the check of the finished file, for a machine where the check cannot run",
    )


def _add_compilation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--energy-model",
        action="store_true",
        help="add a second model to OUT.nequip.pt2 for energies alone, as for Monte Carlo moves; "
        "compiling takes half as long again (TorchScript files need no second model)",
    )
    parser.add_argument(
        "--kernels",
        default="auto",
        metavar="WHICH",
        help="auto: kernels of this package in OUT.nequip.pt2, C++ for cpu, and Triton for cuda "
        "(float32) (default); off: only the compiler's kernels",
    )


def add_info(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``info`` to the commands."""
    info = commands.add_parser(
        "info",
        help="show the metadata of a deployed file",
        description="Show atom types, cutoffs, training domain and origin of a deployed file. The "
        "model is not loaded, so this also works where it could not run.",
        epilog="Example: nequip-deploy info model.nequip.pt2",
    )
    info.add_argument("file", help="*.nequip.pth or *.nequip.pt2")
    info.add_argument("--json", action="store_true", help="print JSON")
    info.set_defaults(run=_info)


def _build(parsed: argparse.Namespace) -> None:
    # Users of this command cannot act on what torch and e3nn deprecate.
    warnings.simplefilter("ignore")
    from nequip_legato.deploy import build

    chosen = {} if parsed.model_key is None else {"model_key": parsed.model_key}
    done = build(
        parsed.model,
        parsed.output,
        device=parsed.device,
        frames=parsed.frames,
        modifiers=parsed.modifiers,
        check_frames=parsed.check_frames,
        fence=fence_settings(parsed),
        check_limit=parsed.check_limit,
        energy_model=parsed.energy_model,
        kernels=parsed.kernels,
        checked=not parsed.unchecked,
        report=lambda line: print(f"nequip-deploy: {line}", flush=True),
        **chosen,
    )
    deviations = done.deviations or "unknown, because the file was not checked"
    print(f"nequip-deploy: largest deviations: {deviations}")
    print(f"nequip-deploy: wrote {done.path} ({done.info.size / 1e6:.2f} MB)")


def _info(parsed: argparse.Namespace) -> None:
    from nequip_legato.deploy import info

    found = info(parsed.file)
    print(found.to_json() if parsed.json else found)
