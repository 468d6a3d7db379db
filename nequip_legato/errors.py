"""The errors that users see, and those of others in one line."""

__all__ = ["LegatoError", "ValueLegatoError", "first_line", "one_line"]


class LegatoError(Exception):
    """Something a user can put right: one line that names the cause and the remedy."""


class ValueLegatoError(LegatoError, ValueError):
    """A setting or an argument has a value that it cannot have.

    Its name ends as that of its base, so that who looks for ``LegatoError`` in a log finds both.
    """


def first_line(problem: BaseException) -> str:
    """The first line of an exception's message, or its type if it has none."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return lines[0] if lines else type(problem).__name__


def one_line(problem: BaseException) -> str:
    """An exception in one line: its type and the first line of its message."""
    name, line = type(problem).__name__, first_line(problem)
    return name if line == name else f"{name}: {line}"
