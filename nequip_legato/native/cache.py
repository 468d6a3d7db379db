"""The user's cache of compiled files: one folder for each build, complete or not there."""

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from nequip_legato.errors import LegatoError
from nequip_legato.files import scratch_folder

__all__ = ["CACHE_VARIABLE", "build_folder", "cache_folder", "clean", "locked", "new_folder"]

CACHE_VARIABLE = "NEQUIP_LEGATO_CACHE"

_NOT_FOR_CMAKE = '"#$;\\\n'  # in the name of a build folder

# Errors of flock on a file system without locks, such as NFS without its lock daemon.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


def cache_folder() -> Path:
    """Where builds are made.

    ``$NEQUIP_LEGATO_CACHE`` if it is set, even if it cannot be used. Else the user's cache folder
    of this system, or, if that cannot be written to (no home folder, as in containers), the user's
    own folder in TMPDIR.

    Raises:
        LegatoError: if none of them can be used.
    """
    for folder in _candidates():
        if os.environ.get(CACHE_VARIABLE) or _is_usable(folder):
            return folder
    raise LegatoError(
        "no folder for compiled files can be written, neither the user's cache folder nor "
        f"{_temporary_folder()}, which nobody else may own or write to; set {CACHE_VARIABLE} to "
        "another folder"
    )


def build_folder(name: str, file: str) -> Path:
    """Where the build ``name`` with the library ``file`` is, or else is to be made.

    A build in a read-only cache is used too.

    Raises:
        LegatoError: if it is not there, and no folder for it can be used.
    """
    for folder in _candidates():
        if os.path.isfile(folder / name / file):
            return folder / name
    return cache_folder() / name


def _candidates() -> Iterator[Path]:
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        try:
            yield Path(chosen).expanduser().absolute()
        except (RuntimeError, OSError) as problem:  # no home folder, no working folder
            raise LegatoError(
                f"{CACHE_VARIABLE}={chosen} cannot be resolved ({problem}); give an absolute path"
            ) from problem
        return
    with suppress(RuntimeError, KeyError, OSError):  # no HOME, and a user whom no passwd file knows
        yield user_cache_path("nequip-legato")
    if _is_private(_temporary_folder()):
        yield _temporary_folder()


def _temporary_folder() -> Path:
    return Path("/", os.environ.get("TMPDIR") or "tmp", f"nequip-legato-{os.getuid()}")


def _is_private(folder: Path) -> bool:
    """Whether nobody else can put libraries there: our own folder, not a link, or not there yet.

    Its name is predictable, and everybody can write to its parent.
    """
    try:
        state = folder.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid() and not state.st_mode & 0o022


def _is_usable(folder: Path) -> bool:
    """Whether builds can be made there. The user's own folder in TMPDIR is made for that."""
    if folder != _temporary_folder():
        return _can_write(folder)
    with suppress(OSError):
        folder.mkdir(mode=0o700)
    return folder.is_dir() and _is_private(folder)


def _can_write(folder: Path) -> bool:
    there = str(folder)
    while not os.path.exists(there):
        there = os.path.dirname(there)
    return os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK)


def _unwritable(folder: Path, problem: OSError) -> LegatoError:
    return LegatoError(
        f"cannot write to the cache folder {folder} ({problem.strerror or problem}); make it "
        f"writable or set {CACHE_VARIABLE} to another folder"
    )


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock of one build, so that ranks and processes wait for the first of them.

    Without a lock if the file system has none: then every process builds, and the first one counts.

    Raises:
        LegatoError: if the cache cannot be written to.
    """
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Whoever may write to a cache that several users share may also wait for one another.
        lock = FileLock(folder / f"{name}.lock", mode=folder.stat().st_mode & 0o666)
        lock.acquire()
    except (OSError, NotImplementedError) as problem:
        if isinstance(problem, OSError) and problem.errno not in _NO_LOCKS:
            raise _unwritable(folder, problem) from problem
        yield
        return
    try:
        yield
    finally:
        lock.release()


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """A temporary folder that gets the name ``final`` if the body succeeds; else it is removed.

    Folders left by killed processes are removed as well.

    Raises:
        LegatoError: if the cache cannot be written to.
    """
    with scratch_folder(f".{final.name}-", final.parent, _unwritable) as scratch:
        with _cmake_folder(scratch) as made:
            yield made
            for path in [made, *made.rglob("*")]:  # for other users of the cache, any umask
                path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o644))
            shutil.move(made, scratch / "whole")
        if final.exists():
            final.rename(scratch / "before")  # may be in use
        (scratch / "whole").rename(final)


@contextmanager
def _cmake_folder(scratch: Path) -> Iterator[Path]:
    """A new folder in which CMake can work; some characters in paths break it."""
    with ExitStack() as stack:
        if set(str(scratch)) & set(_NOT_FOR_CMAKE):
            parent = Path(tempfile.gettempdir())
            scratch = stack.enter_context(scratch_folder("nequip-legato-build-", parent))
        made = scratch / "made"
        made.mkdir()
        yield made


def clean() -> list[Path]:
    """Remove every build, and nothing else; returns what was removed.

    Raises:
        LegatoError: if one cannot be removed, for instance because another user owns it.
    """
    removed = []
    patterns = ("plugin-*", "binding-*", ".plugin-*", ".binding-*")
    for path in [p for f in _candidates() for pattern in patterns for p in sorted(f.glob(pattern))]:
        try:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as problem:
            raise LegatoError(
                f"{path} cannot be removed ({problem.strerror}); it may belong to another user"
            ) from problem
        removed.append(path)
    return removed
