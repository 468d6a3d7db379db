"""The compile target ``pair_allegro_legato``, registered with nequip when nequip is imported."""

import torch
from nequip.data import AtomicDataDict
from nequip.scripts._compile_utils import register_compile_targets, single_frame_batch_map_settings

__all__ = ["INPUTS", "OUTPUTS", "TARGET", "edge_vector_settings"]

TARGET = "pair_allegro_legato"
INPUTS = [
    AtomicDataDict.POSITIONS_KEY,
    AtomicDataDict.EDGE_INDEX_KEY,
    AtomicDataDict.ATOM_TYPE_KEY,
    AtomicDataDict.EDGE_VECTORS_KEY,
]
OUTPUTS = [AtomicDataDict.PER_ATOM_ENERGY_KEY, AtomicDataDict.EDGE_FORCE_KEY]


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


register_compile_targets(
    {
        TARGET: {
            "input": INPUTS,
            "output": OUTPUTS,
            "batch_map_settings": single_frame_batch_map_settings,
            "data_settings": edge_vector_settings,
        }
    }
)
