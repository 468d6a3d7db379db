"""Running a campaign: several runs at a time, by one process or several."""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from os import sched_getaffinity
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from nequip_legato.errors import LegatoError
from nequip_legato.files import write_atomically
from nequip_legato.stability.records import Record, read_record, read_records
from nequip_legato.stability.run.execute import equilibrate, execute
from nequip_legato.stability.run.plan import Start, check_fingerprints, make_plan
from nequip_legato.stability.run.processes import KilledError, Processes
from nequip_legato.stability.run.resolve import load_settings
from nequip_legato.stability.run.settings import Settings

__all__ = ["CampaignKind", "Status", "number_of_workers", "run_campaign", "run_plan"]

_POLL = 1.0  # seconds between checks of what other processes are doing


@dataclass(frozen=True)
class CampaignKind:
    """How a kind of campaign does its runs.

    Attributes:
        record: class of its records.
        execute: (plan, run, processes) -> record; does the run or the rest of it.
        start: (plan, start, processes) -> None; makes the start structure ``run.start``. None for
            campaigns whose runs need no equilibrated start structure.
    """

    record: type[Record]
    execute: Callable[[Any, Any, Processes], Record]
    start: Callable[[Any, Start, Processes], None] | None = None


@dataclass
class Status:
    """How far a campaign is.

    Attributes:
        total: number of runs.
        records: the finished ones.
        running: names of what this process is doing.
        interrupted: names of runs whose LAMMPS was killed; another call continues them.
        workers: runs at the same time.
        remaining: size -> number of runs that are not finished and not running in this process.
    """

    total: int
    workers: int
    records: list[Record] = field(default_factory=list)
    running: list[str] = field(default_factory=list)
    interrupted: list[str] = field(default_factory=list)
    remaining: dict[int, int] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Number of runs that failed."""
        return sum(record.failed for record in self.records)

    @property
    def censored(self) -> int:
        """Number of runs that reached their step limit."""
        return len(self.records) - self.failed

    @property
    def seconds_left(self) -> float | None:
        """Estimated time left, s, from the finished runs of each size; None before the first."""
        if not self.records:
            return None
        walls: dict[int, list[float]] = {}
        for record in self.records:
            walls.setdefault(record.size, []).append(record.wall)
        overall = sum(r.wall for r in self.records) / len(self.records)
        mean = {size: sum(w) / len(w) for size, w in walls.items()}
        left = sum(n * mean.get(size, overall) for size, n in self.remaining.items())
        return left / self.workers


def run_campaign(
    settings: Settings | Path,
    *,
    workers: int | None = None,
    part: tuple[int, int] | None = None,
    watch: Callable[[Status], None] = lambda status: None,
    report: Callable[[str], None] = lambda line: None,
) -> Status:
    """Run what is left of a campaign.

    Finished runs are never repeated. Several processes, also on several machines that share the
    folder, may work on one campaign: a lock on each run keeps them apart. On an interrupt (Ctrl-C,
    SIGTERM) all LAMMPS processes are ended; a later call continues.

    Args:
        settings: the campaign, or its YAML file.
        workers: runs at the same time; default: that of the settings.
        part: (k, m): only every m-th run, beginning with the k-th, counted from 1.
        watch: called whenever the status has changed.
        report: called with messages of one line.

    Returns:
        How far the campaign is.

    Raises:
        LegatoError: if settings, models or structure are wrong, if earlier results were made with
            others, or if LAMMPS stopped with an error that is not a failure of a model.
        KeyboardInterrupt: after an interrupt.
    """
    if isinstance(settings, Path):
        settings = load_settings(settings)
    plan = make_plan(settings)
    if part is not None:
        plan = plan.part(*part)
    number = number_of_workers(settings.workers if workers is None else workers, plan.cores)
    return run_plan(plan, _STABILITY, workers=number, watch=watch, report=report)


def run_plan(
    plan: Any,
    kind: CampaignKind,
    *,
    workers: int,
    watch: Callable[[Status], None] = lambda status: None,
    report: Callable[[str], None] = lambda line: None,
) -> Status:
    """Run what is left of a plan of any kind of campaign; see `run_campaign`.

    Args:
        plan: has ``folder``, ``settings`` (a dataclass), and ``runs`` with ``name``, ``folder``,
            ``result``, ``fingerprint``, ``size``, and ``start`` where the kind has one.
        kind: how its runs are done.
        workers: runs at the same time.
        watch: called whenever the status has changed.
        report: called with messages of one line.

    Raises:
        LegatoError: as `run_campaign`.
    """
    work = _Work(plan, kind, workers, watch, report)
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(plan.settings), indent=1) + "\n"
        write_atomically(plan.folder / "settings.json", text)
    except OSError as problem:
        raise LegatoError(
            f"output: cannot write into the folder {plan.folder} ({problem.strerror})"
        ) from problem
    with _interruptible(work.processes), ThreadPoolExecutor(work.status.workers) as pool:
        try:
            futures = [pool.submit(work.loop) for _ in range(work.status.workers)]
            for future in futures:
                future.result()
        except BaseException:
            work.processes.stop()
            raise
    if work.error is not None:
        raise work.error
    return work.status


def number_of_workers(requested: int | None, cores: int) -> int:
    """Number of runs at the same time; None or 0 for as many as fit on this machine.

    Args:
        requested: the number that the user asks for.
        cores: number of cores of one run.

    Raises:
        LegatoError: if the number is negative.
    """
    if requested is not None and requested < 0:
        raise LegatoError("workers must not be negative; 0 takes as many as the cores allow")
    return requested or max(1, len(sched_getaffinity(0)) // cores)


@contextmanager
def _interruptible(processes: Processes) -> Iterator[None]:
    """Treat SIGTERM (of batch systems at a time limit) and SIGHUP (lost terminal) like Ctrl-C."""

    def stop(number: int, frame: object) -> None:
        if not processes.stopped:  # the signal may come twice, as from coreutils' timeout
            processes.stop()
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Work:
    """The runs that are left and the status, shared by the workers of one process."""

    def __init__(
        self,
        plan: Any,
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
            with self._claim(run.folder / ".lock") as mine:
                if not mine:
                    continue
                self._do(run)
                (run.folder / ".lock").unlink(missing_ok=True)
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
        with self._claim(start.folder / ".lock") as mine:
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


_STABILITY = CampaignKind(Record, execute, equilibrate)
