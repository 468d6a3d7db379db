"""What tests take long to make is kept in the user's cache until what it is made from changes.

Only for what a test needs, or whose sources are all named: what is made is then what is tested.
"""

import hashlib
import platform
import shutil
import time
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path

import torch
from filelock import FileLock
from platformdirs import user_cache_path

__all__ = ["TRAINED_BY", "compiled_from", "kept_folder", "tensors_of"]

_UNUSED = 7 * 24 * 3600.0  # s, after which what was made from other sources is removed
_ROOT = Path(__file__).parents[1]
_PACKAGES = ("torch", "nequip", "nequip-allegro", "e3nn", "lightning", "ase")
_PACKAGE = _ROOT / "nequip_legato"
_ROOMS = ("cli", "deploy", "deployed", "fence", "kernels", "native", "trained")
_VERSIONS = tuple(f"{name} {metadata.version(name)}" for name in _PACKAGES)
_SHARED = tuple(sorted(_PACKAGE.glob("*.py")))  # what every part of the package may import
# all that a tiny model depends on, but for its options
TRAINED_BY = (
    *sorted((_PACKAGE / "sam").glob("*.py")),
    *(_ROOT / "examples" / "nh3" / "data").glob("train.extxyz"),
    _ROOT / "tests" / "models.py",
    *_SHARED,
    *_VERSIONS,
)
# all that a compiled model depends on, but for the tensors: the engine checks it
_COMPILED_BY = (
    *sorted(path for room in _ROOMS for path in (_PACKAGE / room).rglob("*.py")),
    *sorted((_PACKAGE / "kernels" / "cpu").iterdir()),
    *sorted(
        path for part in ("core", "python") for path in (_ROOT / "lammps_plugin" / part).iterdir()
    ),
    *TRAINED_BY,  # what a checkpoint tells of its training is copied into the file
)


def _digest(parts: Iterable[Path | str]) -> str:
    """Of words, and of the contents of files, whose folders do not count."""
    digest = hashlib.sha256()
    for part in parts:
        name = part.name if isinstance(part, Path) else ""
        data = part.read_bytes() if isinstance(part, Path) else part.encode()
        digest.update(f"{name} {len(data)} ".encode() + data)
    return digest.hexdigest()[:16]


def kept_folder(name: str, parts: Iterable[Path | str], make: Callable[[Path], object]) -> Path:
    """A folder that ``make`` has filled, now or in an earlier run with the same ``parts``.

    Args:
        name: of what is made; a folder of this name that is made from something else stays for a
            week after its last use, for another checkout may need it.
        parts: what it is made from, besides the processor.
        make: fills an empty folder, whose path does not change afterwards.
    """
    top = user_cache_path("nequip-legato-tests", ensure_exists=True)
    folder = top / f"{name}@{_digest([*parts, _processor()])}"
    complete = folder / ".complete"
    with FileLock(top / f"{name}.lock"):
        if not complete.is_file():
            for other in top.glob(f"{name}@*"):
                if other == folder or _last_use(other) < time.time() - _UNUSED:
                    shutil.rmtree(other)
            folder.mkdir()
            make(folder)
        complete.touch()
    return folder


def _last_use(folder: Path) -> float:
    complete = folder / ".complete"
    return complete.stat().st_mtime if complete.is_file() else folder.stat().st_mtime


def compiled_from(checkpoint: Path) -> list[Path | str]:
    """All that a compiled file of a checkpoint of ``train_tiny`` depends on.

    The model's tensors stand for the checkpoint, which differs by the names of folders in it.
    """
    return [tensors_of(checkpoint), checkpoint.with_name("train.extxyz"), *_COMPILED_BY]


def tensors_of(checkpoint: Path) -> str:
    """The model's tensors, in words."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=False)["state_dict"]
    tensors = {name: value for name, value in state.items() if torch.is_tensor(value)}
    return str({name: (str(value.dtype), value.tolist()) for name, value in tensors.items()})


def _processor() -> str:
    """AOTInductor compiles for the processor at hand."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    flags = [line for line in lines if line.startswith(("flags", "Features"))]
    return " ".join([platform.machine(), *flags[:1]])
