"""The core's Python binding, compiled on first use."""

import copyreg
import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from nequip_legato.errors import LegatoError
from nequip_legato.native import builder
from nequip_legato.native.standard_library import share_standard_library

__all__ = ["digest_of", "load_binding", "load_compiled", "open_engine"]

_NAME = "legato_core"


def load_binding() -> ModuleType:
    """The module ``legato_core`` with the class ``Engine``, the one that LAMMPS runs.

    Raises:
        LegatoError: if it cannot be built or loaded.
    """
    import torch  # noqa: F401  (loads the libraries that the binding is linked against)

    if _NAME in sys.modules:
        return sys.modules[_NAME]
    return load_compiled(builder.ensure(builder.binding()))


def load_compiled(path: Path) -> ModuleType:
    """The module from its compiled library, without the Python code of torch, as in LAMMPS.

    Raises:
        LegatoError: if it cannot be loaded.
    """
    spec: Any = importlib.util.spec_from_file_location(_NAME, path)
    try:
        module: ModuleType = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except ImportError as problem:
        raise LegatoError(
            f"the compiled core {path} cannot be loaded ({problem}); remove it with "
            "'nequip-legato plugin clean' and try again"
        ) from problem
    share_standard_library()
    # Copies and pickles of an engine name its file and settings: threads cannot be copied.
    copyreg.pickle(module.Engine, _by_file)
    sys.modules[_NAME] = module
    return module


def digest_of(path: Path) -> str:
    """SHA-256 of a deployed file.

    Raises:
        LegatoError: if it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as problem:
        reason = problem.strerror or problem
        raise LegatoError(f"cannot open model file '{path}' ({reason})") from problem


def open_engine(
    path: str | Path,
    *,
    threads: int = 1,
    block: int | None = None,
    device: str = "cpu",
    digest: str | None = None,
) -> Any:
    """Load a deployed file into an engine.

    Args:
        path: deployed file.
        threads: number of blocks evaluated at the same time.
        block: largest number of atoms in a block.
        device: ``cpu``, ``cuda`` or ``auto``.
        digest: digest that the file must have, see `digest_of`; None for any.

    Raises:
        LegatoError: if the file cannot be used, or has another digest.
    """
    core = load_binding()
    if digest is not None and digest_of(Path(path)) != digest:
        raise LegatoError(
            f"the model file {path} has changed since the calculator was made, so a copy of it "
            "would be another model; make a new calculator, or put the old file back"
        )
    try:
        return core.Engine(str(path), threads=threads, block=block, device=device)
    except core.EngineError as problem:
        raise LegatoError(str(problem)) from problem


def _reopen(path: str, threads: int, block: int | None, device: str, digest: str) -> Any:
    return open_engine(path, threads=threads, block=block, device=device, digest=digest)


def _by_file(engine: Any) -> tuple[Any, tuple[Any, ...]]:
    digest = digest_of(Path(engine.path))
    return _reopen, (engine.path, engine.threads, engine.chosen_block, engine.device, digest)
