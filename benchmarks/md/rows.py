"""Rows of raw measurements: grouped, picked, and compared repeat by repeat."""

from collections.abc import Iterable
from statistics import median

__all__ = ["OTHERS", "groups", "per_atom", "pick", "ratio", "undisturbed"]

OTHERS = 0.15
"""Cores that other programs may take while more than one thread or rank is measured."""


def _key(row: dict, names: Iterable[str]) -> tuple:
    return tuple(row.get(name) for name in names)


def groups(rows: list[dict], names: tuple[str, ...]) -> dict[tuple, list[dict]]:
    """Rows by what they have in these columns."""
    found: dict[tuple, list[dict]] = {}
    for row in rows:
        found.setdefault(_key(row, names), []).append(row)
    return found


def undisturbed(rows: list[dict]) -> list[dict]:
    """Rows during which other programs hardly used the cores, as two threads or ranks need."""
    return [row for row in rows if row.get("others", 1.0) < OTHERS]


def per_atom(rows: list[dict], clock: str) -> float:
    """Median time per atom, microseconds, by the clock ``cpu`` or ``wall``."""
    return 1e6 * median(row[clock] / row["atoms"] for row in rows)


def pick(rows: list[dict], **wanted) -> list[dict]:
    """Rows with these values."""
    return [row for row in rows if all(row.get(k) == v for k, v in wanted.items())]


def ratio(above: list[dict], below: list[dict], clock: str) -> float | None:
    """Median over repeats of (time per atom above) / (time per atom below)."""
    other = {row["repeat"]: row for row in below}
    pairs = [(row, other[row["repeat"]]) for row in above if row["repeat"] in other]
    values = [a[clock] / a["atoms"] / (b[clock] / b["atoms"]) for a, b in pairs if b[clock] > 0]
    return median(values) if values else None
