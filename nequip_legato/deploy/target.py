"""The compile target ``pair_allegro_legato``, registered with nequip when nequip is imported."""

from nequip.data import AtomicDataDict
from nequip.scripts._compile_utils import register_compile_targets, single_frame_batch_map_settings

from nequip_legato.trained.edge_vectors import edge_vector_settings

__all__ = ["INPUTS", "OUTPUTS", "TARGET"]

TARGET = "pair_allegro_legato"
INPUTS = [
    AtomicDataDict.POSITIONS_KEY,
    AtomicDataDict.EDGE_INDEX_KEY,
    AtomicDataDict.ATOM_TYPE_KEY,
    AtomicDataDict.EDGE_VECTORS_KEY,
]
OUTPUTS = [AtomicDataDict.PER_ATOM_ENERGY_KEY, AtomicDataDict.EDGE_FORCE_KEY]


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
