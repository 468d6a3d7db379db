"""Keeping finished units of work, so that a measurement can continue after an interrupt."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from nequip_legato.errors import LegatoError
from nequip_legato.files import write_atomically
from nequip_legato.sharpness.settings import Settings

__all__ = ["Store", "key_of"]


# Changed when the same settings give other numbers than before, so that old units are not used.
_DEFINITION = b"means over labels"


def key_of(model: Path, frames: Path, weights: str, settings: Settings) -> str:
    """Digest of what determines the numbers of all units: model, frames, weights, and settings.

    The choice of measures and the numbers of samples are left out, so that more can be added later.
    """
    chosen = asdict(settings)
    for name in ("measures", "samples", "trace_samples", "rho"):
        del chosen[name]
    parts = [_DEFINITION, model.read_bytes(), frames.read_bytes(), weights.encode()]
    parts.append(json.dumps(chosen, sort_keys=True).encode())
    return hashlib.sha256(b"".join(hashlib.sha256(p).digest() for p in parts)).hexdigest()[:16]


class Store:
    """A file with a line for each finished unit.

    A line that was cut off by a kill is ignored and its unit repeated.

    Args:
        path: the file, ``*.jsonl``.

    Raises:
        LegatoError: if another line of the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.done: dict[str, dict[str, float]] = {}
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            for line in text.splitlines(keepends=True):
                if line.endswith("\n"):
                    try:
                        name, value = json.loads(line)
                    except ValueError as problem:
                        raise LegatoError(f"{path} is damaged; delete it and start again") from (
                            problem
                        )
                    self.done[name] = value
            if text and not text.endswith("\n"):
                write_atomically(path, text[: text.rfind("\n") + 1])

    def add(self, name: str, value: dict[str, float]) -> None:
        """Store a unit. Numbers are written so that they are read back bit for bit."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps([name, value]) + "\n")
        self.done[name] = value
