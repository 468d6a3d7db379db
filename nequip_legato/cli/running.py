"""How every command runs and ends: one-line errors, interrupts, file names outside the locale."""

import argparse
import codecs
import io
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from nequip_legato.errors import LegatoError

__all__ = ["run"]

_INTERRUPTED = 130


def run(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> int:
    """Parse the arguments and call ``run`` of the command that they name.

    Args:
        parser: whose commands set ``run``, a function of the parsed arguments.
        arguments: None for those of the process.

    Returns:
        Exit status: 1 after an error that was printed, 130 after Ctrl-C or SIGTERM.
    """
    _show_any_path()
    parsed = parser.parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = parsed.run
    noted: list[int] = []
    try:
        with _signals_as_interrupts(noted):
            command(parsed)
    except Exception as problem:
        # C++ code of torch takes the interrupt for an error of its own
        return _interrupted(parser) if noted else _failed(parser, problem)
    except KeyboardInterrupt:
        return _interrupted(parser)
    return 0


def _failed(parser: argparse.ArgumentParser, problem: Exception) -> int:
    """Print a line for what the user can mend; anything else is raised again."""
    if isinstance(problem, LegatoError):
        sys.stderr.write(getattr(problem, "output", ""))
        cause = str(problem)
    else:
        cause = _missing_in_environment(problem)
        if not cause:
            raise problem
    print(f"{parser.prog}: error: {cause}", file=sys.stderr)
    return 1


def _interrupted(parser: argparse.ArgumentParser) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is ending already
    print(f"{parser.prog}: interrupted", file=sys.stderr)
    return _INTERRUPTED


def _missing_in_environment(problem: Exception) -> str:
    """What the user's environment lacks, if that is why Python itself failed; else empty."""
    if isinstance(problem, UnicodeEncodeError):
        return (
            f"'{problem.object}' cannot be the name of a file in this locale ({problem.encoding}); "
            "set LC_ALL=C.UTF-8, or use names without such letters"
        )
    # from pathlib, called by ASE and matplotlib
    if isinstance(problem, RuntimeError) and "home directory" in str(problem):
        return "there is no home folder, which Python packages need; set HOME to a folder of yours"
    return ""


def _show_any_path() -> None:
    """Print file names that the locale cannot encode as bytes, as other programs do."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            if codecs.lookup(stream.encoding).name == "ascii":
                stream.reconfigure(encoding="utf-8", errors="surrogateescape")
            elif stream.errors == "strict":
                stream.reconfigure(errors="backslashreplace")


@contextmanager
def _signals_as_interrupts(noted: list[int]) -> Iterator[None]:
    """Treat SIGTERM (of batch systems at a time limit) like Ctrl-C: scratch files are removed.

    Args:
        noted: gets the number of each signal that came.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        raise KeyboardInterrupt

    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not ignored, as by nohup
        numbers.append(signal.SIGINT)
    before = {number: signal.signal(number, interrupt) or signal.SIG_DFL for number in numbers}
    try:
        yield
    finally:
        if not noted:  # the signal may come twice, as from coreutils' timeout
            for number, handler in before.items():
                signal.signal(number, handler)
