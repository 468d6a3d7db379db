"""Copies of calculators: deepcopy, pickle, other processes, and the schedulers that need them."""

import copy
import multiprocessing
import os
import pickle
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask
import joblib
import numpy as np
import pytest
from ase import Atoms
from models import ammonia_frames
from processes import run_process

from nequip_legato import LegatoCalculator, LegatoError
from nequip_legato.native.engine import open_engine


@pytest.fixture(scope="module")
def atoms() -> Atoms:
    return ammonia_frames(1)[0].copy()


@pytest.fixture
def model(compiled, tmp_path) -> Path:
    """A copy of the file, which a test may remove or change."""
    return Path(shutil.copy(compiled, tmp_path / "m.nequip.pt2"))


def used(model: Path, atoms: Atoms, **options) -> tuple[LegatoCalculator, np.ndarray]:
    """A calculator whose threads have worked, and its forces."""
    calculator = LegatoCalculator(model, **options)
    return calculator, calculator.get_forces(atoms)


def forces(calculator: LegatoCalculator, atoms: Atoms) -> np.ndarray:
    """Computed, not taken from the results."""
    moved = atoms.copy()
    moved.positions += moved.cell.array[0]  # a lattice vector: the same forces
    calculator.calculate(moved, ["forces"])
    return calculator.results["forces"]


def energy_and_process(calculator: LegatoCalculator, atoms: Atoms) -> tuple[float, int]:
    moved = atoms.copy()
    moved.positions += moved.cell.array[1]
    calculator.calculate(moved, ["energy"])
    return calculator.results["energy"], os.getpid()


def by_pickle(thing):
    return pickle.loads(pickle.dumps(thing))


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, by_pickle])
def test_copies_keep_settings_and_results(copied, model, atoms):
    options = {"threads": 2, "block": 5, "type_names": {"P": "N"}}
    calculator, expected = used(model, atoms, label="name", **options)
    other = copied(calculator)
    np.testing.assert_array_equal(other.results["forces"], expected)
    assert (other.label, other.engine.threads, other.engine.block) == ("name", 2, 5)
    assert other.engine is not calculator.engine
    np.testing.assert_allclose(forces(other, atoms), expected, atol=1e-12)
    renamed = Atoms(["P" if s == "N" else s for s in atoms.symbols[:4]], atoms.positions[:4])
    plain = Atoms(atoms.symbols[:4], atoms.positions[:4])
    assert other.get_potential_energy(renamed) == calculator.get_potential_energy(plain)


def test_atoms_with_their_calculator(model, atoms):
    atoms = atoms.copy()
    atoms.calc, expected = used(model, atoms)
    np.testing.assert_allclose(forces(copy.deepcopy(atoms).calc, atoms), expected, atol=1e-12)


def test_copies_without_limit_of_blocks(model, atoms):
    calculator = LegatoCalculator(model)
    assert copy.deepcopy(calculator).engine.block == calculator.engine.block == 64


@pytest.mark.slow
def test_a_copy_is_never_another_model(model, deployed, atoms):
    calculator, expected = used(model, atoms)
    early, late = (copy.deepcopy(calculator) for _ in range(2))
    np.testing.assert_allclose(forces(early, atoms), expected, atol=1e-12)
    shutil.copy(deployed(".nequip.pt2", seed=1), model)
    with pytest.raises(LegatoError, match=r"m\.nequip\.pt2 has changed since the calculator"):
        forces(late, atoms)
    model.unlink()
    with pytest.raises(LegatoError, match=r"cannot open model file .*m\.nequip\.pt2.*No such"):
        forces(late, atoms)
    np.testing.assert_allclose(forces(early, atoms), expected, atol=1e-12)


@pytest.mark.slow
def test_a_copy_is_found_from_another_folder(model, atoms, monkeypatch, tmp_path):
    monkeypatch.chdir(model.parent)
    calculator, expected = used(Path(model.name), atoms)
    text = pickle.dumps((calculator, calculator.engine))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    other, engine = pickle.loads(text)
    np.testing.assert_allclose(forces(other, atoms), expected, atol=1e-12)
    assert engine.type_names == ["H", "N"]


@pytest.mark.parametrize("copied", [copy.deepcopy, by_pickle])
def test_engines_by_themselves(copied, model):
    engine = open_engine(model, threads=2, block=7)
    other = copied(engine)
    assert (other.threads, other.block, other.path) == (2, 7, engine.path)
    pair = (np.array([[0, 0, 0], [1.0, 0, 0]]), np.array([0, 1]), np.arange(3), np.array([1, 0]))
    assert other.compute(*pair)["energy"] == engine.compute(*pair)["energy"]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".nequip.pth", ".nequip.pt2"])
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_processes(method, suffix, deployed, atoms):
    """After the model has run; a fork takes the engine along, but not its threads."""
    calculator, _ = used(deployed(suffix), atoms, threads=2)
    expected = calculator.get_potential_energy(atoms)
    with multiprocessing.get_context(method).Pool(2) as pool:
        work = [pool.apply_async(energy_and_process, (calculator, atoms)) for _ in range(4)]
        results = [w.get(timeout=240) for w in work]
    assert all(process != os.getpid() for _, process in results)
    assert [e for e, _ in results] == pytest.approx([expected] * 4, abs=1e-10)
    assert calculator.get_potential_energy(atoms) == expected  # the parent's goes on


_INHERITED = """
import gc, os, sys
import ase.io
from nequip_legato import LegatoCalculator
atoms = ase.io.read(sys.argv[2])
kept, dropped = (LegatoCalculator(sys.argv[1], threads=2) for _ in range(2))
energy = kept.get_potential_energy(atoms), dropped.get_potential_energy(atoms)
child = os.fork()
if child == 0:
    del dropped  # its threads are in the parent: to wait for them would never end
    gc.collect()
    kept.reset()
    again = kept.get_potential_energy(atoms)
    grandchild = os.fork()
    if grandchild == 0:
        kept.reset()
        sys.exit(0 if kept.get_potential_energy(atoms) == again == energy[0] else 3)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.slow
def test_inherited_by_a_fork(model, atoms, tmp_path):
    """Without pickling: used, dropped, and handed on to a grandchild; all of them end."""
    atoms.write(tmp_path / "atoms.extxyz")
    run_process(sys.executable, "-c", _INHERITED, model, tmp_path / "atoms.extxyz", timeout=120)


@pytest.mark.slow
def test_bad_input_in_another_process(model):
    """The one line comes back from a pool; it must be something that can be pickled."""
    calculator = LegatoCalculator(model)
    oxygen = Atoms("O2", [[0, 0, 0], [1.2, 0, 0]], cell=[9, 9, 9])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        work = pool.apply_async(energy_and_process, (calculator, oxygen))
        with pytest.raises(LegatoError, match="no atom type named O"):
            work.get(timeout=120)
        model.unlink()
        work = pool.apply_async(energy_and_process, (calculator, oxygen))
        with pytest.raises(LegatoError, match="cannot open model file"):
            work.get(timeout=120)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_joblib(backend, model, atoms):
    calculator, _ = used(model, atoms)
    expected = calculator.get_potential_energy(atoms)
    work = [joblib.delayed(energy_and_process)(copy.copy(calculator), atoms) for _ in range(4)]
    results = joblib.Parallel(n_jobs=2, backend=backend, timeout=240)(work)
    assert [e for e, _ in results] == pytest.approx([expected] * 4, abs=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["threads", "processes", "synchronous"])
def test_dask(scheduler, model, atoms):
    calculator, _ = used(model, atoms)
    expected = calculator.get_potential_energy(atoms)
    work = [dask.delayed(energy_and_process)(copy.copy(calculator), atoms) for _ in range(4)]
    results = dask.compute(*work, scheduler=scheduler, num_workers=2)
    assert [e for e, _ in results] == pytest.approx([expected] * 4, abs=1e-10)
    elsewhere = {process for _, process in results} - {os.getpid()}
    assert bool(elsewhere) == (scheduler == "processes")


@pytest.mark.slow
def test_one_engine_for_several_threads(model):
    """Calls wait for one another instead of mixing their atoms."""
    engine = open_engine(model, threads=2, block=1)
    rng = np.random.default_rng(0)
    clusters = [rng.uniform(0, 3, (n, 3)) + np.arange(n)[:, None] for n in range(3, 15)]

    def energy(positions: np.ndarray) -> float:
        n = len(positions)
        others = np.array([[j for j in range(n) if j != i] for i in range(n)])
        offsets = (n - 1) * np.arange(n + 1)
        return engine.compute(positions, np.arange(n) % 2, offsets, others.ravel())["energy"]

    expected = [energy(c) for c in clusters]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            assert list(pool.map(energy, clusters)) == expected
