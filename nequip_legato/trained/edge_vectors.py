"""Frames as the inputs of a model that takes edge vectors."""

import torch
from nequip.data import AtomicDataDict

__all__ = ["edge_vector_settings"]


def edge_vector_settings(data: AtomicDataDict.Type) -> AtomicDataDict.Type:
    """Turn one periodic frame with ``n`` atoms and ``E`` edges into the inputs of the target.

    Returns:
        ``pos`` (n, 3) zeros, ``edge_index`` (2, E), ``atom_types`` (n,), ``edge_vectors`` (E, 3) in
        Angstrom.
    """
    pos = data[AtomicDataDict.POSITIONS_KEY]
    edge_index = data[AtomicDataDict.EDGE_INDEX_KEY]
    vectors = pos[edge_index[1]] - pos[edge_index[0]]
    if AtomicDataDict.EDGE_CELL_SHIFT_KEY in data:
        cell = data[AtomicDataDict.CELL_KEY].view(3, 3)
        vectors = vectors + data[AtomicDataDict.EDGE_CELL_SHIFT_KEY] @ cell
    return {
        AtomicDataDict.POSITIONS_KEY: torch.zeros_like(pos),
        AtomicDataDict.EDGE_INDEX_KEY: edge_index,
        AtomicDataDict.ATOM_TYPE_KEY: data[AtomicDataDict.ATOM_TYPE_KEY],
        AtomicDataDict.EDGE_VECTORS_KEY: vectors,
    }
