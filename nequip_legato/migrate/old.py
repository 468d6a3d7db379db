"""Reading an old configuration, and recording what becomes of every key."""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import yaml

from nequip_legato.errors import LegatoError

__all__ = ["OldConfig", "read_old"]

_MISSING = object()


class OldConfig:
    """An old configuration that records which keys are used and which have no counterpart.

    Args:
        values: the configuration.
        name: its name in messages.

    Attributes:
        used: keys that were used.
        without: key or part of a key without counterpart -> reason.
        assumed: what was assumed or had to change.
    """

    def __init__(self, values: dict[str, Any], *, name: str) -> None:
        self.name = name
        self.used: set[str] = set()
        self.without: dict[str, str] = {}
        self.assumed: list[str] = []
        self._values = values

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def keys(self) -> list[str]:
        """All keys, in the order of the file."""
        return list(self._values)

    def peek(self, key: str, default: Any = None) -> Any:
        """The value, without recording it as used."""
        return self._values.get(key, default)

    def drop(self, key: str, reason: str) -> None:
        """Record that a key has no counterpart, if the file has it."""
        if key in self._values:
            self.used.discard(key)
            self.without[key] = reason

    def drop_part(self, key: str, reason: str) -> None:
        """Record that a part of a used key has no counterpart, e.g. ``loss_coeffs.virial``."""
        self.without[key] = reason

    def take(self, *names: str, default: Any = _MISSING, why: str = "") -> Any:
        """The value of the first of ``names`` that the file has; it overrides the others.

        Without any of them ``default``, which is recorded as assumed if ``why`` is given.

        Raises:
            LegatoError: if there is neither a value nor a default.
        """
        present = [name for name in names if name in self._values]
        for other in present[1:]:
            if other not in self.used:
                self.drop(other, f"'{present[0]}' overrides it")
        if present:
            self.used.add(present[0])
            return self._values[present[0]]
        if default is _MISSING:
            raise LegatoError(f"{self.name} has no '{names[0]}', which {why or 'is needed'}")
        if why:
            self.assumed.append(f"{names[0]}: {_short(default)} ({why})")
        return default

    def number(self, *names: str, **options: Any) -> float | None:
        """A number, or None if the file or the default is null."""
        value = self.take(*names, **options)
        if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
            return value
        try:  # YAML 1.1 reads 1e-5 as a text
            return float(value)
        except (TypeError, ValueError):
            raise self.wrong(names, value, "a number") from None

    def integer(self, *names: str, least: int = 0, **options: Any) -> int:
        """An integer, at least ``least``."""
        value = self.number(*names, **options)
        if value is None or int(value) != value or value < least:
            raise self.wrong(names, value, f"a whole number from {least} on")
        return int(value)

    def switch(self, *names: str, **options: Any) -> bool:
        """True or false."""
        value = self.take(*names, **options)
        if not isinstance(value, bool):
            raise self.wrong(names, value, "true or false")
        return value

    def text(self, *names: str, **options: Any) -> str:
        """A text that is not empty."""
        value = self.take(*names, **options)
        if not isinstance(value, str) or not value:
            raise self.wrong(names, value, "a text")
        return value

    def mapping(self, *names: str, **options: Any) -> dict[str, Any]:
        """A mapping; null is an empty one."""
        value = self.take(*names, **options)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.wrong(names, value, "a mapping of keys to values")
        return value

    def integers(self, *names: str, least: int = 1, **options: Any) -> list[int]:
        """A list of integers."""
        value = self.take(*names, **options)
        whole = isinstance(value, list) and all(
            isinstance(v, int) and not isinstance(v, bool) and v >= least for v in value
        )
        if not whole:
            raise self.wrong(names, value, f"a list of whole numbers from {least} on")
        return value

    def wrong(self, names: Sequence[str], value: Any, wanted: str) -> LegatoError:
        """The error for an invalid value.

        Args:
            names: names of the key; the first one that the file has is named.
            value: the value.
            wanted: what it has to be, in words.
        """
        name = next((n for n in names if n in self._values), names[0])
        return LegatoError(f"{self.name}: '{name}' is {_short(value)}, not {wanted}")


def read_old(path: Path) -> OldConfig:
    """Read an old configuration; nothing in it is executed.

    Raises:
        LegatoError: if it is not a readable YAML mapping, or not an old configuration.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        cause = getattr(problem, "strerror", None) or "it is not a text file"
        raise LegatoError(f"cannot read {path}: {cause}") from problem
    try:
        values = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as problem:
        words = " ".join(str(problem).split())
        raise LegatoError(f"{path} is not valid YAML: {words}") from problem
    if not isinstance(values, dict) or not values:
        raise LegatoError(f"{path} is not a nequip configuration: it has no keys")
    if "training_module" in values:
        raise LegatoError(f"{path} is already a configuration for today's nequip-train")
    values = {str(key): value for key, value in values.items()}
    return OldConfig(values, name=path.name)


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Safe loader with the one Python tag of nequip's examples; refuses duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.YAMLError(f"'{key.value}' occurs twice (line {key.start_mark.line + 1})")
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


_Loader.add_constructor(
    "tag:yaml.org,2002:python/tuple", lambda loader, node: loader.construct_sequence(node)
)


def _short(value: Any) -> str:
    text = {None: "null", True: "true", False: "false"}.get(value) if _plain(value) else None
    text = str(value) if text is None else text
    return text if len(text) <= 60 else f"{text[:57]}..."


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, bool)
