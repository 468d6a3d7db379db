"""Isotopes: the mass, and so the LAMMPS type, of every atom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import atomic_masses, atomic_numbers

from nequip_legato.errors import LegatoError

__all__ = ["MASSES", "Species", "assign", "read_isotopes", "standard_mass"]

# g/mol; of the atomic mass evaluation AME2020 (doi:10.1088/1674-1137/abddaf)
MASSES = {"H": 1.00782503, "D": 2.01410178, "T": 3.01604928}


@dataclass(frozen=True)
class Species:
    """Atoms of one model type and one mass: a LAMMPS type.

    Attributes:
        name: name in the results, e.g. ``D``.
        model_type: the model's type name, e.g. ``H``.
        symbol: its chemical symbol.
        mass: in g/mol.
    """

    name: str
    model_type: str
    symbol: str
    mass: float


def standard_mass(symbol: str) -> float:
    """Mass in g/mol: of protium for hydrogen, otherwise of the natural element.

    Raises:
        LegatoError: if there is no such element.
    """
    if symbol in MASSES:
        return MASSES[symbol]
    if symbol not in atomic_numbers:
        raise LegatoError(f"symbols: '{symbol}' is not a chemical element")
    return float(atomic_masses[atomic_numbers[symbol]])


def read_isotopes(isotopes: object, *, where: str) -> dict[str, float]:
    """Fraction of each isotope among the atoms of a type.

    Args:
        isotopes: a name (``D``), a mass in g/mol, or a mapping of them to fractions.
        where: key of the YAML file, for messages.

    Returns:
        Name or mass, as text -> fraction; the fractions add up to 1.

    Raises:
        LegatoError: if an isotope has no mass, or fractions do not add up to 1.
    """
    parts = isotopes if isinstance(isotopes, Mapping) else {isotopes: 1.0}
    found: dict[str, float] = {}
    for isotope, fraction in parts.items():
        mass_of(isotope, where=where)
        if isinstance(fraction, bool) or not isinstance(fraction, int | float) or fraction < 0:
            raise LegatoError(f"{where}: the fraction of {isotope} must be a number from 0 to 1")
        found[str(isotope)] = float(fraction)
    if abs(sum(found.values()) - 1.0) > 1e-6:
        raise LegatoError(
            f"{where}: the fractions add up to {sum(found.values()):g}; they must add up to 1"
        )
    return found


def mass_of(isotope: object, *, where: str) -> float:
    """Mass in g/mol of an isotope, given by its name or its mass.

    Raises:
        LegatoError: if it is neither a known name nor a positive mass.
    """
    if isinstance(isotope, str) and isotope in MASSES:
        return MASSES[isotope]
    try:
        mass = float(str(isotope))
    except ValueError:
        mass = 0.0
    if not 0.0 < mass < np.inf:
        raise LegatoError(
            f"{where}: isotope '{isotope}' has no mass; give one of {' '.join(MASSES)}, or a mass "
            "in g/mol"
        )
    return mass


def assign(
    types: np.ndarray,
    names: Sequence[str],
    symbols: Sequence[str],
    isotopes: Mapping[str, Mapping[str, float]],
    *,
    seed: int,
) -> tuple[np.ndarray, list[Species]]:
    """The species of each atom.

    For a partial substitution, atoms are chosen at random; their number is the nearest integer.

    Args:
        types: (n,) index of each atom's model type in ``names``.
        names: type names of the model.
        symbols: their chemical symbols.
        isotopes: type name -> isotope -> fraction, from `read_isotopes`.
        seed: seed of the random choice.

    Returns:
        (n,) index of each atom's species, and the species that occur.
    """
    rng = np.random.default_rng(seed)
    chosen = np.empty(len(types), dtype=int)
    species: list[Species] = []
    for index, (name, symbol) in enumerate(zip(names, symbols, strict=True)):
        atoms = np.flatnonzero(types == index)
        parts = isotopes.get(name, {symbol: 1.0})
        ends = np.round(np.cumsum(list(parts.values())) * len(atoms)).astype(int)
        if len(parts) > 1:
            atoms = rng.permutation(atoms)
        begin = 0
        for isotope, end in zip(parts, ends, strict=True):
            if end > begin:
                mass = (
                    standard_mass(symbol)
                    if name not in isotopes
                    else mass_of(isotope, where=f"isotopes of {name}")
                )
                label = (
                    isotope
                    if isotope in MASSES
                    else name
                    if name not in isotopes
                    else (f"{name}({float(isotope):g})")
                )
                chosen[atoms[begin:end]] = len(species)
                species.append(Species(label, name, symbol, mass))
            begin = end
    return chosen, species
