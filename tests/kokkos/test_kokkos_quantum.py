"""Quantum campaigns with ``allegro_legato/kk``: beads move as by the plain style of that LAMMPS.

What these campaigns need of LAMMPS and the tests' LAMMPS was built without (`fix pimd/langevin`,
`fix ipi` and others, all LAMMPS' own) is compiled as a plugin for it.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
import yaml
from ase import Atoms
from lammps_run import Program
from lammps_styles import compiled_styles
from processes import PROGRAMS

from nequip_legato.errors import LegatoError
from nequip_legato.quantum.campaign import run_quantum_campaign
from nequip_legato.quantum.frames import Frames
from nequip_legato.quantum.report import report

STEPS = 6
LEFT_OUT = ["change_box", "compute_coord_atom", "compute_orientorder_atom"]
LEFT_OUT += ["fix_langevin", "fix_print", "fix_store_force"]


@pytest.fixture(scope="module")
def with_packages(kokkos_build: Path, plain_program: Program, shared_folder: Path) -> Program:
    """The tests' LAMMPS without Kokkos switched on, with what campaigns need."""
    folder = compiled_styles("path_integrals", kokkos_build, shared_folder, LEFT_OUT)
    plugins = plain_program.environment["LAMMPS_PLUGIN_PATH"]
    environment = {**plain_program.environment, "LAMMPS_PLUGIN_PATH": f"{plugins}:{folder}"}
    return replace(plain_program, environment=environment)


@pytest.fixture(scope="module")
def campaign(
    tmp_path_factory: pytest.TempPathFactory,
    compiled: Path,
    ammonia: Atoms,
    with_packages: Program,
) -> Callable[..., Path]:
    """Function: (threads of Kokkos or 0, changed settings) -> folder of the results, made once."""
    base = tmp_path_factory.mktemp("campaigns")
    ase.io.write(base / "box.extxyz", Atoms(ammonia))

    def done(threads: int, **changes) -> Path:
        program = " ".join(replace(with_packages, kokkos_threads=threads).command())
        content = {
            "models": [{"name": "small", "file": str(compiled)}],
            "systems": [{"name": "box", "structure": "box.extxyz"}],
            "types": ["H", "N"],
            "isotopes": [{"name": "half", "masses": {"H": {"H": 0.5, "D": 0.5}}}],
            "methods": ["trpmd"],
            "beads": [2],
            "launcher": f"{PROGRAMS / 'mpiexec'} -n {{ranks}} {program}",
            "threads": max(threads, 1),
            "timestep": 0.25,
            "equilibration_steps": STEPS // 3,
            "steps": STEPS - STEPS // 3,
            "sample_every": 1,
            "velocity_every": 1,
            "restart_every": STEPS - 1,
            "geometry": {"center": "N", "ligand": "H", "max": 1.4, "rdf": "off"},
            "criteria": {
                "largest_force": "off",
                "closest_ratio": "off",
                "bonds": [{"center": "N", "neighbor": "H", "count": 3, "min": 0.5, "max": 1.8}],
            },
            "workers": 1,
        }
        label = re.sub(r"\W+", "_", f"{threads} {changes}")
        path = base / f"{label}.yaml"
        if not path.is_file():
            path.write_text(yaml.safe_dump(content | changes))
            with pytest.MonkeyPatch.context() as patch:
                for name, value in with_packages.environment.items():
                    patch.setenv(name, value)
                status = run_quantum_campaign(path)
            assert len(status.records) == status.total
            assert not any(record.failed for record in status.records)
        return path.with_suffix("")

    return done


def beads_of(folder: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions and forces of every bead of the ring polymers, and rows of its trace."""
    (only,) = folder.glob(f"runs/*/*/*-{count}-1")
    frames = [Frames(only / f"bead{n}" / "frames.bin") for n in range(1, count + 1)]
    traces = [
        np.loadtxt(only / f"bead{n}" / "trace.csv", delimiter=",", skiprows=1)
        for n in range(1, count + 1)
    ]
    return np.array([f.read(0, f.count) for f in frames]), np.array(traces)


def assert_alike(folder: Path, other: Path, beads: int) -> None:
    """The same trajectories, to float64's rounding."""
    (x, trace), (x_other, trace_other) = beads_of(folder, beads), beads_of(other, beads)
    assert x.shape == x_other.shape
    assert x.shape[:2] == (beads, STEPS - STEPS // 3 + 1)
    if beads > 1:
        assert np.ptp(x[..., :3], axis=0).max() > 1e-3  # they are not where they began, together
    assert np.abs(x - x_other).max() < 1e-8
    # as many digits as are written; i-PI's have no closest ratio, a number that is not there
    np.testing.assert_allclose(trace[..., :4], trace_other[..., :4], atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2], ids=["t1", "t2"])
def test_beads_move_as_by_the_plain_style(campaign, threads):
    """Classical dynamics and TRPMD with H and D: positions, forces, energies, and the report."""
    methods = ["classical", "trpmd"]
    folder, other = campaign(threads, methods=methods), campaign(0, methods=methods)
    (log,) = folder.glob("runs/*/*/*-trpmd-*/log.lammps.1")
    assert "allegro_legato/kk" in log.read_text()
    for beads in (1, 2):
        assert_alike(folder, other, beads)
    assert report(folder).text == report(other).text


@pytest.mark.slow
def test_two_ranks_per_bead(campaign):
    """Each bead's atoms on two ranks."""
    assert_alike(campaign(1, ranks=4), campaign(0, ranks=4), 2)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_i_pi_moves_beads_as_by_the_plain_style(campaign, ranks):
    """One LAMMPS evaluates bead after bead, also on two ranks."""
    ways = {"engine": "i-pi", "methods": ["pimd"], "ranks": ranks, "restart_every": "off"}
    folder, other = campaign(1, **ways), campaign(0, **ways)
    (log,) = folder.glob("runs/*/*/*/log.lammps")
    assert "allegro_legato/kk" in log.read_text()
    assert_alike(folder, other, 2)


@pytest.mark.slow
def test_a_lammps_without_the_package_is_told_in_one_line(campaign, monkeypatch):
    """The line names the fix, the package, and a LAMMPS that has it."""
    monkeypatch.setenv("LEGATO_TESTS_WITHOUT_PACKAGES", "1")
    springs = [{"name": "springs", "commands": "pair_style zero 4.0\npair_coeff * *\n"}]
    with pytest.raises(LegatoError) as told:
        campaign(0, models=springs)
    (line,) = str(told.value).splitlines()
    assert "no fix pimd/langevin" in line
    assert "package REPLICA" in line
