"""Doing one run of a campaign in LAMMPS, and recording its outcome."""

import os
import time
from pathlib import Path

from nequip_legato.errors import LegatoError
from nequip_legato.files import write_atomically
from nequip_legato.stability import trace
from nequip_legato.stability.records import CENSORED, FAILED, Record, write_record
from nequip_legato.stability.run import criteria, inputs, snapshot
from nequip_legato.stability.run.early_ends import EARLY_ENDS, note_end
from nequip_legato.stability.run.lammps_process import (
    LOG,
    command,
    has_ended,
    read_output,
    run_lammps,
    wall_seconds,
)
from nequip_legato.stability.run.plan import Plan, PlannedRun, Start
from nequip_legato.stability.run.processes import ALIVE, SCREEN, KilledError, Processes
from nequip_legato.stability.run.settings import Settings
from nequip_legato.stability.run.structures import replicated

__all__ = ["equilibrate", "execute", "record_of"]


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
        log = read_output(start.folder / LOG)
        firing = criteria.first_firing(log, {})
        if firing is not None:
            raise LegatoError(
                f"the equilibration of {start.atoms} atoms failed ({firing.criterion} at "
                f"step {firing.step}, see {start.folder / LOG}); use a better equilibration "
                "model, fewer steps or another start structure"
            )
        (start.folder / "equilibrated.data").replace(start.data)
        (start.folder / "replicated.data").unlink()
        (start.folder / SCREEN).unlink()
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
    log = read_output(run.folder / LOG)
    limits = criteria.thresholds(settings, largest_force=run.largest_force)
    firing = criteria.first_firing(log, limits) or fatal
    last = trace.last_step(run.folder)
    if firing is None:
        steps = run.steps
        if not has_ended(log):
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


def _same_run(run: PlannedRun) -> bool:
    mark = run.folder / "fingerprint"
    return mark.is_file() and mark.read_text(encoding="utf-8") == run.fingerprint


def _unreadable_restart(folder: Path) -> bool:
    """Whether LAMMPS could not read the restart file, which a crash of the node can truncate."""
    text = read_output(folder / LOG)
    return f"\nread_restart {inputs.RESTART}" in text and "\npair_style" not in text


def _clean(folder: Path, *, everything: bool) -> None:
    patterns = ["restart*", "*.dump", SCREEN, inputs.TRACE_PART, "fingerprint", ".*"]
    patterns += ["trace.csv", LOG, snapshot.FAILURE] if everything else [EARLY_ENDS]
    for pattern in patterns:
        for path in folder.glob(pattern):
            if path.name not in (".lock", ALIVE):
                path.unlink(missing_ok=True)


def _lammps(
    settings: Settings, folder: Path, text: str, processes: Processes, *, fatal: bool = False
) -> criteria.Firing | None:
    arguments = command(settings)
    return run_lammps(arguments, folder, text, processes, threads=settings.threads, fatal=fatal)
