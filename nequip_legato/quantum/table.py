"""A table of a report, and the format of its values."""

from dataclasses import dataclass, field

import numpy as np

from nequip_legato.quantum.blocks import Mean

__all__ = ["Table", "mean_text"]


@dataclass
class Table:
    """A table with its remarks.

    Attributes:
        title: what it shows.
        header: names of the columns.
        rows: cells of each row, as many as there are columns.
        notes: sentences below it.
    """

    title: str
    header: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """The table for a terminal or README."""
        lines = [f"### {self.title}", "", "| " + " | ".join(self.header) + " |"]
        lines.append("| --- |" + " ---: |" * (len(self.header) - 1))
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        return "\n".join([*lines, "", *self.notes, ""])


def mean_text(mean: Mean, digits: int = 4) -> str:
    """A mean with its standard error, rounded to two digits of the error."""
    if not np.isfinite(mean.error):
        return f"{mean.value:.{digits}f} (no error)"
    if mean.error <= 1e-9 * abs(mean.value):  # rounding errors of a constant
        return f"{mean.value:.{digits}f}"
    places = int(np.clip(1 - np.floor(np.log10(mean.error)), 0, 9))
    return f"{mean.value:.{places}f} ± {mean.error:.{places}f}"
