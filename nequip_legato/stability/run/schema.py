"""YAML files as frozen dataclasses: types, words such as ``off``, unknown keys.

A schema is a frozen dataclass, whose docstring documents its keys. Sequences are tuples.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, Field, field, fields, is_dataclass, make_dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nequip_legato.errors import LegatoError, ValueLegatoError, first_line

__all__ = [
    "AUTO",
    "OFF",
    "as_settings",
    "check_changes",
    "existing_file",
    "load_checked",
    "local_path",
    "number_or_word",
    "parse_settings",
    "placed",
    "read_settings",
    "require",
    "structure_path",
    "without",
]

AUTO, OFF = "auto", "off"

Schema = TypeVar("Schema")


def number_or_word(
    default: Any, words: Mapping[str, Any], *, old: Mapping[Any, str] | None = None
) -> Any:
    """A dataclass field that takes a number or one of a few words.

    Args:
        default: its value if it is not given.
        words: word of the YAML file -> the field's value.
        old: former value (``None`` or 0) -> the word that has replaced it.
    """
    return field(default=default, metadata={"words": dict(words), "old": dict(old or {})})


def require(condition: bool, problem: str) -> None:
    """Raise a `ValueLegatoError` unless the condition holds."""
    if not condition:
        raise ValueLegatoError(problem)


@contextmanager
def placed(before: str, after: str = "") -> Iterator[None]:
    """What a `LegatoError` says inside gets the place of the setting that it is about."""
    try:
        yield
    except LegatoError as problem:
        start = f"{before}: " if before else ""
        raise type(problem)(f"{start}{problem}{after}") from problem.__cause__


def local_path(path: str) -> str:
    """A path from a YAML file (UTF-8) as Python spells it in this locale."""
    return os.fsdecode(path.encode(errors="surrogateescape"))


def existing_file(path: Path, what: str) -> Path:
    """The path of a file that exists; else raises a `LegatoError` that names ``what``."""
    if not path.is_file():
        raise LegatoError(f"{what}: the file {path} does not exist")
    return path


def structure_path(base: Path, path: str, what: str) -> str:
    """``file`` or ``file@index`` as an absolute path; a `LegatoError` if there is no such file."""
    path = local_path(path)
    name, at, index = path.rpartition("@")
    if at and not (base / path).exists():
        return f"{existing_file(base / name, what)}@{index}"
    return str(existing_file(base / path, what))


def read_settings(path: Path, kind: type[Schema], *, docs: str) -> Schema:
    """A YAML file as an object of a schema.

    Args:
        path: the file, which exists.
        kind: the schema.
        docs: the page that describes it.

    Raises:
        LegatoError: if it is not YAML, has unknown keys or values of another type.
    """
    try:
        content = OmegaConf.load(path)
        if not isinstance(OmegaConf.to_container(content), Mapping):
            raise LegatoError(f"{path} is not a mapping of settings; see {docs}")
    except OmegaConfBaseException as problem:
        raise LegatoError(f"{path}: {_message(problem)}{_where(problem)}") from problem
    except Exception as problem:
        if isinstance(problem, LegatoError):
            raise
        raise LegatoError(f"{path} is not a YAML file ({_message(problem)})") from problem
    return parse_settings(content, kind, path)


def load_checked(
    path: Path,
    kind: type[Schema],
    check: Callable[[Schema], None],
    *,
    docs: str,
    what: str = "a campaign's YAML file",
) -> Schema:
    """A YAML file as an object of a schema that has passed a check.

    Args:
        path: the file.
        kind: the schema.
        check: raises a `LegatoError` for values that are impossible.
        docs: the page that describes it.
        what: what is to be given if there is no such file.

    Raises:
        LegatoError: if the file is missing, is not YAML, has unknown keys or impossible values.
    """
    if not path.is_file():
        raise LegatoError(f"{path} does not exist; give {what}")
    settings = read_settings(path, kind, docs=docs)
    with placed(str(path)):
        check(settings)
    return settings


def parse_settings(content: Any, kind: type[Schema], path: Path) -> Schema:
    """A mapping of settings as an object of a schema.

    Args:
        content: the mapping.
        kind: the schema.
        path: the file that they come from, for messages.

    Raises:
        LegatoError: if there are unknown keys or values of another type.
    """
    with placed(str(path)):
        return as_settings(content, kind)


def as_settings(content: Any, kind: type[Schema]) -> Schema:
    """The same for a mapping that comes from no file of its own."""
    with _one_line():
        found = OmegaConf.to_object(_merged(content, kind))
    return _frozen(found, kind, "")


def check_changes(content: Any, kind: type[Schema], place: str) -> None:
    """Refuse unknown keys and values of another type in a mapping of changes of settings.

    Args:
        content: the mapping; keys that the schema requires may be missing.
        kind: the schema of the settings that it changes.
        place: its key in the YAML file, for messages.

    Raises:
        LegatoError: if there is one.
    """
    with placed(place), _one_line():
        _merged(content, kind)


@cache
def without(kind: Any, *keys: str) -> type:
    """A schema with all keys of another one but some."""
    hints = get_type_hints(kind)
    kept = [one for one in fields(kind) if one.name not in keys]
    return make_dataclass(
        kind.__name__,
        [(one.name, hints[one.name], _copied(one)) for one in kept],
        frozen=True,
    )


def _copied(one: "Field[Any]") -> Any:
    if one.default_factory is not MISSING:
        return field(default_factory=one.default_factory, metadata=one.metadata)
    return field(default=one.default, metadata=one.metadata)


def _merged(content: Any, kind: Any) -> Any:
    """The defaults of a schema, changed by a mapping."""
    plain = OmegaConf.to_container(OmegaConf.create(content))
    return OmegaConf.merge(OmegaConf.structured(_mutable(kind)), _without_words(plain, kind, ""))


@contextmanager
def _one_line() -> Iterator[None]:
    """What OmegaConf refuses is a `LegatoError`."""
    try:
        yield
    except OmegaConfBaseException as problem:
        raise LegatoError(f"{_message(problem)}{_where(problem)}") from problem


def _message(problem: Exception) -> str:
    return first_line(problem).replace("'???'", "missing")


def _where(problem: OmegaConfBaseException) -> str:
    key = getattr(problem, "full_key", None)
    place = f" (key '{key}')" if key else ""
    kind = getattr(problem, "object_type", None)
    if not (_is_schema(kind) and "not in" in str(problem)):
        return place
    known = [one.name for one in fields(cast(Any, kind))]
    near = get_close_matches(str(problem.key), known, n=1)
    guess = f"; did you mean '{near[0]}'? Known" if near else "; known"
    return f"{place}{guess} are: {' '.join(known)}"


def _without_words(content: Any, kind: Any, place: str) -> Any:
    """The mapping with the words of each `number_or_word` field replaced by their values."""
    inner = _item(kind)
    if _is_schema(inner) and isinstance(content, list):
        return [_without_words(entry, inner, f"{place}[{n}]") for n, entry in enumerate(content)]
    if not (_is_schema(kind) and isinstance(content, dict)):
        return content
    result, hints = dict(content), get_type_hints(kind)
    for one in fields(kind):
        if one.name in content:
            name = f"{place}.{one.name}" if place else one.name
            change = _number if "words" in one.metadata else _without_words
            hint = one if "words" in one.metadata else hints[one.name]
            result[one.name] = change(content[one.name], hint, name)
    return result


def _number(entry: Any, one: "Field[Any]", name: str) -> Any:
    words, old = one.metadata["words"], one.metadata["old"]
    if isinstance(entry, bool):  # YAML 1.1 reads a bare off as false, and on as true
        entry = "on" if entry else OFF
    value = entry
    if isinstance(entry, str) and "${" not in entry:
        word = entry.strip().lower()
        if word in words:
            return words[word]
        try:
            value = float(word)
        except ValueError:
            listed = " nor ".join(words)
            raise ValueLegatoError(f"{name}: '{entry}' is neither a number nor {listed}") from None
    if (value is None or isinstance(value, int | float)) and value in old:
        shown = "null" if value is None else entry
        raise ValueLegatoError(f"{name}: write {old[value]} instead of {shown}")
    return entry


def _is_schema(kind: Any) -> bool:
    return is_dataclass(kind)


def _item(kind: Any) -> Any:
    """X of ``tuple[X, ...]``; None for other types."""
    return get_args(kind)[0] if get_origin(kind) is tuple else None


@cache
def _mutable(kind: Any) -> type:
    """A class with the same keys for OmegaConf, whose objects of frozen classes are read-only."""
    hints = get_type_hints(kind)
    same = []
    for one in fields(kind):
        hint, item = hints[one.name], _item(hints[one.name])
        if item is not None:
            entry: Any = _mutable(item) if _is_schema(item) else item
            hint = list[entry]
        elif _is_schema(hint):
            hint = _mutable(hint)
        same.append((one.name, hint, _thawed_default(one)))
    return make_dataclass(kind.__name__, same)


def _thawed_default(one: "Field[Any]") -> Any:
    made = one.default_factory
    if made is not MISSING:
        return field(default_factory=lambda: _thawed(made()))
    if one.default is not MISSING:
        return field(default_factory=lambda: _thawed(one.default))
    return field()


def _thawed(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_thawed(entry) for entry in value]
    if not _is_schema(value):
        return value
    content = {one.name: _thawed(getattr(value, one.name)) for one in fields(value)}
    kind: Any = type(value)
    return _mutable(kind)(**content)


def _frozen(value: Any, kind: Any, place: str) -> Any:
    item = _item(kind)
    if item is not None:
        require(isinstance(value, list), f"{place}: {value} is not a list")
        return tuple(_frozen(entry, item, f"{place}[{n}]") for n, entry in enumerate(value))
    if not _is_schema(kind):
        # OmegaConf lets lists and mappings pass as entries of a list of plain values.
        good = kind not in (str, int, float) or not isinstance(value, list | dict)
        require(good, f"{place}: {value} is not a single value")
        return value
    hints, before = get_type_hints(kind), f"{place}." if place else ""
    content = {k: _frozen(getattr(value, k), hint, before + k) for k, hint in hints.items()}
    return kind(**content)
