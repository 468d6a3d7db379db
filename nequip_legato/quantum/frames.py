"""Reading LAMMPS' binary dumps in pieces; all frames of a file have the same size."""

import os
import shutil
import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from nequip_legato.errors import LegatoError
from nequip_legato.files import replacing

__all__ = ["Frames", "join", "truncate", "write_frames"]

_MAGIC = b"DUMPCUSTOM"
_START = struct.Struct("<q10siiqqi")  # -len(magic), magic, byte order, revision, step, atoms, cell
_MOST_HEADER = 65536
_PIECE = 1 << 24


@dataclass(frozen=True)
class _Layout:
    atoms: int
    columns: list[str]
    header: int
    chunks: list[int]

    @cached_property
    def dtype(self) -> np.dtype:
        fields: list[tuple] = [
            ("head", f"S{_START.size}"),
            ("rest", f"V{self.header - _START.size}"),
        ]
        for n, size in enumerate(self.chunks):
            fields += [(f"n{n}", "<i4"), (f"d{n}", "<f8", (size,))]
        return np.dtype(fields)


class Frames:
    """Frames of a file ``dump custom ... FILE.bin``, sorted by id.

    Args:
        path: the file. An incomplete frame at its end, left by a killed process, does not count.

    Raises:
        LegatoError: if it is not such a file, or if its frames differ in size or interval.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            size = path.stat().st_size
        except OSError as problem:
            raise LegatoError(f"{path} cannot be read ({problem.strerror})") from problem
        self.count = 0
        self.first = self.every = 0
        if size == 0:
            return
        self._layout = self._read_layout()
        self.count = size // self._layout.dtype.itemsize
        if self.count:
            self.first = self._step(0)
        if self.count > 1:
            self.every = self._step(1) - self.first
            last = self.first + (self.count - 1) * self.every
            if self._step(self.count - 1) != last or self.every < 1:
                raise LegatoError(
                    f"{path}: frames are missing between step {self.first} and {last}"
                )

    @property
    def atoms(self) -> int:
        """Number of atoms."""
        return self._layout.atoms

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return self._layout.columns

    @property
    def frame_bytes(self) -> int:
        """Size of a frame in the file."""
        return self._layout.dtype.itemsize

    def read(self, begin: int, count: int) -> np.ndarray:
        """Frames ``begin`` to ``begin + count``: (count, atoms, columns) float64, LAMMPS' units.

        Raises:
            LegatoError: if the number of atoms changes.
        """
        raw = np.fromfile(
            self.path, self._layout.dtype, count, offset=begin * self._layout.dtype.itemsize
        )
        parts = [raw[f"d{n}"] for n in range(len(self._layout.chunks))]
        data = np.ascontiguousarray(parts[0]) if len(parts) == 1 else np.concatenate(parts, axis=1)
        for n, size in enumerate(self._layout.chunks):
            if (raw[f"n{n}"] != size).any():
                raise LegatoError(f"{self.path}: the number of atoms changes")
        return data.reshape(len(raw), self._layout.atoms, len(self._layout.columns))

    def _step(self, frame: int) -> int:
        with self.path.open("rb") as stream:
            stream.seek(frame * self._layout.dtype.itemsize)
            start = _START.unpack(stream.read(_START.size))
        if start[1] != _MAGIC or start[5] != self._layout.atoms:
            raise LegatoError(f"{self.path}: frame {frame} is damaged")
        return start[4]

    def _read_layout(self) -> _Layout:
        with self.path.open("rb") as stream:
            text = stream.read(_MOST_HEADER)
            try:
                _, magic, order, revision, _, atoms, triclinic = _START.unpack_from(text)
                if magic != _MAGIC or order != 1 or revision < 2 or triclinic not in (0, 1):
                    raise ValueError
                at = _START.size + 6 * 4 + (9 if triclinic else 6) * 8 + 4
                (length,) = struct.unpack_from("<i", text, at)
                at += 4 + length
                at += 1 + 8 * bool(text[at])
                (length,) = struct.unpack_from("<i", text, at)
                columns = text[at + 4 : at + 4 + length].decode().split()
                at += 4 + length
                (number,) = struct.unpack_from("<i", text, at)
                at += 4
                header, chunks = at, []
                for _ in range(number):
                    stream.seek(at)
                    (size,) = struct.unpack("<i", stream.read(4))
                    chunks.append(size)
                    at += 4 + 8 * size
                if sum(chunks) != atoms * len(columns):
                    raise ValueError
            except (struct.error, ValueError, IndexError) as problem:
                raise LegatoError(f"{self.path} is not a binary dump of LAMMPS") from problem
        return _Layout(atoms, columns, header, chunks)


def truncate(path: Path, *, before: int) -> None:
    """Drop the frames from a step on, and an incomplete frame at the end.

    Args:
        path: a binary dump.
        before: frames of this step and later ones are dropped.
    """
    frames = Frames(path)
    kept = frames.count
    if frames.every:
        kept = min(kept, max(0, -(-(before - frames.first) // frames.every)))
    elif kept and frames.first >= before:
        kept = 0
    os.truncate(path, kept * frames.frame_bytes if frames.count else 0)


def write_frames(path: Path, steps: np.ndarray, data: np.ndarray, columns: str) -> None:
    """A binary dump like those of LAMMPS, for trajectories of other programs; its box is empty.

    Args:
        path: the file.
        steps: (frames,).
        data: (frames, atoms, columns).
        columns: names of the columns.
    """
    _, atoms, width = data.shape
    names = columns.encode()
    middle = struct.pack("<6i6d", *[0] * 12) + struct.pack("<ii?i", width, 0, False, len(names))
    middle += names + struct.pack("<ii", 1, atoms * width)
    with replacing(path) as hidden, hidden.open("wb") as stream:
        for step, frame in zip(steps.tolist(), data, strict=True):
            stream.write(_START.pack(-len(_MAGIC), _MAGIC, 1, 2, step, atoms, 0) + middle)
            stream.write(np.ascontiguousarray(frame, dtype="<f8").tobytes())


def join(part: Path, path: Path) -> None:
    """Move the frames of a part to the end of a file, replacing frames of the same steps there.

    LAMMPS does not append to binary dumps, even with ``dump_modify append``: it overwrites them.

    Args:
        part: what LAMMPS has written last; removed afterwards.
        path: all frames so far; may not exist yet.
    """
    new = Frames(part)
    if new.count:
        truncate(part, before=new.first + max(1, new.count * new.every))
        if path.is_file():
            truncate(path, before=new.first)
            with path.open("ab") as whole, part.open("rb") as stream:
                shutil.copyfileobj(stream, whole, _PIECE)
        else:
            part.replace(path)
    part.unlink(missing_ok=True)
