"""Importing names of a package when they are first used, because torch and nequip are heavy."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazy_names"]


def lazy_names(
    package: str, origins: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` for a package.

    Args:
        package: its ``__name__``.
        origins: public name -> module that defines it.
    """

    def get(name: str) -> Any:
        if name in origins:
            return getattr(import_module(origins[name]), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *origins})

    return get, names
