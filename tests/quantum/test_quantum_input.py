"""Bad campaigns of path integrals: one line that says what is wrong."""

import pytest
from processes import PROGRAMS, run_process
from springs import write_campaign

from nequip_legato.cli import main

PROGRAM = PROGRAMS / "nequip-legato"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"methods": ["pimd"], "beads": [4], "ranks": 6}, "6 is not a multiple of 4 beads"),
        ({"isotopes": [{"name": "x", "masses": {"H": "Q"}}]}, "isotope 'Q' has no mass"),
        ({"isotopes": [{"name": "x", "masses": {"H": -1.0}}]}, "isotope '-1.0' has no mass"),
        ({"isotopes": [{"name": "x", "masses": {"H": {"D": 0.5}}}]}, "the fractions add up to 0.5"),
        ({"isotopes": [{"name": "x", "masses": {"C": "D"}}]}, "'C' is not among types"),
        ({"methods": ["trpmd"], "beads": [1]}, "trpmd needs at least 2 beads"),
        ({"methods": ["magic"]}, "'magic' is not one of classical pimd trpmd"),
        ({"methods": ["pimd"], "beads": [0]}, "beads must be at least 1"),
        ({"methods": ["pimd"], "launcher": "srun lmp"}, "launcher needs {ranks}"),
        ({"models": [{"name": "x"}]}, "needs either file or commands"),
        ({"systems": [{"name": "x", "structure": "no.xyz"}]}, "no.xyz does not exist"),
        ({"bead": [4]}, "'bead' not in"),
        ({"temperatures": []}, "temperatures is empty"),
    ],
)
def test_bad_settings_are_told_in_one_line(tmp_path, capsys, changes, said):
    """Before anything runs."""
    path = write_campaign(tmp_path, **changes)
    assert main(["quantum", "run", str(path)]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0].lower() or said in lines[0]
    assert not path.with_suffix("").exists()


def test_dry_run_and_scripts_name_partitions_and_ranks(tmp_path, capsys):
    """One partition a bead, as many ranks as asked for; nothing is run."""
    path = write_campaign(tmp_path, methods=["classical", "pimd"], beads=[2, 4], ranks=8)
    assert main(["quantum", "run", str(path), "--dry-run"]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 3
    assert sum("-n 8" in line for line in lines) == 3
    assert any("-partition 2x4" in line for line in lines)
    assert any("-partition 4x2" in line for line in lines)
    assert main(["quantum", "run", str(path), "--script", "slurm"]) == 0
    script = capsys.readouterr().out
    assert "#SBATCH --ntasks=8" in script
    assert "quantum run" in script
    assert not path.with_suffix("").exists()


def test_a_report_on_nothing_says_what_to_do(tmp_path, capsys):
    """A folder without runs."""
    assert main(["quantum", "report", str(tmp_path)]) == 1
    assert "run the campaign first" in capsys.readouterr().err


def test_a_program_that_is_no_lammps_is_told(tmp_path):
    """What the launcher starts ends without a log."""
    path = write_campaign(tmp_path, launcher="/bin/false {ranks}")
    done = run_process(PROGRAM, "quantum", "run", path, timeout=300, check=False)
    assert done.returncode == 1
    assert "check launcher" in done.stderr
