"""LAMMPS inputs of a campaign."""

import shutil
from pathlib import Path

from nequip_legato.deployed.reader import SUFFIXES
from nequip_legato.stability.run import criteria
from nequip_legato.stability.run.settings import Settings

__all__ = [
    "DONE",
    "DUMP_COLUMNS",
    "DUMP_FORMAT",
    "END_DUMP",
    "ID_COLUMN",
    "RESTART",
    "SNAPSHOTS",
    "TRACE_PART",
    "ensemble_commands",
    "equilibration_input",
    "linked_model",
    "pair_commands",
    "run_input",
    "trace_commands",
]

DONE = "legato: the run has ended"
END_DUMP = "end.dump"
RESTART = "restart"
SNAPSHOTS = "last.*.dump"
TRACE_PART = "trace.part"

ID_COLUMN = "v_id"  # ASE keeps no id, but variables
DUMP_COLUMNS = f"id type x y z vx vy vz fx fy fz {ID_COLUMN}"
_HEADER = "step,temperature,energy,largest_force,closest_ratio"
_ROW = "${step},${temp_text},${pe_text},${force_text},${ratio_text}"
_TRACE = """variable id atom id
variable step equal step
variable temp_text format temp %.3f
variable pe_text format pe %.5f
variable force_text format force %.4f
variable ratio_text format ratio %.4f"""
DUMP_FORMAT = 'modify sort id format float "%.10g"'


def equilibration_input(settings: Settings, *, data: str, output: str, model: str) -> str:
    """Langevin dynamics from the data file ``data`` to the data file ``output``.

    Closest pairs and bonds are checked, so that no run starts from a failed structure.

    Args:
        settings: the campaign's.
        data: replicated start structure.
        output: where LAMMPS writes the equilibrated one.
        model: deployed model; like the other files a plain name in the folder where LAMMPS runs.
    """
    e = settings.equilibration
    temperature = settings.temperature
    return f"""# equilibration
units metal
atom_style atomic
read_data {data}
{pair_commands(settings, model)}
velocity all create {temperature!r} {e.seed} mom yes rot no dist gaussian
timestep {e.timestep / 1000!r}
fix thermostat all langevin {temperature!r} {temperature!r} {e.damping_fs / 1000!r} {e.seed}
fix integrate all nve
{criteria.commands(settings, largest_force=0.0, temperature=False)}
thermo_style custom step temp pe etotal press v_force v_ratio
thermo 50
thermo_modify lost error flush yes
run {e.steps}
write_data {output} nocoeff
print "{DONE}"
"""


def run_input(
    settings: Settings,
    *,
    data: str,
    model: str,
    ensemble: str,
    velocity_seed: int,
    steps: int,
    largest_force: float,
    resume: bool,
) -> str:
    """One run up to its failure or its step limit.

    Args:
        settings: the campaign's.
        data: equilibrated start structure, relative to the folder of the run.
        model: deployed model, a plain name in that folder.
        ensemble: ``nvt``, ``langevin`` or ``nve``.
        velocity_seed: seed of the initial velocities.
        steps: the step limit.
        largest_force: threshold in eV/Angstrom; 0 for none.
        resume: continue from the restart file instead of starting.
    """
    temperature = settings.temperature
    if resume:
        start = f"read_restart {RESTART}"
        velocity = ""
    else:
        start = f"read_data {data} nocoeff"
        velocity = (
            f"velocity all create {temperature!r} {velocity_seed} mom yes rot no dist gaussian"
        )
    return f"""# {"resumed" if resume else "started"}
units metal
atom_style atomic
{start}
{pair_commands(settings, model)}
{velocity}
timestep {settings.timestep / 1000!r}
{ensemble_commands(settings, ensemble, velocity_seed, resume=resume)}

{criteria.commands(settings, largest_force=largest_force)}

thermo_style custom step temp pe etotal press v_force v_ratio
thermo {settings.trace_every}
# a warning, since fix halt ends the run in order, with a dump of the state
thermo_modify lost warn flush yes
{trace_commands(settings.trace_every, TRACE_PART)}
dump last all custom {_snapshot_every(settings)} {SNAPSHOTS} {DUMP_COLUMNS}
dump_modify last sort id maxfiles 2 format float "%.10g"

{_run(settings, steps)}
write_dump all custom {END_DUMP} {DUMP_COLUMNS} {DUMP_FORMAT}
print "{DONE}"
"""


def linked_model(model: str, folder: Path) -> str:
    """A link in ``folder`` to a deployed file; returns its name.

    LAMMPS' input files cannot hold every path (letters beyond ASCII, quotes and others), so they
    only name files in the folder in which they run.
    """
    link = folder / next(f"model{suffix}" for suffix in SUFFIXES if model.endswith(suffix))
    link.unlink(missing_ok=True)
    try:
        link.symlink_to(model)
    except OSError:  # a file system without links
        shutil.copyfile(model, link)
    return link.name


def trace_commands(every: int, file: str) -> str:
    """LAMMPS commands that write a trace, after those of `criteria.commands`.

    Args:
        every: steps between rows.
        file: name of the file.
    """
    row = f'fix trace all print {every} "{_ROW}" file {file} screen no title "{_HEADER}"'
    return f"{_TRACE}\n{row}"


def pair_commands(settings: Settings, model: str) -> str:
    """LAMMPS commands for a deployed model, by its name in the folder of the run."""
    return f"""pair_style allegro_legato threads {settings.threads}
pair_coeff * * {model} {" ".join(f'"{name}"' for name in settings.types)}
neighbor 1.0 bin
neigh_modify every 1 delay 0 check yes"""


def ensemble_commands(
    settings: Settings, ensemble: str, velocity_seed: int, *, resume: bool
) -> str:
    """LAMMPS commands that integrate the equations of motion, with a thermostat if there is one."""
    target = f"{settings.temperature!r} {settings.temperature!r}"
    damping = settings.damping_steps * settings.timestep / 1000
    if ensemble == "nvt":
        return f"fix integrate all nvt temp {target} {damping!r}"
    lines = ["fix integrate all nve"]
    if ensemble == "langevin":
        # Restart files hold no random state; do not repeat the same random numbers.
        seed = f"$({velocity_seed}+step)" if resume else str(velocity_seed)
        lines.insert(0, f"fix thermostat all langevin {target} {damping!r} {seed}")
    return "\n".join(lines)


def _snapshot_every(settings: Settings) -> int:
    return 10 * settings.trace_every


def _run(settings: Settings, steps: int) -> str:
    every = settings.restart_every
    if every is None or every >= steps:
        return f"run {steps} upto"
    # Written under another name, then renamed: there is always one complete restart file.
    return (
        f'run {steps} upto every {every} "write_restart {RESTART}.new" '
        f'"shell mv {RESTART}.new {RESTART}"'
    )
