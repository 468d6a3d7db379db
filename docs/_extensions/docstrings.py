"""What docstrings and signatures look like in the site.

Docstrings are plain text for the terminal, too: units and powers are ASCII, and other pages are
paths of files. In the site the former are symbols and the latter links.
"""

import re
from typing import Any

from sphinx.application import Sphinx

__all__ = ["setup", "with_symbols"]

_LITERAL = re.compile(r"(``[^`]+``|`[^`]+`)")
_ARRAY = re.compile(r"ndarray\[tuple\[[\w.~]*Any, \.\.\.\], [\w.~]*dtype\[([\w.~]+)\]\]")
_POWERS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def with_symbols(text: str) -> str:
    """Units and powers as symbols, outside of literals: ``eV/Angstrom^2`` becomes eV/Å²."""
    parts = _LITERAL.split(text)
    for number in range(0, len(parts), 2):
        part = re.sub(r"\bAngstrom\b|(?<=\beV/)A\b", "Å", parts[number])
        parts[number] = re.sub(r"(?<=\w)\^(-?\d+)", lambda m: m[1].translate(_POWERS), part)
    return "".join(parts)


def _docstring(*event: Any) -> None:
    lines: list[str] = event[-1]
    text = re.sub(r"\bdocs/(\w+)\.md\b", r":doc:`/\1`", "\n".join(lines))
    # Full names are for the terminal; a link shows the last part.
    text = re.sub(r"(?<![`:~])`(nequip_legato\.[\w.]+)`(?!`)", r"`~\1`", text)
    lines[:] = with_symbols(text).split("\n")


def _signature(*event: Any) -> tuple[str | None, str | None]:
    signature, returned = event[-2:]
    return signature and _short(signature), returned and _short(returned)


def _short(text: str) -> str:
    """Name arrays by the type of their elements, and show a default that is an object as `...`.

    Such a default has no Python syntax: autodoc could not parse the signature, and would write all
    of it on one line.
    """
    text = _ARRAY.sub(r"ndarray[\1]", text)
    return re.sub(r"<(?:[^<>]|<[^<>]*>)*>", "...", text)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("autodoc-process-docstring", _docstring)
    app.connect("autodoc-process-signature", _signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
