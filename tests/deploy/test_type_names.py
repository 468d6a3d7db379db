"""Chemical symbols of given frames are mapped to types as in the training data."""

from types import SimpleNamespace

import pytest

from nequip_legato.trained.dataset import type_of_symbol

MAPPER = {
    "_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper",
    "model_type_names": ["proton", "nitrogen"],
    "chemical_species_to_atom_type_map": {"H": "proton", "N": "nitrogen"},
}
LIST = {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": 4.0}


@pytest.mark.parametrize(
    "config",
    [
        {"transforms": [LIST, MAPPER]},
        {"train_dataset": {"_target_": "x.Set", "transforms": [MAPPER, LIST]}},
        {"train_dataset": [{"_target_": "x.Set", "transforms": [LIST]}, {"transforms": [MAPPER]}]},
    ],
    ids=["top", "data set", "second data set"],
)
def test_mapping_is_found_where_it_stands(config):
    source = SimpleNamespace(
        model=SimpleNamespace(type_names=["proton", "nitrogen"]), data_config=config
    )
    assert type_of_symbol(source) == {"H": 0, "N": 1}


def test_type_names_are_symbols_without_a_mapping():
    source = SimpleNamespace(
        model=SimpleNamespace(type_names=["H", "N"]), data_config={"transforms": [LIST]}
    )
    assert type_of_symbol(source) == {"H": 0, "N": 1}
