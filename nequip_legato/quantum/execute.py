"""Doing one run of a quantum campaign, and recording its outcome."""

import shlex
import time
from pathlib import Path

from nequip_legato.errors import LegatoError
from nequip_legato.files import write_atomically
from nequip_legato.quantum import inputs
from nequip_legato.quantum.frames import join
from nequip_legato.quantum.ipi_execute import execute_by_ipi
from nequip_legato.quantum.outcome import clear, dynamics_seed, record_of, with_remedy
from nequip_legato.quantum.plan import QuantumPlan, QuantumRun
from nequip_legato.quantum.records import QuantumRecord
from nequip_legato.quantum.settings import IPI, Settings
from nequip_legato.stability import trace
from nequip_legato.stability.records import write_record
from nequip_legato.stability.run import criteria, snapshot
from nequip_legato.stability.run.early_ends import EARLY_ENDS, note_early_end
from nequip_legato.stability.run.inputs import linked_model
from nequip_legato.stability.run.lammps_process import (
    LOG,
    launch_command,
    read_output,
    run_lammps,
    wall_seconds,
)
from nequip_legato.stability.run.processes import KilledError, Processes
from nequip_legato.stability.run.run_folder import (
    FINGERPRINT,
    is_marked,
    mark,
    remove,
    unreadable_restart,
)
from nequip_legato.stability.run.settings import Size
from nequip_legato.stability.run.structures import replicated

__all__ = ["command", "execute"]


def command(settings: Settings, method: str, beads: int) -> list[str]:
    """The command that starts LAMMPS for a method and a number of beads, with all options."""
    ranks = settings.ranks_of(method, beads)
    launcher = shlex.split(settings.launcher.format(ranks=ranks))
    if settings.engine_of(method) == IPI:
        return launch_command(launcher, ranks)
    options = ["-partition", f"{beads}x{ranks // beads}", "-pscreen", "none"] if beads > 1 else []
    return [*launch_command(launcher, ranks), *options]


def execute(plan: QuantumPlan, run: QuantumRun, processes: Processes) -> QuantumRecord:
    """Do one run, or the rest of it, and write its record.

    Raises:
        KilledError: if LAMMPS was killed; a later call continues from the last restart files.
        LegatoError: if LAMMPS stopped with an error that is not a failure of the model, or has
            ended several times at the same place without an error message.
    """
    settings, folder = plan.settings, run.folder
    if settings.engine_of(run.method) == IPI:
        return execute_by_ipi(plan, run, processes, command(settings, run.method, run.beads))
    beads = [folder / inputs.bead_folder(n) for n in range(1, run.beads + 1)]
    resume = _last_restart(run)
    if resume is None:
        _start(run, settings)
    for bead in beads:
        bead.mkdir(exist_ok=True)
    _join_parts(beads)
    model = linked_model(run.model.file, folder) if run.model.file else ""
    text = inputs.run_input(
        settings, run, model=model, seed=dynamics_seed(run, resume), resume=resume
    )
    logs = [f"{LOG}.{n}" for n in range(run.beads)] if run.beads > 1 else [LOG]
    started = time.monotonic()
    arguments = command(settings, run.method, run.beads)
    try:
        fatal = run_lammps(
            arguments, folder, text, processes, threads=settings.threads, fatal=True, logs=logs
        )
    except KilledError:
        if not processes.stopped:
            _join_parts(beads)
            note_early_end(folder, trace.last_step(beads[0]))
        raise
    except LegatoError as problem:
        if any(unreadable_restart(read_output(folder / name), text) for name in logs):
            remove(folder, f"{inputs.RESTART}.{resume}.*")
            return execute(plan, run, processes)
        raise with_remedy(problem) from None
    elapsed = time.monotonic() - started
    _join_parts(beads)
    record = _record(settings, run, beads, [read_output(folder / n) for n in logs], fatal, elapsed)
    write_record(record, folder)
    remove(folder, f"{inputs.RESTART}.*", "screen*", FINGERPRINT, EARLY_ENDS, "bead*/last.*.dump")
    return record


def _start(run: QuantumRun, settings: Settings) -> None:
    run.folder.mkdir(parents=True, exist_ok=True)
    clear(run)
    mark(run)
    data = replicated(run.atoms, Size(), run.as_stability(settings))
    write_atomically(run.folder / inputs.START, data)


def _record(
    settings: Settings,
    run: QuantumRun,
    beads: list[Path],
    logs: list[str],
    fatal: criteria.Firing | None,
    elapsed: float,
) -> QuantumRecord:
    """The record of a run that has ended; after a failure the state of that bead is kept."""
    stability = run.as_stability(settings)
    limits = criteria.thresholds(stability, largest_force=run.largest_force)
    found = ((n, criteria.first_firing(log, limits)) for n, log in enumerate(logs, 1))
    failed, firing = next(((n, f) for n, f in found if f is not None), (None, fatal))
    steps = settings.equilibration_steps + settings.steps
    if firing is not None:
        if failed is None:
            failed = next((n for n, log in enumerate(logs, 1) if "\nERROR" in log), 1)
        bead = beads[failed - 1]
        steps = trace.last_step(bead) if firing.step is None else firing.step
        if run.model.file:
            snapshot.keep_neighborhood(bead, stability, run.model.file, firing.criterion, steps)
    wall = wall_seconds(logs[0], steps, elapsed)
    return record_of(settings, run, firing=firing, failed_bead=failed, steps=steps, wall=wall)


def _last_restart(run: QuantumRun) -> int | None:
    """The last step with restart files of all beads of this run; None if there is none."""
    if not is_marked(run):
        return None
    counts: dict[int, int] = {}
    for path in run.folder.glob(f"{inputs.RESTART}.*.*"):
        _, step, bead = path.name.split(".")
        if step.isdigit() and bead.isdigit() and path.stat().st_size:
            counts[int(step)] = counts.get(int(step), 0) + 1
    whole = [step for step, count in counts.items() if count == run.beads]
    return max(whole, default=None)


def _join_parts(beads: list[Path]) -> None:
    """Join traces and frames of all parts of a run. Of duplicate steps, the later ones count."""
    for bead in beads:
        trace.keep(bead)
        for name in (inputs.FRAMES, inputs.VELOCITIES):
            part = bead / inputs.part_of(name)
            if part.is_file():
                join(part, bead / name)
