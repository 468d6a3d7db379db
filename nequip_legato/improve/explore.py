"""Exploring: a short campaign whose runs continue where possible and keep suspicious states."""

import os
from dataclasses import replace

from nequip_legato.improve.settings import Observe
from nequip_legato.stability import trace
from nequip_legato.stability.records import Record, write_record
from nequip_legato.stability.run import criteria, inputs
from nequip_legato.stability.run.campaign import STABILITY
from nequip_legato.stability.run.execute import run_to_end
from nequip_legato.stability.run.plan import Plan, PlannedRun
from nequip_legato.stability.run.processes import Processes
from nequip_legato.stability.run.run_folder import remove
from nequip_legato.stability.run.run_queue import CampaignKind
from nequip_legato.stability.run.settings import Bonds

__all__ = ["EVENTS", "STATES", "exploration_input", "exploring"]

EVENTS = "events.dump"
STATES = "states.dump"


def exploring(observe: Observe, bonds: list[Bonds]) -> CampaignKind:
    """The kind of campaign for `nequip_legato.stability.run.campaign.run_kind` that explores.

    A run writes ``events.dump``, the states in which the fence acted, atoms were outside of the
    domain, or bonds were wrong; ``states.dump``, states at regular intervals; and ``end.dump``, the
    last one. A run that is killed is repeated from its start, with the same result.

    Args:
        observe: how often states are checked.
        bonds: bonds that should stay; wrong ones are recorded, and do not end the run.
    """

    def execute(plan: Plan, run: PlannedRun, processes: Processes) -> Record:
        return _execute(plan, run, processes, observe, bonds)

    return replace(STABILITY, execute=execute)


def exploration_input(plan: Plan, run: PlannedRun, observe: Observe, bonds: list[Bonds]) -> str:
    """The LAMMPS input of one run; see `exploring`."""
    settings = plan.settings
    temperature, seed = settings.temperature, run.velocity_seed
    model = inputs.linked_model(run.model.file, run.folder)
    start = os.path.relpath(run.start.data, run.folder)
    watched = []
    quiet = ["(c_pairs[2]<0.5)", "(c_pairs[4]<0.5)"]
    for number, bond in enumerate(bonds, 1):
        watched += criteria.bond_counts(bond, settings.types, f"watch{number}")
        quiet.append(f"(v_watch{number}<0.5)")
    lines = "\n".join(watched)
    return f"""# exploring
units metal
atom_style atomic
read_data {start} nocoeff
{inputs.pair_commands(settings, model)}
velocity all create {temperature!r} {seed} mom yes rot no dist gaussian
timestep {settings.timestep / 1000!r}
{inputs.ensemble_commands(settings, run.ensemble, seed, resume=False)}

{criteria.commands(settings, largest_force=run.largest_force)}

thermo_style custom step temp pe etotal press v_force v_ratio c_pairs[4] c_pairs[5]
thermo {settings.trace_every}
thermo_modify lost warn flush yes
{inputs.trace_commands(settings.trace_every, inputs.TRACE_PART)}
{lines}
variable quiet equal "{" && ".join(quiet)}"
dump events all custom {observe.every} {EVENTS} {inputs.DUMP_COLUMNS}
dump_modify events skip v_quiet sort id format float "%.10g"
dump states all custom {observe.states_every} {STATES} {inputs.DUMP_COLUMNS}
dump_modify states sort id format float "%.10g"

run {run.steps}
write_dump all custom {inputs.END_DUMP} {inputs.DUMP_COLUMNS} {inputs.DUMP_FORMAT}
print "{inputs.DONE}"
"""


def _execute(
    plan: Plan, run: PlannedRun, processes: Processes, observe: Observe, bonds: list[Bonds]
) -> Record:
    run.folder.mkdir(parents=True, exist_ok=True)
    remove(run.folder, "*.dump", trace.TRACE, inputs.TRACE_PART)
    record = run_to_end(plan.settings, run, exploration_input(plan, run, observe, bonds), processes)
    write_record(record, run.folder)
    return record
