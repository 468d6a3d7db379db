"""Doing one run of a campaign in LAMMPS, and recording its outcome."""

import os
import time
from pathlib import Path
from typing import Any

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
from nequip_legato.stability.run.planned import CampaignRun
from nequip_legato.stability.run.processes import SCREEN, KilledError, Processes
from nequip_legato.stability.run.run_folder import (
    FINGERPRINT,
    is_marked,
    mark,
    remove,
    unreadable_restart,
)
from nequip_legato.stability.run.settings import Settings
from nequip_legato.stability.run.structures import replicated

__all__ = ["equilibrate", "execute", "record_fields", "run_to_end"]

# Also removed from a run that has ended: hidden files that were being written at a kill.
_TEMPORARY = ("restart*", "*.dump", SCREEN, inputs.TRACE_PART, FINGERPRINT, ".*")


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
    resume = (run.folder / inputs.RESTART).is_file() and is_marked(run)
    if not resume:
        if not is_marked(run):
            remove(run.folder, EARLY_ENDS)
        remove(run.folder, *_TEMPORARY, trace.TRACE, LOG, snapshot.FAILURE)
        mark(run)
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
    try:
        record = run_to_end(settings, run, text, processes)
    except LegatoError:
        if not unreadable_restart(read_output(run.folder / LOG), text):
            raise
        remove(run.folder, inputs.RESTART)
        return execute(plan, run, processes)
    if record.criterion is not None:
        snapshot.keep_neighborhood(
            run.folder, settings, run.model.file, record.criterion, record.steps
        )
    write_record(record, run.folder)
    remove(run.folder, *_TEMPORARY, EARLY_ENDS)
    return record


def run_to_end(settings: Settings, run: PlannedRun, text: str, processes: Processes) -> Record:
    """Run LAMMPS until a criterion fires or the step limit is reached.

    Args:
        settings: the campaign's.
        run: which run.
        text: LAMMPS' input.
        processes: those of the campaign.

    Returns:
        The record, which is not written yet.

    Raises:
        KilledError: if LAMMPS was killed.
        LegatoError: as `execute`.
    """
    folder, started = run.folder, time.monotonic()
    try:
        fatal = _lammps(settings, folder, text, processes, fatal=True)
    except KilledError:
        if not processes.stopped:
            note_end(folder)
        raise
    elapsed = time.monotonic() - started
    trace.keep(folder)
    log = read_output(folder / LOG)
    limits = criteria.thresholds(settings, largest_force=run.largest_force)
    firing = criteria.first_firing(log, limits) or fatal
    steps = run.steps
    if firing is not None:
        steps = trace.last_step(folder) if firing.step is None else firing.step
    elif not has_ended(log):
        note_end(folder)
        raise KilledError
    wall = wall_seconds(log, steps, elapsed)
    return Record(
        **record_fields(run, firing=firing, steps=steps, wall=wall),
        atoms=run.start.atoms,
        ensemble=run.ensemble,
        temperature=settings.temperature,
        timestep=settings.timestep,
        step_limit=run.steps,
        ranks=settings.ranks,
    )


def record_fields(
    run: CampaignRun, *, firing: criteria.Firing | None, steps: int, wall: float
) -> dict[str, Any]:
    """What the records of all kinds of campaigns say of a run that has ended.

    Args:
        run: which run.
        firing: the criterion that fired; None if it reached its limit.
        steps: steps survived.
        wall: seconds, see `wall_seconds`.
    """
    return {
        "run": run.name,
        "model": run.model.name,
        "group": run.model.group,
        "training_seed": run.model.training_seed,
        "velocity_seed": run.velocity_seed,
        "outcome": CENSORED if firing is None else FAILED,
        "steps": steps,
        "criterion": firing.criterion if firing else None,
        "value": firing.value if firing else None,
        "threshold": firing.threshold if firing else None,
        "wall": wall,
        "fingerprint": run.fingerprint,
    }


def _lammps(
    settings: Settings, folder: Path, text: str, processes: Processes, *, fatal: bool = False
) -> criteria.Firing | None:
    arguments = command(settings)
    return run_lammps(arguments, folder, text, processes, threads=settings.threads, fatal=fatal)
