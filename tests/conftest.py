"""Fixtures that several test folders share."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import compile_cache
import numpy as np
import pytest
import torch
from ase import Atoms
from filelock import FileLock
from platformdirs import user_cache_path

pytest.register_assert_rewrite("lammps_run", "library_session", "precision")

from kept import TRAINED_BY, compiled_from, kept_folder  # noqa: E402
from lammps_run import with_velocities, write_data  # noqa: E402
from models import ammonia_frames, train_tiny  # noqa: E402

from nequip_legato.stability.run.lammps_process import SLEEPING_RANKS  # noqa: E402

pytest_plugins = ["durations", "environment_guard", "lammps_programs"]
os.environ.setdefault("OMP_NUM_THREADS", "1")
for name, value in SLEEPING_RANKS.items():  # tests start more ranks than there are cores
    os.environ.setdefault(name, value)
_COMPILE_CACHE = pytest.StashKey[Path | None]()


def pytest_configure(config: pytest.Config) -> None:
    """Once for all worker processes, which inherit the environment."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        config.stash[_COMPILE_CACHE] = compile_cache.start()


def pytest_unconfigure(config: pytest.Config) -> None:
    """The server that was started ends with the tests."""
    folder = config.stash.get(_COMPILE_CACHE, None)
    if folder is not None:
        compile_cache.stop(folder)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """How much was compiled anew: no processor time of any test."""
    kept = config.stash.get(_COMPILE_CACHE, None) is not None
    if kept and (counts := compile_cache.counts()) is not None:
        found, compiled = counts
        terminalreporter.write_line(f"compiled: {compiled} objects; kept by sccache: {found}")


def pytest_report_header(config: pytest.Config) -> str:
    """Whether what is compiled is kept."""
    kept = config.stash.get(_COMPILE_CACHE, None) is not None
    return f"compiled by tests: {'kept by sccache' if kept else 'not kept, no sccache here'}"


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all worker processes of this session."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture
def steady_folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    """An empty folder of this test, whose path is the same in every run.

    For headers that are copied to be compiled with: where they lie is part of sccache's key.
    """
    name = re.sub(r"\W+", "-", request.node.nodeid).strip("-")
    folder = user_cache_path("nequip-legato-tests") / "steady" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        yield folder
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def checkpoint(shared_folder: Path) -> Callable[..., Path]:
    """Function: options of ``train_tiny`` -> checkpoint, trained once."""

    def get(**options) -> Path:
        label = "-".join(f"{k}={v}" for k, v in sorted(options.items())) or "default"
        safe = "".join(c if c.isalnum() or c in "=-." else "_" for c in label)
        folder = shared_folder / "checkpoints" / safe
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            trained = folder / "model.ckpt"
            if not trained.is_file():
                make = partial(train_tiny, **options)
                made = kept_folder(f"trained-{safe}", [label, *TRAINED_BY], make)
                shutil.copytree(made, folder, dirs_exist_ok=True)
        return trained

    return get


@pytest.fixture(scope="session")
def deployed(checkpoint: Callable[..., Path]) -> Callable[..., Path]:
    """Function: (suffix, options of ``train_tiny``) -> deployed file, made once."""
    from nequip_legato.deploy import build

    def get(suffix: str = ".nequip.pth", **options) -> Path:
        source = checkpoint(**options)
        path = source.with_name(f"model{suffix}")
        with FileLock(source.with_name(f"model{suffix}.lock")):
            if not path.is_file():
                threads = torch.get_num_threads()
                torch.set_num_threads(2)  # as on a user's machine; the file must not depend on it
                _make(path, source, partial(build, source))
                torch.set_num_threads(threads)
        return path

    return get


@pytest.fixture(scope="session")
def compiled(deployed: Callable[..., Path]) -> Path:
    """The usual model by AOTInductor: LAMMPS starts with it in a third of the time.

    For tests of what does not depend on the kind of file: TorchScript takes a second of processor
    time in each process before the first step.
    """
    return deployed(".nequip.pt2")


@pytest.fixture(scope="session")
def fenced(checkpoint: Callable[..., Path]) -> Callable[..., Path]:
    """Function: (suffix, kind, options of ``train_tiny``) -> deployed file with a fence."""
    from nequip_legato.deploy import build
    from nequip_legato.fence import FenceSettings

    def get(suffix: str = ".nequip.pth", kind: str = "gaps", **options) -> Path:
        source = checkpoint(**options)
        path = source.with_name(f"{kind}{suffix}")
        with FileLock(source.with_name(f"{kind}{suffix}.lock")):
            if not path.is_file():
                energy_model = suffix == ".nequip.pt2" and not options
                fence = FenceSettings(kind=kind)
                _make(path, source, partial(build, source, fence=fence, energy_model=energy_model))
        return path

    return get


def _make(path: Path, source: Path, build: Callable[[Path], object]) -> None:
    """Deploy a checkpoint; what it took a minute to compile is kept for other runs of the tests."""
    name = f"{source.parent.name}-{path.name}"
    made = kept_folder(name, compiled_from(source), lambda folder: build(folder / path.name))
    shutil.copy2(made / path.name, path)


@pytest.fixture(scope="session")
def ammonia() -> Atoms:
    """64 atoms of NH3, cubic and periodic, with velocities of about 300 K."""
    return with_velocities(ammonia_frames(2)[1])


@pytest.fixture
def data_file(tmp_path: Path, ammonia: Atoms) -> Path:
    """The ammonia box as data.lammps."""
    path = tmp_path / "data.lammps"
    write_data(path, ammonia, ["H", "N"])
    return path


@pytest.fixture(scope="session")
def squeezed() -> Atoms:
    """Two molecules of ammonia in a box, on which walls and bump of such fences act."""
    rng = np.random.default_rng(11)
    molecule = np.array([[0, 0, 0], [0.94, 0, 0.38], [-0.47, 0.81, 0.38], [-0.47, -0.81, 0.38]])
    atoms = Atoms("NH3NH3", np.vstack([molecule, molecule + np.array([2.3, 0.2, 0.4])]))
    atoms.positions[1] *= 0.78  # an N-H bond in the wall
    atoms.positions[2] *= 1.45  # one in the gap
    atoms.positions += rng.normal(scale=0.01, size=atoms.positions.shape)
    atoms.set_cell([12.0, 12.0, 12.0])
    atoms.set_pbc(True)
    atoms.center()
    atoms.positions = atoms.positions.round(6)  # what files of frames keep
    return atoms
