"""Tables of keys, from what the program itself knows: ``{keys} nequip_legato.SAM``.

Names, types and defaults come from the dataclass or from the signature, meanings from the docstring
(``Attributes`` or ``Args``). A key without a meaning, or a meaning without a key, is an error.
"""

import dataclasses
import inspect
import re
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from docstrings import with_symbols
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

__all__ = ["keys_of", "setup"]

SEE_BELOW = "see below"
_SECTION = re.compile(r"^(?:Args|Attributes):\n((?:    .*\n|\n)+)", re.MULTILINE)
_ENTRY = re.compile(r"^    (\w+): ((?:.*\n)(?:      +.*\n|\n(?=      ))*)", re.MULTILINE)


def keys_of(kind: type) -> list[tuple[str, str, str, str]]:
    """Name, type, default and meaning of each key.

    Args:
        kind: a dataclass, or a class whose ``__init__`` takes keywords.

    Raises:
        ValueError: if the docstring does not describe exactly the keys that there are.
    """
    section = _SECTION.search(inspect.getdoc(kind) + "\n")
    meanings = {} if section is None else dict(_ENTRY.findall(section[1]))
    known = _fields(kind) if dataclasses.is_dataclass(kind) else _parameters(kind)
    if set(meanings) != {name for name, _, _ in known}:
        names = sorted(set(meanings) ^ {name for name, _, _ in known})
        raise ValueError(f"docstring and keys of {kind.__name__} differ: {', '.join(names)}")
    return [(*key, _meaning(meanings[key[0]], kind, key[0])) for key in known]


def _meaning(text: str, kind: type, key: str) -> str:
    """On one line; that of another public class where it refers to it."""
    other = re.match(r"as for :class:`(?:~?[\w.]*\.)?(\w+)`", text)
    if other is not None:
        package = import_module(kind.__module__.partition(".")[0])
        rows = keys_of(getattr(package, other[1]))
        return next(meaning for name, _, _, meaning in rows if name == key)
    text = re.sub(r":\w+:`~?([^`]*)`", r"`\1`", " ".join(text.split()))
    text = re.sub(r"\bdocs/(\w+)\.md\b", r"[](/\1.md)", text)
    return with_symbols(re.sub(r"\bNone\b", "`null`", text))


def _fields(kind: type) -> list[tuple[str, str, str]]:
    found = []
    for field in dataclasses.fields(kind):
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        words = field.metadata.get("words", {})  # what YAML files may say instead of a number
        word = next((word for word, value in words.items() if value == default), None)
        missing = default is dataclasses.MISSING
        shown = "" if missing else word or _value(default)
        found.append((field.name, _type(field.type, words), shown))
    return found


def _parameters(kind: type) -> list[tuple[str, str, str]]:
    found = []
    for parameter in inspect.signature(kind).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            missing = parameter.default is parameter.empty
            default = "" if missing else _value(parameter.default)
            found.append((parameter.name, _type(parameter.annotation), default))
    return found


def _type(annotation: Any, words: Iterable[str] = ()) -> str:
    """As YAML has it: a tuple is a list there."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    text = re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Z])", "", text)
    text = re.sub(r"\btuple\[(\w+), \.\.\.\]", r"list[\1]", text)
    text = " | ".join([text.removesuffix(" | None"), *words]) if words else text
    return re.sub(r"\bNone\b", "null", text)


def _value(value: Any) -> str:
    """As YAML has it."""
    if value is None:
        return "null"
    if value == "":
        return '""'
    if isinstance(value, bool):
        return str(value).lower()
    if dataclasses.is_dataclass(value):
        return SEE_BELOW
    if isinstance(value, list | tuple):
        if any(dataclasses.is_dataclass(item) for item in value):
            return SEE_BELOW
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{}" if not value else str(value)
    return str(value)


class Keys(SphinxDirective):
    """``{keys} module.Class``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The table."""
        module, _, name = self.arguments[0].rpartition(".")
        rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
        for key, kind, default, meaning in keys_of(getattr(import_module(module), name)):
            shown = f"`{default}`" if default else "required"
            shown = SEE_BELOW if default == SEE_BELOW else shown
            first = meaning.split()[0].strip(",;:")
            if len(first) > 1 and first.isalpha() and first.islower():  # not a quantity or a unit
                meaning = meaning[0].upper() + meaning[1:]
            cells = (f"`{key}`", f"`{kind}`", shown, meaning)
            rows.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
        container = nodes.container(classes=["keys"])
        self.state.nested_parse(StringList(rows, source=self.arguments[0]), 0, container)
        return [container]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("keys", Keys)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
