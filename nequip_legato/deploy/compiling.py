"""What compiling a model needs around it: variables of the environment, and room on the disk."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from nequip_legato.errors import LegatoError

__all__ = ["environment_variable", "full_disk"]


@contextmanager
def environment_variable(name: str, value: str) -> Iterator[None]:
    """A variable of this process and of what it starts, until the end."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def full_disk(text: str) -> LegatoError | None:
    """The error to raise if a compiler's words mean that it had no room; otherwise None."""
    if "No space left" not in text and "File too large" not in text:
        return None
    return LegatoError(
        f"the disk of the temporary folder {tempfile.gettempdir()}, where AOTInductor "
        "compiles, is full; make room, or set TMPDIR to another folder"
    )
