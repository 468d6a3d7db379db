"""Frames: atomic structures with edges, in the form that domain and checks need."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
import torch
from ase import Atoms
from nequip.data import AtomicDataDict, compute_neighborlist_, from_ase
from nequip.utils.dtype import torch_default_dtype

from nequip_legato.errors import LegatoError
from nequip_legato.trained.edge_vectors import edge_vector_settings

__all__ = ["Frame", "frame_from_data", "read_frames"]


@dataclass(frozen=True)
class Frame:
    """One structure of ``n`` atoms with ``E`` edges (center i, neighbor j), both directions.

    Attributes:
        positions: (n, 3), Angstrom.
        cell: (3, 3), Angstrom, rows are vectors; None where there is none.
        types: (n,) model type of each atom.
        edge_index: (2, E) centers, then neighbors.
        shifts: (E, 3) how many cells the neighbor's image is away; None without a cell.
        forces: (n, 3) labels in eV/A, None where the data have none.
    """

    positions: torch.Tensor
    cell: torch.Tensor | None
    types: torch.Tensor
    edge_index: torch.Tensor
    shifts: torch.Tensor | None
    forces: torch.Tensor | None = None

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.types)

    @property
    def n_edges(self) -> int:
        """Number of edges."""
        return self.edge_index.shape[1]

    def by_positions(self) -> AtomicDataDict.Type:
        """Inputs of a model that takes positions, as nequip's own do: positions, cell, edges."""
        data: dict[str, Any] = {
            AtomicDataDict.POSITIONS_KEY: self.positions.clone(),
            AtomicDataDict.ATOM_TYPE_KEY: self.types,
            AtomicDataDict.EDGE_INDEX_KEY: self.edge_index,
        }
        if self.cell is not None:
            data[AtomicDataDict.CELL_KEY] = self.cell.clone()
            data[AtomicDataDict.EDGE_CELL_SHIFT_KEY] = self.shifts
        return data

    def by_edge_vectors(self) -> AtomicDataDict.Type:
        """Inputs of a deployed model without blocks: every atom is a node."""
        return edge_vector_settings(self.by_positions())

    def edge_vectors(self) -> torch.Tensor:
        """(E, 3) x_j - x_i in Angstrom."""
        return self.by_edge_vectors()[AtomicDataDict.EDGE_VECTORS_KEY]


def frame_from_data(data: AtomicDataDict.Type, *, r_max: float) -> Frame:
    """A frame from nequip's data; edges are found here where the data have none.

    Args:
        data: one structure with ``pos`` and ``atom_types``.
        r_max: cutoff in Angstrom for data without edges.
    """
    data = {key: value for key, value in data.items() if isinstance(value, torch.Tensor)}
    if AtomicDataDict.EDGE_INDEX_KEY not in data:
        data = compute_neighborlist_(data, r_max)
    cell = data.get(AtomicDataDict.CELL_KEY)
    shifts = data.get(AtomicDataDict.EDGE_CELL_SHIFT_KEY)
    periodic = cell is not None and shifts is not None
    forces = data.get(AtomicDataDict.FORCE_KEY)
    return Frame(
        positions=data[AtomicDataDict.POSITIONS_KEY].detach().to(torch.float64),
        cell=cell.detach().view(3, 3).to(torch.float64) if periodic else None,
        types=data[AtomicDataDict.ATOM_TYPE_KEY].view(-1),
        edge_index=data[AtomicDataDict.EDGE_INDEX_KEY],
        shifts=shifts.detach().to(torch.float64) if periodic else None,
        forces=None if forces is None else forces.detach().to(torch.float64),
    )


def read_frames(
    path: Path,
    *,
    type_of_symbol: dict[str, int],
    r_max: float,
    keys: Mapping[str, Any] | None = None,
) -> Sequence[Frame]:
    """Frames of a file that ASE reads; their edges, which take most memory, are made on access.

    Args:
        path: e.g. an extxyz file; forces among its labels are used.
        type_of_symbol: chemical symbol -> model type.
        r_max: cutoff in Angstrom.
        keys: names of the labels in the file, as keyword arguments of nequip's ``from_ase``.

    Raises:
        LegatoError: if the file cannot be read, is empty, or holds an unknown element.
    """
    try:
        images: list[Atoms] = list(ase.io.read(path, ":"))
    except FileNotFoundError as problem:
        raise LegatoError(f"the file of frames {path} does not exist; check --frames") from problem
    except Exception as problem:  # ASE's readers raise whatever their parsing meets
        reason = (str(problem).splitlines() or [""])[0]
        raise LegatoError(
            f"ASE cannot read frames from {path} ({type(problem).__name__}: {reason})"
        ) from problem
    if not images:
        raise LegatoError(f"{path} holds no frames; check --frames")
    unknown = sorted({s for a in images for s in a.symbols.species()} - set(type_of_symbol))
    if unknown:
        raise LegatoError(
            f"frames in {path} hold {', '.join(unknown)}, which the model does not know "
            f"(it knows: {' '.join(type_of_symbol)}); give frames of its own kind"
        )
    return _ImageFrames(images, type_of_symbol, r_max, keys or {})


class _ImageFrames(Sequence[Frame]):
    def __init__(
        self,
        images: list[Atoms],
        type_of_symbol: dict[str, int],
        r_max: float,
        keys: Mapping[str, Any],
    ) -> None:
        self._images = images
        self._type_of_symbol = type_of_symbol
        self._r_max = r_max
        self._keys = keys

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Frame:  # type: ignore[override]
        atoms = self._images[index]
        types = [self._type_of_symbol[symbol] for symbol in atoms.get_chemical_symbols()]
        with torch_default_dtype(torch.float64):  # which decides what positions are read as
            data = from_ase(atoms, **self._keys)
        data[AtomicDataDict.ATOM_TYPE_KEY] = torch.tensor(types)
        return frame_from_data(data, r_max=self._r_max)
