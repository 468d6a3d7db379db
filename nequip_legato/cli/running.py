"""How every command runs and ends: errors in one line, interrupts, letters of the locale."""

import argparse
import codecs
import io
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from nequip_legato.errors import LegatoError

__all__ = ["run"]

_INTERRUPTED = 130


def run(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> int:
    """Parse the arguments and call ``run`` of the command that they name.

    Args:
        parser: whose commands set ``run``, a function of the parsed arguments.
        arguments: None for those of the process.

    Returns:
        Exit status: 1 after an error that was told, 130 after Ctrl-C or SIGTERM.
    """
    _show_any_path()
    parsed = parser.parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = parsed.run
    try:
        with _ended_in_order():
            command(parsed)
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
