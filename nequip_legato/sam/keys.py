"""The keys of a method: its keyword arguments, and one line for an unknown key."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from nequip_legato.errors import LegatoError

__all__ = ["keys_of", "refuses_unknown_keys"]

S = TypeVar("S")
P = ParamSpec("P")


def refuses_unknown_keys(
    initialize: Callable[Concatenate[S, P], None],
) -> Callable[Concatenate[S, P], None]:
    """Decorate an ``__init__``: an unknown keyword is a `LegatoError` that lists the known ones.

    Python's own error names neither the known keys nor a remedy. The signature stays that of
    ``__init__``.
    """
    known = tuple(_keywords(initialize))

    @functools.wraps(initialize)
    def checked(self: S, /, *args: P.args, **keys: P.kwargs) -> None:
        unknown = ", ".join(repr(key) for key in keys if key not in known)
        if unknown:
            raise LegatoError(
                f"{type(self).__name__} has no key {unknown}; the known ones are {', '.join(known)}"
            )
        initialize(self, *args, **keys)

    return checked


def keys_of(kind: type) -> tuple[str, ...]:
    """Keyword arguments of a class and of those that it inherits from, its own first."""
    found: dict[str, None] = {}
    for base in kind.__mro__:
        initialize = vars(base).get("__init__")
        if inspect.isfunction(initialize):
            found |= dict.fromkeys(_keywords(initialize))
    return tuple(found)


def _keywords(function: Callable[..., Any]) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
