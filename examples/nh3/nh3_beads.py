"""Frames as quantum nuclei visit them: classical frames whose atoms are moved at random.

At 200 K the zero-point motion of an N-H bond has a width of 0.07 A, of a bend 0.11 A, and its
tails reach far beyond what 800 K give. So hydrogens of classical frames are moved by Gaussians of
such widths, and nitrogens by as much as their mass allows; some bonds get any length at all. No
path-integral dynamics is needed, whose model would have to know these frames already.

Pairs of molecules are pressed together as well, half of them along a hydrogen bond: a model that
was trained without them put a proton between two nitrogens 1.9 A apart, 6 eV below its labels.
"""

import numpy as np
from ase import Atoms
from ase.build import molecule

__all__ = [
    "BOND",
    "CLOSEST",
    "CLOSEST_OF_PAIRS",
    "PRESSED",
    "STRETCHED",
    "WIDTHS",
    "moved",
    "moved_molecules",
    "pressed_pairs",
]

WIDTHS = (0.04, 0.18)  # A; of each frame's Gaussian for hydrogen, drawn uniformly
BOND = (0.8, 1.8)  # A; of N-H, a move beyond is drawn again
STRETCHED = 0.1  # of the molecules of a liquid have one bond whose length is drawn uniformly
CLOSEST = 1.2  # A; of atoms of different molecules
CLOSEST_OF_PAIRS = 0.85  # A; of atoms of two molecules that are pressed together
PRESSED = (1.8, 3.2)  # A; between the nitrogens of two such molecules, drawn uniformly
BOX = 12.0  # A, around a molecule alone: nothing sees its images


def moved(atoms: Atoms, rng: np.random.Generator, stretched: float = STRETCHED) -> Atoms:
    """A copy without labels in which every molecule is deformed, at a width drawn from ``WIDTHS``.

    Args:
        atoms: whole molecules of NH3, each hydrogen nearest to its own nitrogen.
        rng: source of the moves.
        stretched: probability by which a bond of a molecule gets any length within ``BOND``.
    """
    result = atoms.copy()
    nitrogen, hydrogen = (np.flatnonzero(atoms.symbols == symbol) for symbol in "NH")
    owner = nitrogen[atoms.get_all_distances(mic=True)[:, nitrogen].argmin(axis=1)]
    width = rng.uniform(*WIDTHS)
    light, heavy = (atoms.get_masses()[group[0]] for group in (hydrogen, nitrogen))
    start = atoms.positions
    for n in nitrogen:
        mine = hydrogen[owner[hydrogen] == n]
        while True:
            result.positions[n] = start[n] + rng.normal(
                scale=width * np.sqrt(light / heavy), size=3
            )
            result.positions[mine] = start[mine] + rng.normal(scale=width, size=(len(mine), 3))
            if rng.random() < stretched:
                result.set_distance(n, mine[0], rng.uniform(*BOND), fix=0, mic=True)
            bonds = result.get_distances(n, mine, mic=True)
            if bonds.min() > BOND[0] and bonds.max() < BOND[1] and _apart(result, n, mine, owner):
                break
    result.positions = result.positions.round(8)
    return result


def _apart(atoms: Atoms, n: int, mine: np.ndarray, owner: np.ndarray) -> bool:
    """Whether a molecule keeps its distance from all others."""
    others = np.flatnonzero(owner != n)
    if not len(others):
        return True
    return all(atoms.get_distances(i, others, mic=True).min() > CLOSEST for i in (n, *mine))


def moved_molecules(count: int, rng: np.random.Generator, stretched: float = 1.0) -> list[Atoms]:
    """Molecules alone in periodic boxes, deformed, by default each with a bond of any length."""
    alone = molecule("NH3", cell=[BOX] * 3, pbc=True)
    alone.center()
    return [moved(alone, rng, stretched) for _ in range(count)]


def pressed_pairs(count: int, rng: np.random.Generator) -> list[Atoms]:
    """Two molecules in a periodic box, deformed and close to one another.

    Every second pair has a bond of the first molecule that points to the other nitrogen.
    """
    pairs: list[Atoms] = []
    while len(pairs) < count:
        first, second = moved_molecules(2, rng, stretched=0.2)
        for each in (first, second):
            each.positions -= each.positions[0]
            each.euler_rotate(*rng.uniform(0, 360, 3))
        away = first.positions[1] if len(pairs) % 2 else rng.normal(size=3)
        second.positions += rng.uniform(*PRESSED) * away / np.linalg.norm(away)
        distances = np.linalg.norm(first.positions[:, None] - second.positions, axis=-1)
        if distances.min() > CLOSEST_OF_PAIRS:
            pair = first + second
            pair.center()
            pair.positions = pair.positions.round(8)
            pairs.append(pair)
    return pairs
