"""Sharing torch's C++ library with the compiled models of a Python process."""

import contextlib
import ctypes
import os
import sys

__all__ = ["share_standard_library"]


def share_standard_library() -> None:
    """Let models that are loaded from now on use the C++ library that torch has loaded.

    Some compilers put a copy of that library into everything that they make, compiled models
    among them. In LAMMPS the shared one comes first, because the program itself needs it. Python
    does not need it, so that such a model would use its own copy beside torch's, and hang or crash
    as soon as one formats a number for the other.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError):  # torch has another one, or none
        ctypes.CDLL("libstdc++.so.6", mode=os.RTLD_NOLOAD | os.RTLD_NOW | os.RTLD_GLOBAL)
