"""The commands ``nequip-deploy`` and ``nequip-legato``: they parse, call one function, and print.

Torch and nequip are imported only by the subcommands that need them.
"""

import argparse
import codecs
import io
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from nequip_legato import __version__
from nequip_legato.cli_fence import add_fence_options, fence_settings
from nequip_legato.cli_improve import add_improve
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
    build.add_argument(
        "--check-limit",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="time after which the check of the finished file counts as hanging (default: 600)",
    )
    build.add_argument(
        "--energy-model",
        action="store_true",
        help="add a second model to OUT.nequip.pt2 for energies alone, as for Monte Carlo moves; "
        "half as long again to compile (TorchScript files give energies alone without)",
    )
    add_fence_options(build)
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
    add_improve(commands)
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
    _show_any_path()
    parsed = parser.parse_args(arguments)
    run: Callable[[argparse.Namespace], None] = parsed.run
    try:
        with _ended_in_order():
            run(parsed)
    except LegatoError as problem:
        sys.stderr.write(getattr(problem, "output", ""))
        print(f"{parser.prog}: error: {problem}", file=sys.stderr)
        return 1
    except (UnicodeEncodeError, RuntimeError) as problem:
        cause = _surroundings(problem)
        if not cause:
            raise
        print(f"{parser.prog}: error: {cause}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is ending already
        print(f"{parser.prog}: interrupted", file=sys.stderr)
        return _INTERRUPTED
    return 0


def _surroundings(problem: Exception) -> str:
    """What the user's surroundings lack, where Python's own functions have met it; else empty."""
    if isinstance(problem, UnicodeEncodeError):
        return (
            f"'{problem.object}' cannot be the name of a file in this locale ({problem.encoding}); "
            "set LC_ALL=C.UTF-8, or use names without such letters"
        )
    if "home directory" in str(problem):  # of pathlib, which ASE and matplotlib ask
        return "there is no home, which Python packages need; set HOME to any folder of yours"
    return ""


def _show_any_path() -> None:
    """Let file names through that the locale has no letters for: as bytes, as other programs do."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            if codecs.lookup(stream.encoding).name == "ascii":
                stream.reconfigure(encoding="utf-8", errors="surrogateescape")
            elif stream.errors == "strict":
                stream.reconfigure(errors="backslashreplace")


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Treat SIGTERM (of batch systems at a time limit) like Ctrl-C: scratch files are removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) or signal.SIG_DFL
    try:
        yield
    except KeyboardInterrupt:  # the signal may come twice, as from coreutils' timeout
        raise
    except BaseException:
        signal.signal(signal.SIGTERM, before)
        raise
    signal.signal(signal.SIGTERM, before)


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
        fence=fence_settings(parsed),
        check_limit=parsed.check_limit,
        energy_model=parsed.energy_model,
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
