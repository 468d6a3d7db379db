"""The user's cache of compiled files: one folder a build, made whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from nequip_legato.errors import LegatoError

__all__ = ["CACHE_VARIABLE", "cache_folder", "clean", "locked", "new_folder"]

CACHE_VARIABLE = "NEQUIP_LEGATO_CACHE"


def cache_folder() -> Path:
    """The cache: ``$NEQUIP_LEGATO_CACHE``, else the user's cache folder of this system."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen).expanduser().absolute() if chosen else user_cache_path("nequip-legato")


def _unwritable(folder: Path, problem: OSError) -> LegatoError:
    return LegatoError(
        f"cannot write to the cache folder {folder} ({problem.strerror or problem}); make it "
        f"writable or set {CACHE_VARIABLE} to another folder"
    )


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock of one build, so that ranks and processes wait for the first of them.

    Raises:
        LegatoError: if the cache cannot be written to.
    """
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{name}.lock")
        lock.acquire()
    except OSError as problem:
        raise _unwritable(folder, problem) from problem
    try:
        yield
    finally:
        lock.release()


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """A temporary folder that gets the name ``final`` if the body succeeds, and else vanishes.

    Raises:
        LegatoError: if the cache cannot be written to.
    """
    try:
        scratch = Path(tempfile.mkdtemp(prefix=f".{final.name}-", dir=final.parent))
    except OSError as problem:
        raise _unwritable(final.parent, problem) from problem
    try:
        yield scratch
        if final.exists():
            shutil.rmtree(final)
        scratch.chmod(0o755)
        scratch.rename(final)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def clean() -> list[Path]:
    """Remove every build; returns what was removed. Nothing is removed beside our own builds."""
    removed = []
    for pattern in ("plugin-*", "binding-*", ".plugin-*", ".binding-*"):
        for path in sorted(cache_folder().glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
            removed.append(path)
    return removed
