"""Runs that end early without an error message: killed, or crashing at the same place."""

import json
from pathlib import Path

from nequip_legato.errors import LegatoError
from nequip_legato.files import write_atomically
from nequip_legato.stability import trace
from nequip_legato.stability.run.processes import SCREEN

__all__ = ["EARLY_ENDS", "note_early_end", "note_end"]

EARLY_ENDS = "early_ends.json"
"""Steps reached by processes that ended without an error message."""

_TRIES = 3


def note_end(folder: Path) -> None:
    """Keep the trace of a process that ended early, and record the step that it reached."""
    trace.keep(folder)
    note_early_end(folder, trace.last_step(folder))


def note_early_end(folder: Path, step: int) -> None:
    """Record where LAMMPS ended; a crash, unlike a kill, recurs at the same place.

    Args:
        folder: the run's.
        step: the last step that is known to be done.

    Raises:
        LegatoError: if several tries in a row got no further. The count then starts again.
    """
    path = folder / EARLY_ENDS
    reached = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    if reached and step > max(reached):
        reached = []
    reached.append(step)
    if len(reached) < _TRIES:
        write_atomically(path, json.dumps(reached))
        return
    path.unlink(missing_ok=True)
    raise LegatoError(
        f"LAMMPS has ended {_TRIES} times without an error message, at step {max(reached)} or "
        f"before, in {folder}: it crashes or runs out of memory; see {SCREEN} there"
    )
