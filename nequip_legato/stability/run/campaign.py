"""Running a campaign: several runs at a time, by one process or several."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from os import sched_getaffinity
from pathlib import Path
from typing import Any

from nequip_legato.errors import LegatoError
from nequip_legato.files import write_atomically
from nequip_legato.stability.records import Record
from nequip_legato.stability.run.execute import equilibrate, execute
from nequip_legato.stability.run.plan import make_plan
from nequip_legato.stability.run.planned import CampaignPlan
from nequip_legato.stability.run.processes import Processes
from nequip_legato.stability.run.resolve import load_settings
from nequip_legato.stability.run.run_queue import CampaignKind, RunQueue
from nequip_legato.stability.run.scripts import dry_run
from nequip_legato.stability.run.settings import Settings
from nequip_legato.stability.run.status import Status

__all__ = ["STABILITY", "planned", "run_campaign", "run_kind"]


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
    return run_kind(STABILITY, settings, workers=workers, part=part, watch=watch, report=report)


def run_kind(
    kind: CampaignKind,
    settings: Any,
    *,
    workers: int | None = None,
    part: tuple[int, int] | None = None,
    watch: Callable[[Status], None] = lambda status: None,
    report: Callable[[str], None] = lambda line: None,
) -> Status:
    """Run what is left of any kind of campaign; arguments and errors as of `run_campaign`."""
    if isinstance(settings, Path):
        settings = kind.load(settings)
    plan = planned(kind, settings, part)
    number = _number_of_workers(settings.workers if workers is None else workers, plan.cores)
    queue = RunQueue(plan, kind, number, watch, report)
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(settings), indent=1) + "\n"
        write_atomically(plan.folder / "settings.json", text)
    except OSError as problem:
        raise LegatoError(
            f"output: cannot write into the folder {plan.folder} ({problem.strerror})"
        ) from problem
    with _interruptible(queue.processes), ThreadPoolExecutor(queue.status.workers) as pool:
        try:
            futures = [pool.submit(queue.loop) for _ in range(queue.status.workers)]
            for future in futures:
                future.result()
        except BaseException:
            queue.processes.stop()
            raise
    if queue.error is not None:
        raise queue.error
    return queue.status


def planned(kind: CampaignKind, settings: Any, part: tuple[int, int] | None) -> CampaignPlan:
    """The runs that the settings ask for, or the k-th of m parts of them.

    Raises:
        LegatoError: if a model or structure cannot be used, or if there is no such part.
    """
    plan = kind.plan(settings)
    return plan if part is None else plan.part(*part)


def _number_of_workers(requested: int | None, cores: int) -> int:
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


STABILITY = CampaignKind(
    action="stability",
    load=load_settings,
    plan=make_plan,
    commands=dry_run,
    record=Record,
    execute=execute,
    start=equilibrate,
)
