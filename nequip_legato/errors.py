"""The errors that users see."""

__all__ = ["LegatoError", "ValueLegatoError"]


class LegatoError(Exception):
    """Something a user can put right: one line that names the cause and the remedy."""


class ValueLegatoError(LegatoError, ValueError):
    """A setting or an argument has a value that it cannot have.

    Its name ends as that of its base, so that who looks for ``LegatoError`` in a log finds both.
    """
