"""The commands ``nequip-deploy`` and ``nequip-legato``: they parse, call one function, and print.

Torch and nequip are imported only by the subcommands that need them.
"""

import argparse
import signal
import sys
import warnings
from collections.abc import Callable, Sequence

from nequip_legato import __version__
from nequip_legato.cli_migrate import add_migrate
from nequip_legato.cli_plot import add_plot
from nequip_legato.cli_quantum import add_quantum
from nequip_legato.cli_sharpness import add_sharpness
from nequip_legato.cli_stability import add_stability
from nequip_legato.errors import LegatoError

__all__ = ["deploy_main", "main"]

_INTERRUPTED = 130


def deploy_main(arguments: Sequence[str] | None = None) -> int:
    """``nequip-deploy build|info``; returns the exit status."""
    parser = _parser(
        "nequip-deploy", "Deploy Allegro models for LAMMPS' pair_style allegro_legato."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    build = commands.add_parser(
        "build",
        help="make a file for LAMMPS from a checkpoint or package",
        description="Make a file for pair_style allegro_legato from a trained model, and check it "
        "against nequip's eager model before it appears under its name.",
        epilog="Checkpoints and packages are unpickled: open only files that you trust.",
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
    build.add_argument(
        "--check-frames",
        type=int,
        default=3,
        metavar="N",
        help="number of frames to check the file on (default: 3)",
    )
    build.set_defaults(run=_build)

    info = commands.add_parser(
        "info",
        help="show what a deployed file says about itself",
        description="Show atom types, cutoffs, training domain and origin of a deployed file. The "
        "model is not loaded, so this also works where it could not run.",
    )
    info.add_argument("file", help="*.nequip.pth or *.nequip.pt2")
    info.add_argument("--json", action="store_true", help="print JSON")
    info.set_defaults(run=_info)
    return _run(parser, arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """``nequip-legato COMMAND ...``; returns the exit status."""
    parser = _parser("nequip-legato", "Sharpness-aware Allegro models for nequip and LAMMPS.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    plugin = commands.add_parser("plugin", help="the LAMMPS plugin with pair_style allegro_legato")
    actions = plugin.add_subparsers(required=True, metavar="ACTION")
    for name, run, text in (
        ("build", _plugin_build, "compile the plugin for the installed LAMMPS and torch"),
        ("info", _plugin_info, "show what the plugin is built from and where it lies"),
        ("clean", _plugin_clean, "remove every compiled plugin and binding"),
    ):
        action = actions.add_parser(name, help=text, description=text.capitalize() + ".")
        action.set_defaults(run=run)
    add_stability(commands)
    add_quantum(commands)
    add_sharpness(commands)
    add_plot(commands)
    add_migrate(commands)
    return _run(parser, arguments)


def _parser(name: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=name, description=description)
    parser.add_argument("--version", action="version", version=f"nequip-legato {__version__}")
    return parser


def _run(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> int:
    parsed = parser.parse_args(arguments)
    run: Callable[[argparse.Namespace], None] = parsed.run
    try:
        run(parsed)
    except LegatoError as problem:
        sys.stderr.write(getattr(problem, "output", ""))
        print(f"{parser.prog}: error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is ending already
        print(f"{parser.prog}: interrupted", file=sys.stderr)
        return _INTERRUPTED
    return 0


def _build(parsed: argparse.Namespace) -> None:
    # What torch and e3nn deprecate is nothing to the user of this command.
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
        report=lambda line: print(f"nequip-deploy: {line}", flush=True),
        **chosen,
    )
    print(f"nequip-deploy: largest deviations: {done.deviations}")
    print(f"nequip-deploy: wrote {done.path} ({done.info.size / 1e6:.2f} MB)")


def _info(parsed: argparse.Namespace) -> None:
    from nequip_legato.deploy import info

    found = info(parsed.file)
    print(found.to_json() if parsed.json else found)


def _plugin_build(_: argparse.Namespace) -> None:
    from nequip_legato.lammps.plugin import build_plugin

    print(build_plugin())


def _plugin_info(_: argparse.Namespace) -> None:
    from nequip_legato.lammps.plugin import plugin_info

    found = plugin_info()
    width = max(map(len, found)) + 2
    for name, value in found.items():
        print(f"{name + ':':<{width}}{value}")


def _plugin_clean(_: argparse.Namespace) -> None:
    from nequip_legato.lammps.plugin import clean_plugin_cache

    removed = clean_plugin_cache()
    for path in removed:
        print(f"removed {path}")
    if not removed:
        print("nothing to remove")
