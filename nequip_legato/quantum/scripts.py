"""The commands of a quantum campaign."""

import shlex

from nequip_legato.quantum.execute import command
from nequip_legato.quantum.ipi_execute import server_command, socket_of
from nequip_legato.quantum.plan import QuantumPlan, QuantumRun
from nequip_legato.quantum.settings import IPI

__all__ = ["dry_run"]


def dry_run(plan: QuantumPlan) -> str:
    """The commands of everything that is left to do, one per line."""
    return "\n".join(
        f"cd {shlex.quote(str(run.folder))} && {shlex.join(_command(plan, run))}"
        for run in plan.runs
        if not run.result.is_file()
    )


def _command(plan: QuantumPlan, run: QuantumRun) -> list[str]:
    lammps = command(plan.settings, run.method, run.beads)
    if plan.settings.engine_of(run.method) == IPI:
        return [*server_command(socket_of(run.folder)), *lammps]
    return lammps
