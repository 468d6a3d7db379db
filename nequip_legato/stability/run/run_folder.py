"""The folder of a run: which run its files belong to, and what of them is removed."""

from pathlib import Path

from nequip_legato.files import write_atomically
from nequip_legato.stability.run.planned import CampaignRun
from nequip_legato.stability.run.processes import ALIVE

__all__ = ["FINGERPRINT", "LOCK", "is_marked", "mark", "remove", "unreadable_restart"]

FINGERPRINT = "fingerprint"
LOCK = ".lock"


def mark(run: CampaignRun) -> None:
    """Write the run's fingerprint into its folder."""
    write_atomically(run.folder / FINGERPRINT, run.fingerprint)


def is_marked(run: CampaignRun) -> bool:
    """Whether the files in the folder belong to this run."""
    path = run.folder / FINGERPRINT
    return path.is_file() and path.read_text(encoding="utf-8") == run.fingerprint


def remove(folder: Path, *patterns: str) -> None:
    """Remove the files that match a pattern, except for locks."""
    for pattern in patterns:
        for path in folder.glob(pattern):
            if path.name not in (LOCK, ALIVE):
                path.unlink(missing_ok=True)


def unreadable_restart(log: str, text: str) -> bool:
    """Whether LAMMPS has failed to read a restart file, which a crash of the node can truncate.

    Args:
        log: LAMMPS' log, which repeats each command before it is carried out.
        text: LAMMPS' input.
    """
    after = log.partition("\nread_restart ")[2]
    commands = text.partition("\nread_restart ")[2].splitlines()[1:]
    return "\nERROR" in after and f"\n{commands[0]}" not in after
