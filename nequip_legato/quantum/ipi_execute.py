"""Doing one run by i-PI, and recording its outcome."""

import hashlib
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ase.io.lammpsdata import read_lammps_data

from nequip_legato.errors import LegatoError
from nequip_legato.files import write_atomically
from nequip_legato.quantum import inputs, ipi_inputs, ipi_output
from nequip_legato.quantum.ipi_inputs import EQUILIBRATION, MEASURED
from nequip_legato.quantum.outcome import clear, dynamics_seed, record_of, with_remedy
from nequip_legato.quantum.plan import QuantumPlan, QuantumRun
from nequip_legato.quantum.records import QuantumRecord
from nequip_legato.quantum.serve import SERVER_LOG
from nequip_legato.stability.records import write_record
from nequip_legato.stability.run import criteria, snapshot
from nequip_legato.stability.run.early_ends import EARLY_ENDS, note_early_end
from nequip_legato.stability.run.inputs import END_DUMP, linked_model
from nequip_legato.stability.run.lammps_process import LOG, read_output, run_lammps
from nequip_legato.stability.run.processes import SCREEN, KilledError, Processes
from nequip_legato.stability.run.run_folder import FINGERPRINT, is_marked, mark, remove
from nequip_legato.stability.run.settings import Size
from nequip_legato.stability.run.structures import replicated

__all__ = ["execute_by_ipi", "private_socket", "server_command", "socket_of"]

_PREFIX = "/tmp/ipi_"  # of socket paths, in both LAMMPS and i-PI
_LEAVES = re.compile(r"^ERROR.*Got EXIT message from i-PI", re.MULTILINE)
_BROKEN = re.compile(r"^ERROR.*(broken connection|server may not be running)", re.MULTILINE)
_END = "RESTART"  # what i-PI writes at the end


def execute_by_ipi(
    plan: QuantumPlan, run: QuantumRun, processes: Processes, client: list[str]
) -> QuantumRecord:
    """Do one run, or the rest of it, and write its record.

    Args:
        plan: the campaign's.
        run: which run.
        processes: of the campaign.
        client: the command that starts LAMMPS.

    Raises:
        KilledError: if it was killed; a later call continues from the last checkpoint.
        LegatoError: if LAMMPS or i-PI stopped with an error that is not a failure of the model, or
            has ended several times at the same place without an error message.
    """
    settings, folder = plan.settings, run.folder
    folder.mkdir(parents=True, exist_ok=True)
    if not is_marked(run):
        clear(run)
        atoms = run.atoms.copy()
        atoms.wrap()
        data = replicated(atoms, Size(), run.as_stability(settings))
        write_atomically(folder / inputs.START, data)
        mark(run)
    started = time.monotonic()
    done = 0
    stages = {EQUILIBRATION: settings.equilibration_steps, MEASURED: settings.steps}
    for stage, steps in stages.items():
        if steps and not (folder / f"{stage}.end").is_file():
            failure = _stage(plan, run, processes, client, stage, steps)
            if failure is not None:
                firing, bead, step = failure
                if run.model.file:
                    snapshot.keep_neighborhood(
                        folder,
                        run.as_stability(settings),
                        run.model.file,
                        firing.criterion,
                        done + step,
                    )
                return _finish(
                    run,
                    record_of(
                        settings,
                        run,
                        firing=firing,
                        failed_bead=bead,
                        steps=done + step,
                        wall=round(time.monotonic() - started, 3),
                    ),
                )
        done += steps
    ipi_output.convert(folder, run, settings)
    wall = round(time.monotonic() - started, 3)
    record = record_of(settings, run, firing=None, failed_bead=None, steps=done, wall=wall)
    return _finish(run, record)


def _finish(run: QuantumRun, record: QuantumRecord) -> QuantumRecord:
    write_record(record, run.folder)
    remove(run.folder, FINGERPRINT, EARLY_ENDS, SCREEN, _END, "EXIT", "#*#", END_DUMP)
    remove(run.folder, f"{EQUILIBRATION}.*", f"{MEASURED}.*")
    return record


@dataclass(frozen=True)
class _Ended:
    """How i-PI and LAMMPS have ended.

    Attributes:
        begun: step of the stage at which they began.
        host: name of their socket.
        fatal: criterion that LAMMPS' error message stands for.
        problem: any other error of LAMMPS.
    """

    begun: int
    host: str
    fatal: criteria.Firing | None = None
    problem: LegatoError | None = None


def _stage(
    plan: QuantumPlan,
    run: QuantumRun,
    processes: Processes,
    client: list[str],
    stage: str,
    steps: int,
) -> tuple[criteria.Firing, int | None, int] | None:
    """Run a stage to its end; after a failure: the criterion, the bead if known, and the step."""
    settings, folder = plan.settings, run.folder
    ended = _together(plan, run, processes, client, stage)
    text = read_output(folder / LOG)
    limits = criteria.thresholds(run.as_stability(settings), largest_force=run.largest_force)
    firing = criteria.first_firing(text, limits) or ended.fatal
    begun = ended.begun
    reached = ipi_inputs.last_step_written(folder / f"{stage}.out")
    if firing is not None:
        if firing.step is None:
            return firing, None, max(reached, begun)
        return firing, 1 + (firing.step - 1) % run.beads, begun + (firing.step - 1) // run.beads
    if (folder / _END).is_file() and _LEAVES.search(text):
        found = ipi_inputs.read_checkpoint(folder / _END, ended.host)
        if found is not None and found[0] >= steps:
            (folder / _END).replace(folder / f"{stage}.end")
            return None
    if ended.problem is not None:
        _explain(ended.problem, text, folder)
    note_early_end(folder, begun if reached < 0 else reached)
    raise KilledError


def _together(
    plan: QuantumPlan, run: QuantumRun, processes: Processes, client: list[str], stage: str
) -> _Ended:
    """Run i-PI and LAMMPS until either of them ends."""
    settings, folder = plan.settings, run.folder
    with private_socket(folder) as (path, host):
        begun, text = _begin(run, plan, stage, host)
        write_atomically(folder / ipi_inputs.INPUT, text)
        (folder / "EXIT").unlink(missing_ok=True)
        model = linked_model(run.model.file, folder) if run.model.file else ""
        lammps = ipi_inputs.client_input(settings, run, model=model, data=inputs.START, host=host)
        try:
            fatal = run_lammps(
                [*server_command(path), *client],
                folder,
                lammps,
                processes,
                threads=settings.threads,
                fatal=True,
            )
        except LegatoError as problem:
            return _Ended(begun, host, problem=problem)
        except KilledError:
            if processes.stopped:
                raise
            return _Ended(begun, host)
    return _Ended(begun, host, fatal=fatal)


def _explain(problem: LegatoError, text: str, folder: Path) -> None:
    """Raise what i-PI or LAMMPS says; nothing if LAMMPS has lost an i-PI that says nothing."""
    lost = _LEAVES.search(text) or _BROKEN.search(text)
    words = ipi_output.error_of(folder / SERVER_LOG) if lost or not text else ""
    if words:
        raise LegatoError(words) from problem
    if not lost:
        raise with_remedy(problem) from None


def _begin(run: QuantumRun, plan: QuantumPlan, stage: str, host: str) -> tuple[int, str]:
    """Step at which a stage starts or continues, and i-PI's input."""
    folder = run.folder
    found = {}
    for path in folder.glob(f"{stage}.chk_*"):
        whole = ipi_inputs.read_checkpoint(path, host)
        if whole is not None:
            found[whole[0]] = whole[1]
    if found:
        step = max(found)
        return step, found[step]
    settings = plan.settings
    begin = f"{EQUILIBRATION}.end" if stage == MEASURED and settings.equilibration_steps else ""
    atoms = read_lammps_data(folder / inputs.START, units="metal", atom_style="atomic")
    seed = dynamics_seed(run, None if stage == EQUILIBRATION else -1)
    remove(folder, f"{stage}.*")
    return 0, ipi_inputs.server_input(
        settings, run, atoms, stage=stage, seed=seed % 2**31, address=host, begin=begin
    )


def socket_of(folder: Path) -> Path:
    """Path of the socket of the run in a folder: hashed, because socket paths must be short."""
    owner = hashlib.sha256(f"{os.getuid()} {folder.resolve()}".encode()).hexdigest()[:16]
    return Path(f"{_PREFIX}legato-{owner}") / "socket"


def server_command(path: Path) -> list[str]:
    """The command that starts i-PI; the command of LAMMPS has to follow it."""
    return [sys.executable, "-m", "nequip_legato.quantum.serve", str(path), ipi_inputs.INPUT]


@contextmanager
def private_socket(folder: Path) -> Iterator[tuple[Path, str]]:
    """Path of a socket in a private folder, and its name in ``fix ipi`` and i-PI.

    The folder is removed when the context ends; what a killed campaign has left is removed first.

    Raises:
        LegatoError: if another process listens on the socket, or it cannot be removed.
    """
    path = socket_of(folder)
    place = path.parent
    try:
        if _answers(path):
            raise LegatoError(
                f"another process serves {path}, the socket of the run in {folder}; end that i-PI, "
                "or wait for it"
            )
        if place.exists():
            shutil.rmtree(place)
        place.mkdir(mode=0o700)  # fails if somebody else has made it
    except OSError as problem:
        raise LegatoError(
            f"{place}, left over from another run, is in the way ({problem.strerror}); remove it"
        ) from problem
    try:
        yield path, str(path)[len(_PREFIX) :]
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as end:
        end.settimeout(1.0)
        try:
            end.connect(str(path))
        except (BlockingIOError, TimeoutError):  # somebody listens, but does not accept any more
            return True
        except OSError:
            return False
    return True
