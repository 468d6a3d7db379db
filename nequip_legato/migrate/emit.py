"""Writing a configuration as YAML with comments."""

from collections.abc import Mapping
from typing import Any

import yaml

__all__ = ["to_yaml"]

_WIDTH = 96


def to_yaml(config: Mapping[str, Any], comments: Mapping[str, str]) -> str:
    """The configuration as YAML text.

    Args:
        config: mappings, lists and plain values.
        comments: dotted path of a key (list items by their number) -> comment above it. Top-level
            sections are separated by blank lines.
    """
    lines: list[str] = []
    for key, value in config.items():
        if lines and (isinstance(value, (dict, list)) or key in comments):
            lines.append("")
        _item(lines, key, value, indent="", path=key, comments=comments)
    return "\n".join(lines).lstrip("\n") + "\n"


def _item(
    lines: list[str], key: str, value: Any, *, indent: str, path: str, comments: Mapping[str, str]
) -> None:
    if path in comments:
        lines.append(f"{indent}# {comments[path]}")
    if not _nested(value):
        lines.append(f"{indent}{_scalar(key)}: {_scalar(value)}")
        return
    lines.append(f"{indent}{_scalar(key)}:")
    _inside(lines, value, indent=indent + "  ", path=path, comments=comments)


def _inside(
    lines: list[str], value: Any, *, indent: str, path: str, comments: Mapping[str, str]
) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _item(lines, key, inner, indent=indent, path=f"{path}.{key}", comments=comments)
        return
    for number, inner in enumerate(value):
        where = f"{path}.{number}"
        if where in comments:
            lines.append(f"{indent}# {comments[where]}")
        if not _nested(inner):
            lines.append(f"{indent}- {_scalar(inner)}")
            continue
        begin = len(lines)
        _inside(lines, inner, indent=indent + "  ", path=where, comments=comments)
        first = next(k for k in range(begin, len(lines)) if not lines[k].lstrip().startswith("#"))
        lines[first] = f"{indent}- {lines[first][len(indent) + 2 :]}"


def _nested(value: Any) -> bool:
    """Whether a value takes lines of its own: all but plain values and short lists of them."""
    if isinstance(value, dict):
        return bool(value)
    if isinstance(value, list) and value:
        return any(isinstance(v, (dict, list)) for v in value) or len(_scalar(value)) > _WIDTH
    return False


def _scalar(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10**9, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
