"""How every command runs and ends: one-line errors, interrupts, file names outside the locale."""

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
        Exit status: 1 after an error that was printed, 130 after Ctrl-C or SIGTERM.
    """
    _show_any_path()
    parsed = parser.parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = parsed.run
    try:
        with _sigterm_as_interrupt():
            command(parsed)
    except LegatoError as problem:
        sys.stderr.write(getattr(problem, "output", ""))
        print(f"{parser.prog}: error: {problem}", file=sys.stderr)
        return 1
    except (UnicodeEncodeError, RuntimeError) as problem:
        cause = _missing_in_environment(problem)
        if not cause:
            raise
        print(f"{parser.prog}: error: {cause}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is ending already
        print(f"{parser.prog}: interrupted", file=sys.stderr)
        return _INTERRUPTED
    return 0


def _missing_in_environment(problem: Exception) -> str:
    """What the user's environment lacks, if that is why Python itself failed; else empty."""
    if isinstance(problem, UnicodeEncodeError):
        return (
            f"'{problem.object}' cannot be the name of a file in this locale ({problem.encoding}); "
            "set LC_ALL=C.UTF-8, or use names without such letters"
        )
    if "home directory" in str(problem):  # from pathlib, called by ASE and matplotlib
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
def _sigterm_as_interrupt() -> Iterator[None]:
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
