"""Distributions of bond lengths, angles and pair distances over beads and frames."""

from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from ase import Atoms

from nequip_legato.quantum.blocks import block_edges

__all__ = ["BondedSites", "Distribution", "Geometry", "bonded_sites"]

_BINS = 200
_MOST = 3.0e7  # samples of a run; if there are more, frames are left out
_BOND_RANGE = (0.6, 2.2)


@dataclass
class Distribution:
    """A histogram for every block.

    Attributes:
        edges: (bins + 1,) Angstrom or degrees.
        counts: (blocks, bins).
        weights: (bins,) weight of a sample in the density.
        sums: (blocks,) sum of the samples.
        numbers: (blocks,) number of samples.
    """

    edges: np.ndarray
    counts: np.ndarray
    weights: np.ndarray
    sums: np.ndarray
    numbers: np.ndarray

    @classmethod
    def empty(cls, low: float, high: float, blocks: int) -> "Distribution":
        """A distribution without samples from ``low`` to ``high``."""
        edges = np.linspace(low, high, _BINS + 1)
        return cls(
            edges,
            np.zeros((blocks, _BINS)),
            np.ones(_BINS),
            np.zeros(blocks),
            np.zeros(blocks),
        )

    @property
    def centers(self) -> np.ndarray:
        """(bins,) middle of each bin."""
        return 0.5 * (self.edges[1:] + self.edges[:-1])

    def add(self, block: int, values: np.ndarray) -> None:
        """Count values; an array of any shape, in the unit of the edges."""
        width = self.edges[1] - self.edges[0]
        index = ((values.ravel() - self.edges[0]) / width).astype(np.int32)
        index = index[(index >= 0) & (index < _BINS)]
        self.counts[block] += np.bincount(index, minlength=_BINS)
        self.sums[block] += values.sum()
        self.numbers[block] += values.size

    def densities(self) -> np.ndarray:
        """(blocks, bins) normalized density, or g(r), of each block that has samples."""
        good = self.numbers > 0
        width = self.edges[1] - self.edges[0]
        return self.counts[good] * self.weights / (self.numbers[good, None] * width)

    def means(self) -> np.ndarray:
        """(blocks,) mean of each block that has samples."""
        good = self.numbers > 0
        return self.sums[good] / self.numbers[good]


@dataclass(frozen=True)
class BondedSites:
    """Molecules: centers and the atoms bonded to them.

    Attributes:
        bonds: (bonds, 2) indices of center and ligand.
        shifts: (bonds, 3) shift of the ligand's position to the bonded image, Angstrom.
        angles: (angles, 2) indices into ``bonds`` of two bonds of one center.
    """

    bonds: np.ndarray
    shifts: np.ndarray
    angles: np.ndarray


def bonded_sites(
    atoms: Atoms, center: np.ndarray, ligand: np.ndarray, longest: float
) -> BondedSites:
    """The bonds and angles of the start structure.

    Args:
        atoms: the structure.
        center: (atoms,) bool.
        ligand: (atoms,) bool.
        longest: longest bond, Angstrom.
    """
    bonds: list[Any] = []
    shifts: list[Any] = []
    angles: list[Any] = []
    others = np.flatnonzero(ligand)
    for middle in np.flatnonzero(center):
        vectors = atoms.get_distances(middle, others, mic=True, vector=True)
        lengths = np.linalg.norm(vectors, axis=1)
        near = np.flatnonzero((lengths <= longest) & (lengths > 0))
        own = range(len(bonds), len(bonds) + len(near))
        angles += [(a, b) for a in own for b in own if a < b]
        for n in near:
            bonds.append((middle, others[n]))
            apart = atoms.positions[others[n]] - atoms.positions[middle]
            shifts.append(vectors[n] - apart)
    return BondedSites(
        np.array(bonds, dtype=int).reshape(-1, 2),
        np.array(shifts, dtype=float).reshape(-1, 3),
        np.array(angles, dtype=int).reshape(-1, 2),
    )


@dataclass
class Geometry:
    """Collects the distributions of a run.

    Attributes:
        atoms: start structure.
        sites: its molecules.
        frames: number of frames of the run.
        beads: number of beads.
        labels: (atoms,) chemical symbol of each, for pair distances.
        cutoff: longest pair distance; 0 for none.
    """

    atoms: Atoms
    sites: BondedSites
    frames: int
    beads: int
    labels: list[str]
    cutoff: float
    bonds: Distribution = field(init=False)
    angles: Distribution = field(init=False)
    pairs: dict[str, Distribution] = field(init=False)

    def __post_init__(self) -> None:
        self._edges = block_edges(self.frames)
        blocks = len(self._edges) - 1
        self.bonds = Distribution.empty(*_BOND_RANGE, blocks)
        self.angles = Distribution.empty(40.0, 180.0, blocks)
        self.pairs = {}
        self._indices: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        names = sorted(set(self.labels))
        labels = np.array(self.labels)
        heights = 1.0 / np.linalg.norm(self.atoms.cell.reciprocal(), axis=1)
        self.cutoff = min(self.cutoff, 0.5 * float(heights.min()))
        if self.cutoff > 0:
            for a, b in combinations_with_replacement(names, 2):
                i, j = np.meshgrid(
                    np.flatnonzero(labels == a), np.flatnonzero(labels == b), indexing="ij"
                )
                different = (i != j) if a != b else (i < j)
                if different.any():
                    name = f"{a}-{b}"
                    self._indices[name] = i[different], j[different]
                    self.pairs[name] = self._shells(blocks)
        number = sum(len(i) for i, _ in self._indices.values())
        self._pair_stride = self._stride(number)
        self._bond_stride = self._stride(len(self.sites.bonds) + len(self.sites.angles))

    def _shells(self, blocks: int) -> Distribution:
        found = Distribution.empty(0.0, self.cutoff, blocks)
        volume = 4.0 / 3.0 * np.pi * (found.edges[1:] ** 3 - found.edges[:-1] ** 3)
        width = found.edges[1] - found.edges[0]
        # in an ideal gas, n v / V of n pairs in the volume V are in a shell of volume v
        found.weights = self.atoms.get_volume() * width / volume
        return found

    def _stride(self, per_frame: int) -> int:
        return max(1, int(np.ceil(self.frames * self.beads * per_frame / _MOST)))

    def add(self, begin: int, x: np.ndarray) -> None:
        """Count frames ``begin`` to ``begin + frames``: positions (beads, frames, atoms, 3)."""
        for frame in range(x.shape[1]):
            number = begin + frame
            block = int(np.searchsorted(self._edges, number, side="right")) - 1
            if number % self._bond_stride == 0 and len(self.sites.bonds):
                self._add_bonds(block, x[:, frame])
            if number % self._pair_stride == 0:
                self._add_pairs(block, x[:, frame])

    def _add_bonds(self, block: int, x: np.ndarray) -> None:
        middle, ligand = self.sites.bonds.T
        vectors = x[:, ligand] - x[:, middle] + self.sites.shifts
        lengths = np.sqrt(np.einsum("pba,pba->pb", vectors, vectors))
        self.bonds.add(block, lengths)
        if len(self.sites.angles):
            first, second = self.sites.angles.T
            product = np.einsum("pba,pba->pb", vectors[:, first], vectors[:, second])
            cosine = product / (lengths[:, first] * lengths[:, second])
            self.angles.add(block, np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))

    def _add_pairs(self, block: int, x: np.ndarray) -> None:
        inverse = np.linalg.inv(self.atoms.cell.array)
        for name, (i, j) in self._indices.items():
            vectors = x[:, j] - x[:, i]
            vectors -= np.round(vectors @ inverse) @ self.atoms.cell.array
            self.pairs[name].add(block, np.sqrt(np.einsum("pba,pba->pb", vectors, vectors)))
