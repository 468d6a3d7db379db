"""The runs of a campaign that are left, taken one by one by the workers of this process."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from nequip_legato.errors import LegatoError
from nequip_legato.stability.records import Record, read_record, read_records
from nequip_legato.stability.run.plan import Start, check_fingerprints
from nequip_legato.stability.run.planned import CampaignPlan
from nequip_legato.stability.run.processes import KilledError, Processes
from nequip_legato.stability.run.run_folder import LOCK
from nequip_legato.stability.run.status import Status

__all__ = ["CampaignKind", "RunQueue"]

_POLL = 1.0  # seconds between checks of what other processes are doing


@dataclass(frozen=True)
class CampaignKind:
    """What is special to a kind of campaign.

    Attributes:
        action: ``nequip-legato ACTION run`` runs it.
        load: (YAML file) -> checked, complete settings.
        plan: (settings) -> all runs.
        commands: (plan) -> the commands of what is left to do, one per line.
        record: class of its records.
        execute: (plan, run, processes) -> record; does the run or the rest of it.
        start: (plan, start, processes) -> None; makes the start structure ``run.start``. None for
            campaigns whose runs need no equilibrated start structure.
    """

    action: str
    load: Callable[[Path], Any]
    plan: Callable[[Any], CampaignPlan]
    commands: Callable[[Any], str]
    record: type[Record]
    execute: Callable[[Any, Any, Processes], Record]
    start: Callable[[Any, Start, Processes], None] | None = None


class RunQueue:
    """The runs that are left and the status, shared by the workers of one process."""

    def __init__(
        self,
        plan: CampaignPlan,
        kind: CampaignKind,
        workers: int,
        watch: Callable[[Status], None],
        report: Callable[[str], None],
    ) -> None:
        self.plan = plan
        self.kind = kind
        self.processes = Processes()
        self.error: LegatoError | None = None
        self._watch = watch
        self._report = report
        self._lock = threading.RLock()
        planned = {run.name for run in plan.runs}
        there = read_records(plan.folder, kind.record) if plan.folder.is_dir() else []
        known = {record.run: record for record in there if record.run in planned}
        check_fingerprints(known, plan.runs)
        self.status = Status(len(plan.runs), workers, records=list(known.values()))
        self._pending = {run.name: run for run in plan.runs if run.name not in known}
        self._count_remaining()

    def loop(self) -> None:
        """Take runs until there are none left for this process."""
        while self.error is None and not self.processes.stopped:
            try:
                if not self._step():
                    return
            except KilledError:
                continue
            except (LegatoError, OSError) as raised:
                problem = raised if isinstance(raised, LegatoError) else _as_error(raised)
                with self._lock:
                    self.error = self.error or problem
                if self.status.running:  # runs of other workers are finished, which takes time
                    self._report(f"no more runs are started: {problem}")

    def _step(self) -> bool:
        """Do one run, or wait for a start structure; False if nothing is left to do."""
        blocked = False
        for run in self._candidates():
            ready = self.kind.start is None or self._prepare(run.start)
            if not ready:
                blocked = True  # another process is making the start structure
                continue
            with self._claim(run.folder / LOCK) as mine:
                if not mine:
                    continue
                self._do(run)
                (run.folder / LOCK).unlink(missing_ok=True)
            return True
        if blocked and not self.processes.stopped:
            time.sleep(_POLL)
            return True
        return False

    def _candidates(self) -> list[Any]:
        with self._lock:
            return list(self._pending.values())

    @contextmanager
    def _claim(self, path: Path) -> Iterator[bool]:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def _prepare(self, start: Start) -> bool:
        """Make the start structure unless another process does; whether it is there."""
        if _is_made(start):
            return True
        with self._claim(start.folder / LOCK) as mine:
            if not mine:
                return False
            if not _is_made(start):
                with self._shown(f"equilibrating {start.folder.name}"):
                    self._equilibrate(start)
        return True

    def _equilibrate(self, start: Start) -> None:
        try:
            self.kind.start(self.plan, start, self.processes)  # type: ignore[misc]
        except KilledError:
            if self.processes.stopped:
                raise
            raise LegatoError(
                f"the equilibration in {start.folder} was killed; run the campaign again"
            ) from None

    def _do(self, run: Any) -> None:
        with self._lock:
            if self._pending.pop(run.name, None) is None:
                return
        if run.result.is_file():  # another process has done it in the meantime
            record = read_record(run.result, self.kind.record)
        else:
            try:
                with self._shown(run.name):
                    record = self.kind.execute(self.plan, run, self.processes)
            except KilledError:
                with self._lock:
                    self.status.interrupted.append(run.name)
                    self._count_remaining()
                raise
        with self._lock:
            self.status.records.append(record)
            self._count_remaining()
            self._watch(self.status)

    @contextmanager
    def _shown(self, name: str) -> Iterator[None]:
        with self._lock:
            self.status.running.append(name)
            self._watch(self.status)
        try:
            yield
        finally:
            with self._lock:
                self.status.running.remove(name)
                self._watch(self.status)

    def _count_remaining(self) -> None:
        counts: dict[int, int] = {}
        for run in self._pending.values():
            counts[run.size] = counts.get(run.size, 0) + 1
        self.status.remaining = counts


def _as_error(problem: OSError) -> LegatoError:
    # A full disk, a quota, lost permissions: what has been recorded is still right.
    what = f"{problem.filename}: " if problem.filename else ""
    return LegatoError(
        f"{what}{problem.strerror or problem}; the same command continues afterwards"
    )


def _is_made(start: Start) -> bool:
    """Whether the start structure is there.

    Raises:
        LegatoError: if it was made with other settings.
    """
    if not (start.mark.is_file() and start.data.is_file()):
        return False
    if json.loads(start.mark.read_text(encoding="utf-8")).get("fingerprint") != start.fingerprint:
        raise LegatoError(
            f"{start.folder} was made from another structure, model or settings than the campaign "
            "asks for now; give the campaign another output, or remove that folder"
        )
    return True
