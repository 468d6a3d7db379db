"""Running a quantum campaign, in the same way as stability campaigns."""

from collections.abc import Callable
from pathlib import Path

from nequip_legato.quantum.execute import execute
from nequip_legato.quantum.plan import make_quantum_plan
from nequip_legato.quantum.records import QuantumRecord
from nequip_legato.quantum.resolve import load_quantum_settings
from nequip_legato.quantum.scripts import dry_run
from nequip_legato.quantum.settings import Settings
from nequip_legato.stability.run.campaign import run_kind
from nequip_legato.stability.run.run_queue import CampaignKind
from nequip_legato.stability.run.status import Status

__all__ = ["QUANTUM", "run_quantum_campaign"]

QUANTUM = CampaignKind(
    action="quantum",
    load=load_quantum_settings,
    plan=make_quantum_plan,
    commands=dry_run,
    record=QuantumRecord,
    execute=execute,
)


def run_quantum_campaign(
    settings: Settings | Path,
    *,
    workers: int | None = None,
    part: tuple[int, int] | None = None,
    watch: Callable[[Status], None] = lambda status: None,
    report: Callable[[str], None] = lambda line: None,
) -> Status:
    """Run what is left of a campaign; see `nequip_legato.stability.run.campaign.run_campaign`.

    Args:
        settings: the campaign, or its YAML file.
        workers: runs at the same time; default: that of the settings.
        part: (k, m): only every m-th run, beginning with the k-th, counted from 1.
        watch: called whenever the status has changed.
        report: called with messages of one line.

    Returns:
        How far the campaign is.

    Raises:
        LegatoError: if settings, models or structures are wrong, if earlier results were made with
            others, or if LAMMPS stopped with an error that is not a failure of a model.
    """
    return run_kind(QUANTUM, settings, workers=workers, part=part, watch=watch, report=report)
