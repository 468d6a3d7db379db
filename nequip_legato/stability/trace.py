"""``trace.csv``: temperature, energy, largest force and closest pair of a run over its steps."""

from pathlib import Path

from nequip_legato.files import write_atomically
from nequip_legato.stability.run.inputs import TRACE_PART

__all__ = ["TRACE", "keep", "last_step"]

TRACE = "trace.csv"


def keep(folder: Path) -> None:
    """Append what LAMMPS has written to ``trace.csv``.

    A run that continues from a restart file repeats steps of an earlier process; the later rows
    count.
    """
    part = folder / TRACE_PART
    if not part.is_file():
        return
    header, new = _rows(part)
    if new:
        path = folder / TRACE
        old = _rows(path)[1] if path.is_file() else []
        first = _step(new[0])
        rows = [row for row in old if _step(row) < first] + new
        # LAMMPS prints the step of each restart file twice.
        rows = list({_step(row): row for row in rows}.values())
        write_atomically(path, "\n".join([header, *rows]) + "\n")
    part.unlink()


def last_step(folder: Path) -> int:
    """The last step in ``trace.csv``; 0 if there is none."""
    path = folder / TRACE
    rows = _rows(path)[1] if path.is_file() else []
    return _step(rows[-1]) if rows else 0


def _rows(path: Path) -> tuple[str, list[str]]:
    header, *rows = path.read_text(encoding="utf-8", errors="replace").split("\n") or [""]
    columns = header.count(",")
    # The last row may be incomplete if the process was killed.
    whole = [row for row in rows[:-1] if row.count(",") == columns]
    return header, [row for row in whole if row.partition(",")[0].isdigit()]


def _step(row: str) -> int:
    return int(row.partition(",")[0])
