"""The errors that users see, and other exceptions in one line."""

__all__ = ["LegatoError", "ValueLegatoError", "first_line", "one_line"]


class LegatoError(Exception):
    """An error that a user can fix: one line that names the cause and the remedy."""


class ValueLegatoError(LegatoError, ValueError):
    """An impossible value of a setting or an argument.

    Its name ends with that of its base class, so that searching a log for ``LegatoError`` finds
    both.
    """


def first_line(problem: BaseException) -> str:
    """The first line of an exception's message, or its type if it has none."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return lines[0] if lines else type(problem).__name__


def one_line(problem: BaseException) -> str:
    """An exception in one line: its type and the first line of its message."""
    name, line = type(problem).__name__, first_line(problem)
    return name if line == name else f"{name}: {line}"
