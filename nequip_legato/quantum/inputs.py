"""The LAMMPS input of a run: one partition for each bead.

``fix pimd/langevin`` (method nmpimd) replaces forces and velocities of the beads by those of the
normal modes, so that the velocities of bead 1 are the centroid's, times the square root of P. The
model's own forces are kept by ``fix store/force``, which is defined before it.
"""

from collections.abc import Iterator

from nequip_legato.quantum.plan import QuantumRun
from nequip_legato.quantum.settings import CLASSICAL, TRPMD, Settings
from nequip_legato.stability.run import criteria
from nequip_legato.stability.run.inputs import (
    DONE,
    ID_COLUMN,
    SNAPSHOTS,
    TRACE_PART,
    pair_commands,
    trace_commands,
)

__all__ = ["FRAMES", "RESTART", "START", "VELOCITIES", "bead_folder", "part_of", "run_input"]

START = "start.data"
RESTART = "restart"
FRAMES = "frames.bin"
VELOCITIES = "velocities.bin"
_FORCE = "f_legato_force[1] f_legato_force[2] f_legato_force[3]"
_FREE = 1.0e20  # ps: relaxation time of a thermostat without effect


def bead_folder(bead: int) -> str:
    """Folder of one bead's files, within the run's folder."""
    return f"bead{bead}"


def part_of(name: str) -> str:
    """Name of the file of frames that LAMMPS writes, before they are joined to earlier ones."""
    return f"part.{name}"


def run_input(
    settings: Settings, run: QuantumRun, *, model: str, seed: int, resume: int | None
) -> str:
    """LAMMPS input for equilibration and measured steps.

    Args:
        settings: the campaign's.
        run: which run.
        model: name of the deployed model in the run's folder; empty for LAMMPS' own potentials.
        seed: seed of velocities and random forces.
        resume: step of the restart files to continue from; None to start.
    """
    s = settings
    lines = [*_start(s, run, model, seed, resume), *_watched(s, run)]
    if s.restart_every:
        lines.append(f"restart {s.restart_every} {RESTART}.*.${{bead}}")
    begun = resume or 0
    if begun < s.equilibration_steps:
        lines += [*_dynamics(s, run, seed, measured=False), f"run {s.equilibration_steps} upto"]
        lines += [f"unfix {name}" for name in _fixes(run)]
    later = seed + run.beads * s.ranks_of(run.method, run.beads) + 1
    lines += [*_dynamics(s, run, later, measured=True), *_frames(s, run)]
    lines += [f"run {s.equilibration_steps + s.steps} upto", f'print "{DONE}"']
    return "\n".join(lines) + "\n"


def _start(
    s: Settings, run: QuantumRun, model: str, seed: int, resume: int | None
) -> Iterator[str]:
    """Atoms, potential, and the velocities that a run starts with."""
    beads = run.beads
    numbers = " ".join(str(bead) for bead in range(1, beads + 1))
    extra = ["3" if s.fix_center_of_mass and bead == 0 else "0" for bead in range(beads)]
    kind = "world" if beads > 1 else "index"
    yield "units metal"
    yield "atom_style atomic"
    yield "atom_modify map yes"
    yield f"variable bead {kind} {numbers}"
    yield f"variable extra {kind} {' '.join(extra)}"
    if resume is None:
        yield f"read_data {START}"
    else:
        yield f"read_restart {RESTART}.{resume}.${{bead}}"
    yield _potential(s, run, model)
    yield "fix legato_force all store/force"
    if resume is None:
        # beads hold the velocities of normal modes, of which the first is the centroid's
        yield f"variable velocity_seed equal {seed}+v_bead"
        # all 3N degrees of freedom are thermal: for internal modes no center of mass is fixed
        yield "compute start all temp"
        yield "compute_modify start extra/dof 0"
        yield (
            f"velocity all create {run.temperature * beads!r} ${{velocity_seed}} mom no rot no "
            "dist gaussian loop all temp start"
        )
        if s.fix_center_of_mass:
            yield "if '${bead} == 1' then 'velocity all zero linear'"


def _watched(s: Settings, run: QuantumRun) -> list[str]:
    """Criteria, and what is written on the way."""
    return [
        f"timestep {s.timestep / 1000!r}",
        "compute_modify thermo_temp extra/dof ${extra}",
        criteria.commands(
            run.as_stability(s),
            largest_force=run.largest_force,
            beads=run.beads,
            hard=True,
            force=_FORCE,
            pair=not run.model.commands,
        ),
        "thermo_style custom step temp pe v_force v_ratio",
        f"thermo {s.sample_every}",
        "thermo_modify lost warn flush yes",
        trace_commands(s.sample_every, f"bead${{bead}}/{TRACE_PART}"),
        _snapshots(s),
    ]


def _potential(s: Settings, run: QuantumRun, model: str) -> str:
    if run.model.commands:
        return run.model.commands.strip()
    return pair_commands(run.as_stability(s), model)


def _fixes(run: QuantumRun) -> list[str]:
    return ["integrate", "thermostat"] if run.method == CLASSICAL else ["integrate"]


def _dynamics(s: Settings, run: QuantumRun, seed: int, *, measured: bool) -> list[str]:
    damping = s.damping_fs / 1000
    temperature = f"{run.temperature!r} {run.temperature!r}"
    if run.method == CLASSICAL:
        zero = "yes" if s.fix_center_of_mass else "no"
        return [
            "fix integrate all nve",
            f"fix thermostat all langevin {temperature} {damping!r} {seed} zero {zero}",
        ]
    free = run.method == TRPMD and measured
    scale = s.trpmd_scale if free else s.pile_scale
    return [
        f"fix integrate all pimd/langevin ensemble nvt method nmpimd integrator {s.integrator} "
        f"temp {run.temperature!r} thermostat PILE_L {seed} tau {_FREE if free else damping!r} "
        f"scale {scale!r} fixcom {'yes' if s.fix_center_of_mass else 'no'}"
    ]


def _snapshots(s: Settings) -> str:
    names = " ".join(
        f"colname {name} f{axis}" for name, axis in zip(_FORCE.split(), "xyz", strict=True)
    )
    return (
        f"dump last all custom {10 * s.sample_every} bead${{bead}}/{SNAPSHOTS} "
        f"id type x y z vx vy vz {_FORCE} {ID_COLUMN}\n"
        f'dump_modify last sort id maxfiles 2 format float "%.10g" {names}'
    )


def _frames(s: Settings, run: QuantumRun) -> list[str]:
    frames, velocities = part_of(FRAMES), part_of(VELOCITIES)
    lines = [
        f"dump frames all custom {s.sample_every} bead${{bead}}/{frames} xu yu zu {_FORCE}",
        "dump_modify frames sort id",
    ]
    if run.method in (CLASSICAL, TRPMD):
        only = "partition yes 1 " if run.beads > 1 else ""
        lines += [
            f"{only}dump velocities all custom {s.velocity_every} bead1/{velocities} vx vy vz",
            f"{only}dump_modify velocities sort id",
        ]
    return lines
