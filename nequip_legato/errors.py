"""The error that users see."""

__all__ = ["LegatoError"]


class LegatoError(Exception):
    """Something a user can put right: one line that names the cause and the remedy."""
