"""Runs by i-PI with a real LAMMPS: closed forms, `fix pimd/langevin`, kills, failures."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from processes import PROGRAMS, run_process, wait_for
from scipy.spatial.transform import Rotation
from springs import SPRINGS, frequency, run_campaign, write_campaign, write_solid

from nequip_legato.cli import main
from nequip_legato.errors import LegatoError
from nequip_legato.quantum import harmonic, ipi_execute, plan
from nequip_legato.quantum.frames import Frames
from nequip_legato.quantum.piglet import read_piglet
from nequip_legato.quantum.records import QuantumRecord
from nequip_legato.quantum.report import report
from nequip_legato.quantum.units import MASS
from nequip_legato.stability.records import read_records

LOGGED = SPRINGS + 'fix order all print 1 "$(step) $(pe)" file order.txt\n'
QUICK = {
    "engine": "i-pi",
    "timestep": 0.5,
    "damping_fs": 10.0,
    "sample_every": 2,
    "geometry": {"rdf": "off"},
    "isotopes": [{"name": "half", "masses": {"H": {"H": 0.5, "D": 0.5}}}],
}


def sockets_of(path: Path) -> list[Path]:
    """Those of a campaign's runs that are there."""
    folders = path.with_suffix("").glob("runs/*/*/*")
    places = [ipi_execute.socket_of(folder).parent for folder in folders]
    assert places
    return [place for place in places if place.exists()]


@pytest.mark.slow
def test_springs_have_the_energies_of_the_closed_form(tmp_path):
    """PIMD with four beads; PIGLET, which is quantum with eight; both engines, two beads."""
    many = write_solid(
        tmp_path,
        4,
        **QUICK,
        methods=["pimd", "piglet"],
        beads=[4],
        temperatures=[250.0],
        equilibration_steps=60,
        steps=240,
    )
    run_campaign(many)
    other = tmp_path / "other"
    other.mkdir()
    lammps = write_solid(
        other,
        4,
        **QUICK | {"engine": "lammps"},
        methods=["pimd"],
        beads=[2],
        temperatures=[250.0],
        equilibration_steps=60,
        steps=240,
    )
    run_campaign(lammps)
    again = lammps.with_name("again.yaml")
    again.write_text(lammps.read_text().replace("engine: lammps", "engine: i-pi"))
    run_campaign(again)
    cells = report(many.with_suffix("")).cells
    assert {(c.key.method, c.key.beads) for c in cells} == {("pimd", 4), ("piglet", 8)}
    assert {c.records[0].engine for c in cells} == {"i-pi"}
    piglet = read_piglet().at(250.0, 10.0)
    by_engine = [report(path.with_suffix("")).cells[0] for path in (lammps, again)]
    assert [c.records[0].engine for c in by_engine] == ["lammps", "i-pi"]
    for cell in [*cells, *by_engine]:
        for name, mass in cell.masses.items():
            omega, beads = frequency(mass), cell.key.beads
            if cell.key.method == "piglet":
                exact = piglet.kinetic_energy(omega)
                square = piglet.gyration_squared(omega, mass * MASS)
                assert name not in cell.primitive
                # not those of eight beads without PIGLET
                plain = 3 * harmonic.kinetic_energy(omega, 250.0, beads)
                if name == "H":
                    assert cell.virial[name].value > plain + 5 * cell.virial[name].error
            else:
                exact = harmonic.kinetic_energy(omega, 250.0, beads)
                square = harmonic.gyration_squared(omega, 250.0, beads, mass)
                got = cell.primitive[name]
                assert abs(got.value - 3 * exact) < 5 * got.error + 0.03 * exact, (cell.key, name)
            got = cell.virial[name]
            assert abs(got.value - 3 * exact) < 5 * got.error + 0.03 * exact, (cell.key, name)
            got, radius = cell.gyration[name], np.sqrt(3 * square)
            assert abs(got.value - radius) < 5 * got.error + 0.01 * radius, (cell.key, name)
        gap = abs(cell.potential.value - cell.kinetic.value)
        error = np.hypot(cell.potential.error, cell.kinetic.error)
        assert gap < 5 * error + 0.02 * cell.kinetic.value, cell.key
    # fix pimd/langevin and i-PI
    for name in ("H", "D", "N"):
        gap = by_engine[0].virial[name] - by_engine[1].virial[name]
        assert abs(gap.value) < 5 * gap.error, name
    assert not sockets_of(many) + sockets_of(again)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["i-pi", "lammps"])
def test_a_killed_run_goes_on_and_beads_come_in_order(tmp_path, engine):
    """SIGKILL in the middle; the same command ends it, with every frame once."""
    path = write_solid(
        tmp_path,
        2,
        **QUICK | {"engine": engine},
        models=[{"name": "springs", "commands": LOGGED if engine == "i-pi" else SPRINGS}],
        methods=["trpmd"],
        beads=[2],
        temperatures=[300.0],
        equilibration_steps=40,
        steps=160,
        restart_every=20,
        velocity_every=1,
    )
    command = [PROGRAMS / "nequip-legato", "quantum", "run", path]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    folder = path.with_suffix("") / "runs" / "springs" / "two-half" / "300K-trpmd-2-1"
    deadline = time.monotonic() + 300
    begun = "measured.chk_[1-9]" if engine == "i-pi" else "restart.[8-9]0.2"
    while not list(folder.glob(begun)) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / "result.json").exists()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        done = run_process(*command, timeout=600, check=False)
        if done.returncode == 0:
            break
        time.sleep(1.0)  # the killed one's LAMMPS is still on its way out
    assert done.returncode == 0, done.stdout + done.stderr
    assert not sockets_of(path)
    (record,) = read_records(path.with_suffix(""), QuantumRecord)
    assert (record.outcome, record.steps) == ("censored", 200)
    for bead in (1, 2):
        frames = Frames(folder / f"bead{bead}" / "frames.bin")
        assert (frames.first, frames.every, frames.count) == (40, 2, 81)
        x = frames.read(0, 81)
        assert np.abs(np.diff(x[..., :3], axis=0)).max() < 0.5  # it goes on where it was
    assert Frames(folder / "bead1" / "velocities.bin").count == 161
    if engine == "lammps":
        return
    # the order in which LAMMPS has seen the beads after the kill, and i-PI's energies of each
    order = np.loadtxt(folder / "order.txt")
    energies = np.array(
        [
            np.loadtxt(folder / f"bead{n}" / "trace.csv", delimiter=",", skiprows=1, usecols=2)
            for n in (1, 2)
        ]
    )
    last = order[order[:, 0] > 0, 1][-2:]
    assert np.allclose(last, energies[:, -1], atol=1e-3)


DEAF = """
import os, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path("pid").write_text(str(os.getpid()))
pathlib.Path(sys.argv[1]).touch()
time.sleep(60)
"""
SERVE = """
import sys
from nequip_legato.quantum import serve
serve._GRACE = 0.5
serve.ipi_program = lambda: "deaf.py"
sys.exit(serve.main(sys.argv[1:]))
"""


def test_a_killed_campaign_leaves_no_i_pi_that_does_not_listen(tmp_path):
    """What i-PI does for ever after its LAMMPS has died in the middle of an answer."""
    (tmp_path / "deaf.py").write_text(DEAF)
    command = [sys.executable, "-c", SERVE, "socket", "socket", "sleep", "60"]
    process = subprocess.Popen(command, cwd=tmp_path, start_new_session=True)
    wait_for((tmp_path / "socket").exists)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(30) == 128 + signal.SIGTERM
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["i-pi", "lammps"])
def test_a_bead_that_fails_ends_the_run_and_enters_no_average(tmp_path, engine):
    """A force that all runs exceed at once."""
    path = write_solid(
        tmp_path,
        2,
        **QUICK | {"engine": engine},
        methods=["pimd"],
        beads=[2],
        temperatures=[300.0],
        equilibration_steps=0,
        steps=50,
        criteria={"largest_force": 1.0},
    )
    run_campaign(path)
    (record,) = read_records(path.with_suffix(""), QuantumRecord)
    assert record.failed
    assert record.criterion == "largest_force"
    assert record.value > record.threshold == 1.0
    assert record.failed_bead in (1, 2)
    assert record.steps < 50
    done = report(path.with_suffix(""))
    assert not done.cells[0].measured
    assert "pimd P=2 | 1 | 1 |" in done.text


@pytest.mark.slow
def test_triclinic_boxes_are_the_same_to_both_engines(tmp_path):
    """Energies and forces of a rotated, tilted box with atoms across its borders."""
    rng = np.random.default_rng(3)
    sites = np.array([(x, y, z) for x in range(3) for y in range(3) for z in range(3)]) / 3
    cell = np.array([[9.0, 0, 0], [3.0, 8.6, 0], [-2.5, 1.7, 9.2]])
    cell = cell @ Rotation.from_euler("xyz", [30, 40, 50], degrees=True).as_matrix()
    scaled = sites + rng.uniform(-0.05, 0.05, sites.shape)
    atoms = Atoms("HN" * 13 + "H", scaled_positions=scaled, cell=cell, pbc=True)
    found = []
    for engine in ("lammps", "i-pi"):
        base = tmp_path / engine
        base.mkdir()
        path = write_campaign(
            base,
            models=[{"name": "lj", "commands": "pair_style lj/cut 4.0\npair_coeff * * 0.01 2.5\n"}],
            methods=["pimd"],
            beads=[2],
            engine=engine,
            equilibration_steps=0,
            steps=1,
            sample_every=1,
            timestep=1e-6,
            geometry={"rdf": "off"},
        )
        ase.io.write(base / "two.xyz", atoms, format="extxyz")
        run_campaign(path)
        (folder,) = path.with_suffix("").glob("runs/*/*/*")
        energy = np.loadtxt(folder / "bead1" / "trace.csv", delimiter=",", skiprows=1)[0, 2]
        found.append((energy, Frames(folder / "bead1" / "frames.bin").read(0, 1)[0]))
    (energy, frame), (other, moved) = found
    assert energy == pytest.approx(other, abs=2e-5)
    assert np.abs(frame[:, 3:]).max() > 0.05
    assert np.allclose(frame[:, 3:], moved[:, 3:], atol=1e-5)


def test_without_ipi_one_line_names_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(plan, "ipi_program", lambda: "")
    path = write_campaign(tmp_path, methods=["piglet"])
    assert main(["quantum", "run", str(path)]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "pip install" in line
    assert not path.with_suffix("").exists()


def test_sockets_that_were_left_go_and_those_in_use_are_told(tmp_path):
    """Of a killed campaign, and of an i-PI that still listens; nobody else may enter the folder."""
    with ipi_execute.private_socket(tmp_path) as (path, host):
        assert str(path) == f"/tmp/ipi_{host}"
        assert path.parent.stat().st_mode & 0o077 == 0
        left = socket.socket(socket.AF_UNIX)
        left.bind(str(path))
        left.listen(1)  # an i-PI that does not accept any more, so that the queue gets full
        for _ in range(4):
            with (
                pytest.raises(LegatoError, match="another process serves"),
                ipi_execute.private_socket(tmp_path),
            ):
                pass
        left.close()  # as when it was killed: the file stays
        assert path.exists()
        with ipi_execute.private_socket(tmp_path) as (again, _):
            assert again == path
            assert not path.exists()
    assert not path.parent.exists()


def test_dry_run_names_one_lammps_for_all_beads(tmp_path, capsys):
    path = write_campaign(tmp_path, methods=["pimd", "piglet"], beads=[16], engine="i-pi")
    assert main(["quantum", "run", str(path), "--dry-run"]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 2
    assert not any("mpiexec" in line or "-partition" in line for line in lines)
    assert all("nequip_legato.quantum.serve /tmp/ipi_legato-" in line for line in lines)
    assert main(["quantum", "run", str(path), "--script", "slurm"]) == 0
    assert "#SBATCH --ntasks=1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"engine": "magic", "methods": ["pimd"]}, "engine 'magic' is neither"),
        ({"methods": ["piglet"], "piglet": "no.xml"}, "no.xml does not exist"),
        ({"methods": ["piglet"], "temperatures": [40.0]}, "take parameters for more beads"),
        (
            {"methods": ["piglet"], "criteria": {"temperature_window": 100.0}},
            "temperature_window has no effect",
        ),
    ],
)
def test_bad_settings_are_told_in_one_line(tmp_path, capsys, changes, said):
    path = write_campaign(tmp_path, **changes)
    assert main(["quantum", "run", str(path)]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line
