"""The commands of a campaign, and job arrays for batch systems."""

import shlex
import sys
from pathlib import Path

from nequip_legato.errors import LegatoError
from nequip_legato.stability.run.lammps_process import command
from nequip_legato.stability.run.plan import Plan
from nequip_legato.stability.run.planned import CampaignPlan

__all__ = ["SYSTEMS", "dry_run", "job_array"]

SYSTEMS = ("slurm", "pbs")

_SLURM = """#SBATCH --job-name={name}
#SBATCH --array=1-{tasks}
#SBATCH --nodes=1
#SBATCH --ntasks={ranks}
#SBATCH --cpus-per-task={threads}
#SBATCH --time=24:00:00
# SIGTERM a minute before the end, so that LAMMPS ends in order.
#SBATCH --signal=B:TERM@60
"""
_PBS = """#PBS -N {name}
#PBS -J 1-{tasks}
#PBS -l select=1:ncpus={cores}:mpiprocs={ranks}:ompthreads={threads}
#PBS -l walltime=24:00:00
#PBS -j oe
"""


def job_array(
    plan: CampaignPlan, campaign: Path, *, system: str, tasks: int, action: str = "stability"
) -> str:
    """A script for a job array in which each task does every ``tasks``-th run, one at a time.

    A task that meets its time limit can be submitted again: it continues where it stopped.

    Args:
        plan: the campaign's.
        campaign: its YAML file.
        system: ``slurm`` or ``pbs``.
        tasks: size of the array.
        action: command of ``nequip-legato`` that runs such campaigns.

    Raises:
        LegatoError: if the system is unknown or the number of tasks impossible.
    """
    if system not in SYSTEMS:
        raise LegatoError(f"batch system '{system}' is not one of {' '.join(SYSTEMS)}")
    if not 1 <= tasks <= len(plan.runs):
        raise LegatoError(f"tasks must be between 1 and {len(plan.runs)}, the number of runs")
    s = plan.settings
    plain = "".join(c if c.isascii() and c.isalnum() else "-" for c in campaign.stem)
    name = plain[:15].strip("-") or "campaign"
    header = (_SLURM if system == "slurm" else _PBS).format(
        name=name if name[0].isalpha() else f"c{name}"[:15],
        tasks=tasks,
        ranks=plan.cores // s.threads,
        threads=s.threads,
        cores=plan.cores,
    )
    variable = "SLURM_ARRAY_TASK_ID" if system == "slurm" else "PBS_ARRAY_INDEX"
    program = shlex.quote(str(Path(sys.executable).parent / "nequip-legato"))
    work = f"{program} {action} run {shlex.quote(str(campaign.absolute()))} --workers 1"
    return f"""#!/bin/bash
{header}
set -euo pipefail
# exec: the batch system's signals reach the program itself.
exec {work} --part "${{{variable}}}/{tasks}"
"""


def dry_run(plan: Plan) -> str:
    """The commands of everything that is left to do, one per line."""
    line = shlex.join(command(plan.settings))
    used = {run.start.folder for run in plan.runs if not run.result.is_file()}
    folders = [s.folder for s in plan.starts if s.folder in used and not s.mark.is_file()]
    if not plan.settings.equilibration.steps:
        folders = []
    folders += [run.folder for run in plan.runs if not run.result.is_file()]
    return "\n".join(f"cd {shlex.quote(str(folder))} && {line}" for folder in folders)
