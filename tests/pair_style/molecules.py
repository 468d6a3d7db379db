"""Data files of molecules, for atom styles with molecule IDs and bonds."""

from pathlib import Path

import numpy as np
from ase import Atoms
from lammps_run import MASSES

__all__ = ["AMMONIA", "far_apart", "write_bonded", "write_template"]

# N first
AMMONIA = np.array([[0, 0, 0], [0.94, 0, 0.38], [-0.47, 0.81, 0.38], [-0.47, -0.81, 0.38]])


def far_apart(symbols: str, shape: np.ndarray, *, count: int = 27, spacing: float = 60.0) -> Atoms:
    """Copies of a molecule on a cubic lattice, without any neighbors but those in the molecule."""
    per_side = round(count ** (1 / 3))
    sites = np.array([[x, y, z] for x in range(per_side) for y in range(per_side)
                      for z in range(per_side)]) * spacing + 5.0  # fmt: skip
    positions = np.concatenate([shape + site for site in sites])
    return Atoms(symbols * len(sites), positions, cell=[per_side * spacing] * 3, pbc=True)


def write_bonded(
    path: Path, atoms: Atoms, types: list[str], *, per_molecule: int = 4, bonds: bool = False
) -> None:
    """Write a data file for atom_style bond.

    Args:
        path: the file.
        atoms: structure; each ``per_molecule`` atoms in a row are a molecule.
        types: name of each LAMMPS type.
        per_molecule: atoms of a molecule.
        bonds: bond the first atom of each molecule to its others.
    """
    numbers = range(len(atoms))
    bonded = [(i, i + k) for i in numbers[::per_molecule] for k in range(1, per_molecule)]
    bonded = bonded if bonds else []
    lines = ["molecules", "", f"{len(atoms)} atoms", f"{len(types)} atom types"]
    lines += [f"{len(bonded)} bonds", "1 bond types", "3 extra bond per atom"]
    lines += ["6 extra special per atom", ""]
    lines += [
        f"0 {length:.17g} {a}lo {a}hi"
        for a, length in zip("xyz", atoms.cell.lengths(), strict=True)
    ]
    lines += ["", "Masses", "", *(f"{i + 1} {MASSES[name]}" for i, name in enumerate(types))]
    lines += ["", "Atoms # bond", ""]
    for i, (symbol, x) in enumerate(
        zip(atoms.get_chemical_symbols(), atoms.positions, strict=True)
    ):
        place = f"{x[0]:.17g} {x[1]:.17g} {x[2]:.17g}"
        lines.append(f"{i + 1} {i // per_molecule + 1} {types.index(symbol) + 1} {place}")
    if bonded:
        lines += ["", "Bonds", ""]
        lines += [f"{b + 1} 1 {i + 1} {j + 1}" for b, (i, j) in enumerate(bonded)]
    path.write_text("\n".join(lines) + "\n")


def write_template(path: Path, symbols: str, shape: np.ndarray, types: list[str]) -> None:
    """Write a molecule file for LAMMPS' command ``molecule``."""
    lines = ["molecule", "", f"{len(shape)} atoms", "", "Coords", ""]
    lines += [f"{i + 1} {x[0]:.17g} {x[1]:.17g} {x[2]:.17g}" for i, x in enumerate(shape)]
    names = Atoms(symbols).get_chemical_symbols()
    lines += ["", "Types", "", *(f"{i + 1} {types.index(n) + 1}" for i, n in enumerate(names))]
    path.write_text("\n".join(lines) + "\n")
