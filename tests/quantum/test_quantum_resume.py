"""What a quantum campaign does with what an earlier, interrupted call has left."""

from pathlib import Path

import pytest
from processes import PROGRAMS, run_process
from springs import SPRINGS, write_campaign

from nequip_legato.errors import LegatoError
from nequip_legato.quantum.campaign import run_quantum_campaign
from nequip_legato.quantum.plan import QuantumRun, make_quantum_plan
from nequip_legato.quantum.records import QuantumRecord
from nequip_legato.quantum.resolve import load_quantum_settings
from nequip_legato.stability.records import read_record
from nequip_legato.stability.run.early_ends import EARLY_ENDS
from nequip_legato.stability.run.run_folder import mark

STEP = 20


def campaign(folder: Path, commands: str, **changes) -> tuple[Path, QuantumRun]:
    """Two atoms on springs, and their only run."""
    settings = {"methods": ["pimd"], "beads": [2], "steps": 30, "restart_every": 10_000}
    path = write_campaign(folder, commands=commands, **settings | changes)
    (run,) = make_quantum_plan(load_quantum_settings(path)).runs
    return path, run


def with_restart_files(run: QuantumRun) -> list[Path]:
    """The folder as a killed campaign leaves it: its mark, and restart files of both beads."""
    run.folder.mkdir(parents=True)
    mark(run)
    text = f"""units metal
atom_style atomic
atom_modify map yes
region box block 0 9 0 9 0 9
create_box 2 box
create_atoms 1 single 0 0 0
create_atoms 2 single 4 0 0
mass 1 1.0
mass 2 14.0
{SPRINGS}reset_timestep {STEP}
"""
    paths = [run.folder / f"restart.{STEP}.{bead}" for bead in (1, 2)]
    (run.folder / "in.made").write_text(text + "".join(f"write_restart {p}\n" for p in paths))
    run_process(PROGRAMS / "lmp", "-in", "in.made", "-log", "none", cwd=run.folder, timeout=300)
    return paths


def test_restart_files_survive_an_error_after_they_are_read(tmp_path):
    """A potential that this LAMMPS lacks: nothing that was computed is thrown away."""
    path, run = campaign(tmp_path, "pair_style no/such/style\npair_coeff * *\n")
    kept = with_restart_files(run)
    with pytest.raises(LegatoError, match="no/such/style"):
        run_quantum_campaign(path)
    assert all(file.is_file() for file in kept)


@pytest.mark.parametrize("bead", [1, 2])
def test_a_restart_file_that_a_dying_node_left(tmp_path, bead):
    """It is not readable, so the run is done again from its start, whichever bead's it is."""
    path, run = campaign(tmp_path, SPRINGS)
    with_restart_files(run)[bead - 1].write_bytes(b"LammpS RestartT\0" + bytes(40))
    run_quantum_campaign(path)
    assert read_record(run.result, QuantumRecord).outcome == "censored"
    assert (run.folder / "bead1" / "frames.bin").is_file()


def test_lammps_that_crashes_at_the_same_place_is_told(tmp_path):
    """Also without restart files, where each call starts again."""
    crash = '; kill -9 $$" {ranks}'
    launcher = f'sh -c "echo > log.lammps.0; echo > log.lammps.1{crash}'
    path, run = campaign(tmp_path, SPRINGS, launcher=launcher)
    for _ in range(2):
        assert run_quantum_campaign(path).interrupted == [run.name]
    with pytest.raises(LegatoError, match="ended 3 times without an error message"):
        run_quantum_campaign(path)


def test_early_ends_of_other_settings_do_not_count(tmp_path):
    """Two crashes with other settings, then one with these."""
    crash = '; kill -9 $$" {ranks}'
    launcher = f'sh -c "echo > log.lammps.0; echo > log.lammps.1{crash}'
    path, run = campaign(tmp_path, SPRINGS, launcher=launcher)
    run.folder.mkdir(parents=True)
    (run.folder / EARLY_ENDS).write_text("[0, 0]")
    (run.folder / "fingerprint").write_text("another")
    assert run_quantum_campaign(path).interrupted == [run.name]
