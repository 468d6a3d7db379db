"""Inputs of a run by i-PI: its own, and that of LAMMPS, which evaluates the beads for it.

One LAMMPS (``fix ipi``) evaluates all beads in turn, in the order of their numbers: step n of
LAMMPS (n = 1, 2, ...) is bead 1 + (n - 1) mod P. i-PI first evaluates its initial state, so LAMMPS'
step n belongs to step (n - 1) div P after it.
"""

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import jinja2
import numpy as np
from ase import Atoms

from nequip_legato.quantum.piglet import ATOMIC_TIME, read_piglet
from nequip_legato.quantum.plan import QuantumRun
from nequip_legato.quantum.settings import PIGLET, TRPMD, Settings
from nequip_legato.stability.run import criteria
from nequip_legato.stability.run.inputs import DONE, END_DUMP, ID_COLUMN, pair_commands

__all__ = [
    "EQUILIBRATION",
    "INPUT",
    "MEASURED",
    "client_input",
    "last_step_written",
    "read_checkpoint",
    "server_input",
]

EQUILIBRATION, MEASURED = "equilibration", "measured"
INPUT = "ipi.xml"
_FREE = 1.0e12  # fs: relaxation time of a thermostat without effect
_LATENCY = "1e-6"  # s between checks for requests; while it waits for forces, it does not check
_FOREVER = 2_000_000_000
_BOHRS = 1.8897261  # bohr per Angstrom, i-PI's value


def server_input(
    settings: Settings,
    run: QuantumRun,
    atoms: Atoms,
    *,
    stage: str,
    seed: int,
    address: str,
    begin: str = "",
) -> str:
    """i-PI's input for a stage.

    Args:
        settings: the campaign's.
        run: which run.
        atoms: start structure in LAMMPS' orientation.
        stage: ``equilibration`` or ``measured``.
        seed: seed of velocities and random forces.
        address: address of the socket.
        begin: checkpoint with the initial state; empty for the start structure.
    """
    s = settings
    measured = stage == MEASURED
    free = run.method == TRPMD and measured
    content: dict[str, object] = {
        "stage": stage,
        "measured": measured,
        "every": s.sample_every,
        "velocity_every": s.velocity_every if free else 0,
        "restart_every": s.restart_every,
        "steps": s.steps if measured else s.equilibration_steps,
        "seed": seed,
        "address": address,
        "latency": _LATENCY,
        "beads": run.beads,
        "begin": begin,
        **_system(run, atoms),
        "temperature": repr(run.temperature),
        "fixcom": s.fix_center_of_mass,
        "splitting": s.integrator,
        "timestep": repr(s.timestep),
        "tau": repr(_FREE if free else s.damping_fs),
        "scale": repr(s.trpmd_scale if free else s.pile_scale),
        **_colored_noise(s, run),
    }
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("nequip_legato.quantum", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("ipi.xml").render(content) + "\n"


def _system(run: QuantumRun, atoms: Atoms) -> dict[str, str]:
    # fix ipi centers the box at the origin
    positions = atoms.positions - 0.5 * np.diag(atoms.cell.array)
    species = [run.species[t - 1] for t in run.atoms.arrays["type"]]
    return {
        # in i-PI's own unit, because not all versions convert units here
        "positions": _numbers(np.tile(positions * _BOHRS, (run.beads, 1, 1))),
        "cell": _numbers(atoms.cell.array.T),
        "masses": _numbers(np.array([one.mass for one in species])),
        "labels": ", ".join(one.symbol for one in species),
    }


def _colored_noise(s: Settings, run: QuantumRun) -> dict[str, str]:
    """The matrices of PIGLET's thermostat; an empty drift for other methods."""
    if run.method != PIGLET:
        return {"drift": ""}
    piglet = read_piglet(s.piglet).at(run.temperature, s.damping_fs)
    return {
        "shape": str(piglet.drift.shape).replace(" ", ""),
        "drift": _numbers(piglet.drift * ATOMIC_TIME),
        "covariance": _numbers(piglet.covariance),
    }


def _numbers(values: np.ndarray) -> str:
    return ", ".join(f"{value:.12g}" for value in np.ravel(values))


def read_checkpoint(checkpoint: Path, address: str) -> tuple[int, str] | None:
    """Step of a checkpoint, and i-PI's input that continues from it.

    Args:
        checkpoint: written by i-PI.
        address: address of the socket.

    Returns:
        None if it is incomplete, because i-PI was killed while it wrote.
    """
    try:
        root = ElementTree.fromstring(checkpoint.read_text(encoding="utf-8"))
    except (OSError, ElementTree.ParseError):
        return None
    step, where = root.find("step"), root.find("ffsocket/address")
    if where is None:
        return None
    where.text = address
    # the checkpoint of the initial state has no step
    return int(step.text or 0) if step is not None else 0, ElementTree.tostring(root, "unicode")


def client_input(settings: Settings, run: QuantumRun, *, model: str, data: str, host: str) -> str:
    """LAMMPS' input.

    Args:
        settings: the campaign's.
        run: which run.
        model: name of the deployed model in the run's folder; empty for LAMMPS' own potentials.
        data: start structure.
        host: name of the socket in ``fix ipi``.
    """
    # each evaluation is another bead
    criteria_of_each = replace(settings.criteria, every=1, contacts_every=1)
    stability = replace(run.as_stability(settings), criteria=criteria_of_each)
    if run.model.commands:
        potential = run.model.commands.strip()
    else:
        potential = pair_commands(stability, model)
    watched = criteria.commands(
        stability,
        largest_force=run.largest_force,
        temperature=False,
        pair=not run.model.commands,
    )
    # The same box as in fix ipi, so that atoms keep their images (for fix spring/self and others).
    middle = [f"{axis} final $(-0.5*l{axis}) $(0.5*l{axis})" for axis in "xyz"]
    return f"""units metal
atom_style atomic
atom_modify map yes
read_data {data}
change_box all {" ".join(middle)} remap units box
{potential}
fix ipi all ipi {host} 1 unix
{watched}
thermo_style custom step pe v_force v_ratio
thermo {_FOREVER}
thermo_modify lost warn flush yes
variable id atom id
run {_FOREVER}
write_dump all custom {END_DUMP} id type x y z vx vy vz fx fy fz {ID_COLUMN} \
modify sort id format float "%.10g"
print "{DONE}"
"""


def last_step_written(path: Path) -> int:
    """Last step in i-PI's file of properties; -1 if there is none."""
    if not path.is_file():
        return -1
    rows = re.findall(r"^\s+(\S+) .*\n", path.read_text(errors="replace"), re.MULTILINE)
    return int(float(rows[-1])) if rows else -1
