"""Writing files that appear complete or not at all, and temporary folders."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["replacing", "scratch_folder", "write_atomically"]

_YOUNG = 5.0  # seconds; a younger scratch folder may not be locked yet


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A hidden file beside ``path`` to write to, which is renamed to ``path`` at the end.

    A reader sees the old file or the new one; after an error the hidden one is removed.

    Raises:
        OSError: if the folder of ``path`` cannot be written to.
    """
    # shortened, because the suffix must fit into the longest possible file name
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
    """Write ``text`` to disk, then rename it to ``path``; the folder is made if it is missing.

    Raises:
        OSError: if it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # surrogates stand for bytes of file names that this locale cannot decode
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
    """A new folder in ``parent`` that is removed when the context ends.

    If the process is killed, the folder is removed the next time such a folder is made: a process
    holds a lock on its own folder as long as it is alive.

    Args:
        prefix: beginning of its name.
        parent: folder in which it is made.
        error: (parent, problem) -> exception to raise if it cannot be made.

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
