"""Selecting the parameters that are moved, by their names."""

import re
from collections.abc import Iterable, Sequence

from torch import nn

from nequip_legato.errors import LegatoError, ValueLegatoError

__all__ = ["Selection"]


class Selection:
    """Parameters whose name matches one regular expression and not another.

    Expressions are searched in the names, as by :func:`re.search`; ``^`` and ``$`` anchor them at
    beginning and end.

    Args:
        include: regular expression of names to include; None for all.
        exclude: regular expression of names to exclude; None for nothing.

    Raises:
        ValueLegatoError: for something that is not a regular expression.
    """

    def __init__(self, include: str | None, exclude: str | None) -> None:
        self._include = _compiled("include", include)
        self._exclude = _compiled("exclude", exclude)
        self._chosen: set[int] | None = None

    def choose(self, named: Iterable[tuple[str, nn.Parameter]]) -> None:
        """Select among a module's named parameters.

        Raises:
            LegatoError: if no parameter is left.
        """
        named = list(named)
        kept = [parameter for name, parameter in named if self._keeps(name)]
        if named and not kept:
            raise LegatoError(
                "SAM: include and exclude leave no parameter of the model; its names look like "
                + ", ".join(name for name, _ in named[:3])
            )
        everything = self._include is None and self._exclude is None
        # By identity: comparing tensors compares their entries.
        self._chosen = None if everything else {id(parameter) for parameter in kept}

    def __call__(self, parameters: Sequence[nn.Parameter]) -> list[nn.Parameter]:
        """Those of ``parameters`` that are chosen, in their order."""
        if self._chosen is None:
            return list(parameters)
        return [p for p in parameters if id(p) in self._chosen]

    def _keeps(self, name: str) -> bool:
        included = self._include is None or self._include.search(name)
        excluded = self._exclude is not None and self._exclude.search(name)
        return bool(included) and not excluded


def _compiled(key: str, expression: str | None) -> re.Pattern[str] | None:
    if expression is None:
        return None
    if not isinstance(expression, str):
        raise ValueLegatoError(f"SAM: {key} must be a regular expression, not {expression!r}")
    try:
        return re.compile(expression)
    except re.error as error:
        raise ValueLegatoError(
            f"SAM: {key} is not a regular expression: {expression!r} ({error})"
        ) from error
