"""Reading and replicating start structures, and writing them for LAMMPS."""

from collections.abc import Sequence
from io import StringIO

import ase.io
import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.io.lammpsdata import read_lammps_data

from nequip_legato.errors import LegatoError
from nequip_legato.stability.run.settings import Settings, Size

__all__ = ["read_atoms", "read_start", "replicated"]


def read_start(settings: Settings) -> Atoms:
    """The start structure, with the symbols and masses of the settings.

    Raises:
        LegatoError: if it cannot be read, is not periodic in all directions, or holds elements that
            are not among the settings' symbols.
    """
    atoms = read_atoms(settings.structure, settings.symbols)
    if not (atoms.pbc.all() and atoms.cell.rank == 3):
        raise LegatoError(
            f"{settings.structure} is not periodic in three directions, so it cannot be replicated"
        )
    return atoms


def read_atoms(path: str, symbols: Sequence[str]) -> Atoms:
    """A structure with LAMMPS types in ``arrays["type"]``, and nothing else.

    Args:
        path: any file of ASE, or a LAMMPS data file with ``atom_style atomic``.
        symbols: chemical symbol of each type.

    Raises:
        LegatoError: if it cannot be read, or holds elements that are not among ``symbols``.
    """
    try:
        if path.endswith((".data", ".lmp")):
            z_of_type = {n: atomic_numbers[s] for n, s in enumerate(symbols, 1)}
            atoms = read_lammps_data(path, Z_of_type=z_of_type, units="metal", atom_style="atomic")
        else:
            atoms = ase.io.read(path)
    except Exception as problem:  # ASE's readers raise whatever their parsing meets
        reason = (str(problem).splitlines() or [""])[0]
        raise LegatoError(
            f"ASE cannot read the start structure {path} ({type(problem).__name__}: {reason})"
        ) from problem
    if not isinstance(atoms, Atoms):
        raise LegatoError(f"{path} holds several frames; choose one, for instance {path}@0")
    foreign = sorted(set(atoms.get_chemical_symbols()) - set(symbols))
    if foreign:
        raise LegatoError(
            f"{path} holds {' '.join(foreign)}, which is not among symbols ({' '.join(symbols)})"
        )
    bare = Atoms(atoms.get_chemical_symbols(), atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    bare.arrays["type"] = _types(atoms, symbols)
    return bare


def _types(atoms: Atoms, symbols: Sequence[str]) -> np.ndarray:
    """LAMMPS types: those of the file if they fit the symbols, as with H and D in data files."""
    found = atoms.get_chemical_symbols()
    types = np.asarray(atoms.arrays.get("type", []))
    if types.shape == (len(atoms),) and np.issubdtype(types.dtype, np.integer):
        valid = bool(((types >= 1) & (types <= len(symbols))).all())
        if valid and [symbols[t - 1] for t in types] == found:
            return types
    return np.array([symbols.index(symbol) + 1 for symbol in found])


def replicated(start: Atoms, size: Size, settings: Settings) -> str:
    """A LAMMPS data file (``atom_style atomic``, ``units metal``) of the replicated structure.

    Args:
        start: from `read_start`, with LAMMPS types in ``arrays["type"]``.
        size: how often to repeat it.
        settings: symbols and masses of the types.
    """
    atoms = start.repeat(tuple(size.replicate))
    header, _, body = _with_types(atoms, settings).partition("Atoms")
    masses = "\n".join(f"{n} {m:.8g}" for n, m in enumerate(settings.masses, 1))
    return f"{header}Masses\n\n{masses}\n\nAtoms{body}"


def _placeholders(settings: Settings) -> list[str]:
    # Two LAMMPS types may be one element (H and D), but ASE's writer has one type per symbol.
    return [ase.data.chemical_symbols[n] for n in range(1, len(settings.types) + 1)]


def _with_types(atoms: Atoms, settings: Settings) -> str:
    names = _placeholders(settings)
    stand_in = Atoms(
        [names[t - 1] for t in atoms.arrays["type"]], atoms.positions, cell=atoms.cell, pbc=True
    )
    text = StringIO()
    ase.io.write(text, stand_in, format="lammps-data", specorder=names, units="metal")
    return text.getvalue()
