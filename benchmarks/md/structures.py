"""Liquid ammonia of any size with its edges, for evaluations outside of LAMMPS."""

from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
import torch
from matscipy.neighbours import neighbour_list
from nequip.data import AtomicDataDict

__all__ = ["CUTOFF", "Periodic", "ammonia", "start"]

START = Path(__file__).parents[2] / "examples" / "nh3" / "data" / "start_432.data"
CUTOFF = 4.5
TYPES = 2


def start() -> ase.Atoms:
    """The box of 432 atoms that LAMMPS replicates; LAMMPS' type 1 is H, 2 is N."""
    return ase.io.read(START, format="lammps-data", atom_style="atomic", Z_of_type={1: 1, 2: 7})


@dataclass
class Periodic:
    """A periodic structure, its edges, and its images within the cutoff as atoms of their own.

    Attributes:
        types: (n,) model types.
        positions: (n + images, 3), Angstrom, images behind the n atoms.
        owner: (n + images,) the atom that each is, or is an image of.
        offsets: (n + 1,) where the edges of each center begin.
        neighbor: (E,) index into positions.
    """

    types: np.ndarray
    positions: np.ndarray
    owner: np.ndarray
    offsets: np.ndarray
    neighbor: np.ndarray

    @property
    def n_atoms(self) -> int:
        """Atoms without images."""
        return len(self.types)

    @property
    def neighbors_per_atom(self) -> float:
        """Average number of edges of a center."""
        return len(self.neighbor) / self.n_atoms

    @property
    def center(self) -> np.ndarray:
        """(E,) center of each edge."""
        return np.repeat(np.arange(self.n_atoms), np.diff(self.offsets))

    def by_positions(self) -> AtomicDataDict.Type:
        """Inputs of a model in ``pair_allegro``: the whole structure with atoms and ghosts."""
        return {
            AtomicDataDict.POSITIONS_KEY: torch.tensor(self.positions),
            AtomicDataDict.EDGE_INDEX_KEY: torch.tensor(np.stack([self.center, self.neighbor])),
            AtomicDataDict.ATOM_TYPE_KEY: torch.tensor(self.types[self.owner]),
        }

    def block(self, begin: int, end: int) -> AtomicDataDict.Type:
        """Inputs of a deployed model for the centers ``begin`` to ``end``."""
        edges = slice(self.offsets[begin], self.offsets[end])
        center, neighbor = self.center[edges], self.neighbor[edges]
        types = np.concatenate([self.types[begin:end], np.arange(TYPES)])
        index = np.stack([center - begin, end - begin + self.types[self.owner[neighbor]]])
        return {
            AtomicDataDict.POSITIONS_KEY: torch.zeros(len(types), 3, dtype=torch.float64),
            AtomicDataDict.EDGE_INDEX_KEY: torch.tensor(index),
            AtomicDataDict.ATOM_TYPE_KEY: torch.tensor(types),
            AtomicDataDict.EDGE_VECTORS_KEY: torch.tensor(
                self.positions[neighbor] - self.positions[center]
            ),
        }


def ammonia(repeat: tuple[int, int, int], cutoff: float = CUTOFF) -> Periodic:
    """The box of 432 atoms, repeated."""
    atoms = start().repeat(repeat)
    center, neighbor, shift = neighbour_list("ijS", atoms, cutoff)
    order = np.argsort(center, kind="stable")
    center, neighbor, shift = center[order], neighbor[order], shift[order]
    outside = shift.any(axis=1)
    images, which = np.unique(
        np.column_stack([neighbor, shift])[outside], axis=0, return_inverse=True
    )
    neighbor = neighbor.copy()
    neighbor[outside] = len(atoms) + which.reshape(-1)
    displaced = atoms.positions[images[:, 0]] + images[:, 1:] @ atoms.cell.array
    return Periodic(
        types=(atoms.numbers == 7).astype(np.int64),
        positions=np.concatenate([atoms.positions, displaced]),
        owner=np.concatenate([np.arange(len(atoms)), images[:, 0]]),
        offsets=np.concatenate([[0], np.cumsum(np.bincount(center, minlength=len(atoms)))]),
        neighbor=neighbor.astype(np.int64),
    )
