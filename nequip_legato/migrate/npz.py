"""Writing an npz file as extxyz, according to an old configuration.

``nequip-legato migrate OLD.yaml --npz OUT.extxyz``
"""

from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers

from nequip_legato.errors import LegatoError
from nequip_legato.files import replacing
from nequip_legato.migrate.data import atom_types
from nequip_legato.migrate.old import OldConfig, read_old

__all__ = ["npz_to_extxyz"]

# Used by nequip 0.5 without a key_mapping.
_DEFAULT_KEYS = {
    "positions": "pos",
    "energy": "total_energy",
    "force": "forces",
    "forces": "forces",
    "Z": "atomic_numbers",
    "atomic_number": "atomic_numbers",
}
_TYPES = ("atom_types", "species_index")
_KNOWN = ("pos", "total_energy", "forces", "atomic_numbers", *_TYPES, "cell", "pbc", "stress")


def npz_to_extxyz(old: Path, out: Path, *, prefix: str = "") -> list[str]:
    """Write the frames of an old configuration's npz file as extxyz.

    Args:
        old: the old configuration; its paths begin in the current folder.
        out: the file to write, in the units of the npz file.
        prefix: ``"validation_"`` for the validation data.

    Returns:
        The names of fields that were left out because extxyz cannot hold them.

    Raises:
        LegatoError: if the npz file cannot be read, or lacks positions, types or energies.
    """
    config = read_old(old)
    arrays, fixed, left_out = _arrays(config, prefix)
    numbers = _numbers(config, arrays)
    n_frames = len(arrays["total_energy"])

    def entry(name: str, frame: int) -> Any:
        return arrays[name] if name in fixed else arrays[name][frame]

    frames = []
    for k in range(n_frames):
        atoms = Atoms(
            numbers=np.reshape(numbers if numbers.ndim == 1 else numbers[k], -1),
            positions=entry("pos", k),
            cell=entry("cell", k) if "cell" in arrays else None,
            pbc=entry("pbc", k) if "pbc" in arrays else "cell" in arrays,
        )
        results = {"energy": float(np.reshape(entry("total_energy", k), -1)[0])}
        for name in ("forces", "stress"):
            if name in arrays:
                results[name] = entry(name, k)
        atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    with replacing(out) as hidden:
        ase.io.write(hidden, frames, format="extxyz")
    return left_out


def _arrays(config: OldConfig, prefix: str) -> tuple[dict[str, np.ndarray], set[str], list[str]]:
    """Arrays by nequip's names, names of those that are the same in all frames, names left out."""

    def get(key: str, default: Any) -> Any:
        names = [f"{prefix}dataset_{key}", f"{prefix}{key}", f"dataset_{key}", key]
        return next((config.peek(name) for name in names if name in config), default)

    path = Path(str(config.peek(f"{prefix}dataset_file_name")))
    keys = get("key_mapping", None) or _DEFAULT_KEYS
    fixed = list(get("npz_fixed_field_keys", None) or [])
    listed = [*(get("include_keys", None) or []), *fixed]
    keys = {**{name: name for name in listed if name not in keys.values()}, **keys}
    try:
        with np.load(path, allow_pickle=False) as found:
            arrays = {keys[name]: found[name] for name in found.files if name in keys}
    except (OSError, ValueError) as problem:
        words = " ".join(str(problem).split())
        raise LegatoError(f"cannot read {path} as npz: {words}") from problem
    for name in ("pos", "total_energy"):
        if name not in arrays:
            raise LegatoError(
                f"{path} has no array for {name}: add it to key_mapping in {config.name}"
            )
    left_out = [name for name in arrays if name not in _KNOWN]
    return arrays, set(fixed), left_out


def _numbers(config: OldConfig, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Atomic numbers: (n,) for all frames, or (frames, n)."""
    n_frames = len(arrays["total_energy"])
    if "atomic_numbers" in arrays:
        numbers = arrays["atomic_numbers"]
    else:
        types = next((arrays[name] for name in _TYPES if name in arrays), None)
        if types is None:
            raise LegatoError(
                f"the npz file has no atomic numbers: add them to key_mapping in {config.name}"
            )
        names, symbols = atom_types(config)
        of_type = {name: symbol for symbol, name in symbols.items()}
        table = np.array([atomic_numbers[of_type[name]] for name in names])
        numbers = table[np.asarray(types, dtype=int)]
    numbers = np.asarray(numbers, dtype=int)
    if numbers.ndim > 1 and len(numbers) != n_frames:
        numbers = numbers.reshape(-1)
    return numbers
