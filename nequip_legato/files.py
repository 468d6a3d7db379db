"""Files that appear complete or not at all, and folders that vanish."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["replacing", "scratch_folder", "write_atomically"]

_YOUNG = 5.0  # seconds in which a scratch folder may not be locked yet


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A hidden file beside ``path`` to write to, which takes its name when the context ends well.

    A reader sees the old file or the new one; after an error the hidden one is gone.

    Raises:
        OSError: if the folder of ``path`` cannot be written into.
    """
    # cut, for a name that is as long as names may be has no room for more
    handle, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name[:40]}.")
    os.close(handle)
    hidden = Path(name)
    try:
        yield hidden
        hidden.chmod(0o644)
        hidden.replace(path)
    except BaseException:
        hidden.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, text: str) -> None:
    """Write ``text``, on disk before it has its name; the folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # surrogates stand for bytes of file names that are no text in this locale
    with (
        replacing(path) as hidden,
        hidden.open("w", encoding="utf-8", errors="surrogateescape") as stream,
    ):
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


@contextmanager
def scratch_folder(
    prefix: str, parent: Path, error: Callable[[Path, OSError], Exception] | None = None
) -> Iterator[Path]:
    """A new folder in ``parent`` that is gone when the context ends.

    If the process is killed, it goes when the next one asks for such a folder: as long as a process
    is alive, it holds a lock on its own.

    Args:
        prefix: how its name begins.
        parent: where.
        error: (parent, problem) -> what to raise if it cannot be made.

    Raises:
        OSError: if it cannot be made, unless ``error`` is given.
    """
    _remove_abandoned(prefix, parent)
    try:
        folder = tempfile.mkdtemp(prefix=prefix, dir=parent)
        lock = os.open(folder, os.O_RDONLY)
    except OSError as problem:
        if error is None:
            raise
        raise error(parent, problem) from problem
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _remove_abandoned(prefix: str, parent: Path) -> None:
    with suppress(OSError), os.scandir(parent) as found:
        for entry in [e for e in found if e.name.startswith(prefix)]:
            with suppress(OSError):
                lock = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                try:
                    state = os.fstat(lock)
                    if state.st_uid == os.geteuid() and state.st_mtime < time.time() - _YOUNG:
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        shutil.rmtree(entry.path, ignore_errors=True)
                finally:
                    os.close(lock)
