"""Showing the progress of a campaign."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from nequip_legato.stability.run.status import Status

__all__ = ["Display", "show_progress"]

_QUIET = 30.0  # seconds between lines without a terminal


class Display:
    """A progress bar on a terminal; elsewhere a line every half minute.

    Args:
        progress: rich's bar; None for lines.
    """

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None, news="") if progress else None
        self._last = -_QUIET

    def watch(self, status: Status) -> None:
        """Show the status."""
        if self._progress is not None and self._task is not None:
            done = len(status.records)
            self._progress.update(
                self._task, total=status.total, completed=done, news=_news(status)
            )
        elif time.monotonic() - self._last >= _QUIET:
            self._last = time.monotonic()
            self.report(self.summary(status))

    def report(self, line: str) -> None:
        """Show a message of one line."""
        if self._progress is not None:
            self._progress.console.print(line, markup=False, highlight=False)
        else:
            print(line, flush=True)

    @staticmethod
    def summary(status: Status) -> str:
        """The status in one line."""
        return f"{len(status.records)} of {status.total} runs done, {_news(status)}"


def _news(status: Status) -> str:
    parts = [f"{status.failed} failed", f"{status.censored} censored"]
    if status.running:
        parts.append(f"{len(status.running)} running")
    if status.interrupted:
        parts.append(f"{len(status.interrupted)} interrupted")
    left = status.seconds_left
    if left:
        parts.append(f"about {timedelta(seconds=round(left))} left")
    return ", ".join(parts)


@contextmanager
def show_progress() -> Iterator[Display]:
    """A display while a campaign runs."""
    if not sys.stderr.isatty():
        yield Display(None)
        return
    columns = (
        BarColumn(bar_width=16),  # fits into 80 columns with the rest
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[news]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield Display(progress)
