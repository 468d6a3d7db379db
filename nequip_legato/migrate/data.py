"""The data sets, split and batches of nequip 0.5 as today's data module."""

from typing import Any

from ase.data import atomic_numbers, chemical_symbols

from nequip_legato.errors import LegatoError
from nequip_legato.migrate.old import OldConfig

__all__ = ["atom_types", "data_section", "npz_mapping", "seed_of_data"]

_ASE = ("ase", "asedataset")
_NPZ = ("npz", "npzdataset")


def atom_types(old: OldConfig) -> tuple[list[str], dict[str, str]]:
    """Names of the atom types in their old order, and chemical symbol -> type name.

    Raises:
        LegatoError: if the file names no types, or a symbol is not a chemical element.
    """
    names = old.take("type_names", default=None)
    numbers = old.take("chemical_symbol_to_type", default=None)
    listed = old.take("chemical_symbols", default=None)
    for key in ("num_types", "n_species"):
        old.drop(key, "follows from type_names")
    if isinstance(numbers, dict) and numbers:
        if set(numbers.values()) != set(range(len(numbers))) and not _several_per_type(
            numbers, names
        ):
            raise old.wrong(
                ["chemical_symbol_to_type"], numbers, "a mapping of symbols to 0, 1, 2, ..."
            )
        ordered = sorted(numbers, key=numbers.__getitem__)
        names = ordered if names is None else _names(old, names)
        mapping = {str(symbol): names[numbers[symbol]] for symbol in ordered}
    elif isinstance(listed, list) and listed:
        # nequip 0.5 sorts them by atomic number
        _check_symbols(old, listed)
        ordered = sorted(listed, key=atomic_numbers.__getitem__)
        names = ordered if names is None else _names(old, names)
        mapping = dict(zip(ordered, names, strict=True))
    elif names is not None:
        names = _names(old, names)
        mapping = {name: name for name in names}
    else:
        raise LegatoError(
            f"{old.name} names no atom types: it needs chemical_symbols or chemical_symbol_to_type"
        )
    _check_symbols(old, list(mapping))
    return [str(name) for name in names], mapping


def _several_per_type(numbers: dict[str, Any], names: Any) -> bool:
    if not isinstance(names, (list, dict)):
        return False
    return all(isinstance(i, int) and 0 <= i < len(names) for i in numbers.values())


def _names(old: OldConfig, names: Any) -> list[str]:
    if isinstance(names, dict) and sorted(names) == list(range(len(names))):
        names = [names[k] for k in sorted(names)]
    if not isinstance(names, list) or not names:
        raise old.wrong(["type_names"], names, "a list of names")
    return [str(name) for name in names]


def _check_symbols(old: OldConfig, symbols: list[Any]) -> None:
    for symbol in symbols:
        if symbol not in chemical_symbols[1:]:
            hint = " (in YAML, write the element N or Y in quotes)" if symbol is True else ""
            raise LegatoError(f"{old.name}: '{symbol}' is not a chemical element{hint}")


def seed_of_data(old: OldConfig) -> int:
    """Seed of the split and of the order of batches."""
    return old.integer("dataset_seed", default=0, why="the file has no dataset_seed")


def data_section(
    old: OldConfig, *, types: list[str], symbols: dict[str, str], forces: bool
) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """The data sets (top-level keys), the section ``data``, and comments.

    The random split is that of nequip 0.5: slices of one permutation from ``dataset_seed``, so that
    the same frames are used for training and validation.
    """
    seed = seed_of_data(old)
    transforms = _transforms(types, symbols)
    sources = {"frames": _source(old, "", transforms)}
    separate = "validation_dataset" in old or "validation_dataset_file_name" in old
    if separate:
        sources["validation_frames"] = _source(old, "validation_", transforms)
    data: dict[str, Any] = {
        "_target_": "nequip.data.datamodule.NequIPDataModule",
        "seed": seed,
        **_split(old, seed=seed, separate=separate),
        **_loaders(old),
        "stats_manager": {
            "_target_": "nequip.data."
            + ("CommonDataStatisticsManager" if forces else "EnergyOnlyDataStatisticsManager"),
            "type_names": "${type_names}",
            "dataloader_kwargs": {"batch_size": "${data.val_dataloader.batch_size}"},
        },
    }
    old.drop("dataset_statistics_stride", "today's statistics take every training frame")
    comments = {"frames": "all frames; the split below takes from them"}
    if "train_idcs" not in old and old.peek("train_val_split", "random") == "random":
        comments["data.train_dataset"] = "the frames that nequip 0.5 took with this dataset_seed"
    return sources, data, comments


def _transforms(types: list[str], symbols: dict[str, str]) -> list[dict[str, Any]]:
    mapper: dict[str, Any] = {
        "_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper",
        "model_type_names": "${type_names}",
    }
    if symbols != {name: name for name in types}:
        mapper["chemical_species_to_atom_type_map"] = symbols
    neighbors = {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": "${cutoff}"}
    return [mapper, neighbors]


def _source(old: OldConfig, prefix: str, transforms: list[dict[str, Any]]) -> dict[str, Any]:
    """One data set; missing ``validation_`` keys are taken from the training data."""

    def names(key: str) -> list[str]:
        short = [key] if key.startswith("dataset") else [f"dataset_{key}", key]
        own = [f"{prefix}{name}" for name in short]
        return own + short if prefix and key != "dataset_file_name" else own

    kind = old.text(*names("dataset"), why="nequip needs").lower()
    if kind not in _ASE + _NPZ:
        raise LegatoError(
            f"{old.name}: data sets of the kind '{kind}' are not migrated, only ase and npz; write "
            "the frames as extxyz with ASE and say dataset: ase"
        )
    file_name = old.text(*names("dataset_file_name"), why="nequip needs")
    for key in names("dataset_url"):
        old.drop(key, f"today nothing is downloaded: put the file at {file_name} by hand")
    keys = old.mapping(*names("key_mapping"), default={})
    if kind in _ASE:
        return _ase(old, names, file_name, keys, transforms)
    mapping = npz_mapping(keys, fixed=_fixed(old, names))
    if mapping is None or any(old.peek(name) for name in names("include_keys")):
        out = file_name.removesuffix(".npz") + ".extxyz"
        old.assumed.append(
            f"{names('dataset_file_name')[0]}: {out} (nequip 0.19 cannot read this npz; write that "
            f"file with: nequip-legato migrate {old.name} --npz {out}"
            + (" --validation)" if prefix else ")")
        )
        return _ase(old, names, out, {}, transforms)
    for name in names("include_keys"):
        old.drop(name, "key_mapping says which arrays are read")
    return {
        "_target_": "nequip.data.dataset.NPZDataset",
        "file_path": file_name,
        "key_mapping": mapping,
        "transforms": transforms,
    }


def _ase(
    old: OldConfig,
    names: Any,
    file_name: str,
    keys: dict[str, Any],
    transforms: list[dict[str, Any]],
) -> dict[str, Any]:
    source: dict[str, Any] = {
        "_target_": "nequip.data.dataset.ASEDataset",
        "file_path": file_name,
    }
    arguments = dict(old.mapping(*names("ase_args"), default={}))
    for key in ("index", "filename"):
        if key in arguments:
            value = arguments.pop(key)
            reason = "today's reader takes every frame of dataset_file_name"
            if not (key == "index" and value in (":", slice(None))):
                reason += "; cut the file to the frames that you want"
            old.drop_part(f"ase_args.{key}", reason)
    for name in names("include_frames"):
        old.drop(name, "today's reader takes every frame; cut the file to the frames you want")
    if arguments:
        source["ase_args"] = arguments
    if keys:
        source["key_mapping"] = keys
    for key in ("include_keys", "exclude_keys"):
        listed = old.take(*names(key), default=None)
        if listed:
            source[key] = listed
    for name in names("npz_fixed_field_keys"):
        old.drop(name, "an extxyz file repeats these for every frame")
    return {**source, "transforms": transforms}


def _fixed(old: OldConfig, names: Any) -> list[str]:
    fixed = old.take(*names("npz_fixed_field_keys"), default=[])
    return list(fixed) if isinstance(fixed, (list, tuple)) else []


def npz_mapping(keys: dict[str, Any], *, fixed: list[str]) -> dict[str, str] | None:
    """The mapping for ``nequip.data.dataset.NPZDataset``, or None if that cannot read the file.

    It requires the same atomic numbers in all frames, and one entry per frame in all other arrays.
    """
    needed = {"atomic_numbers", "total_energy", "pos"}
    if not needed <= set(keys.values()) or fixed != ["atomic_numbers"]:
        return None
    return {str(k): str(v) for k, v in keys.items()}


def _split(old: OldConfig, *, seed: int, separate: bool) -> dict[str, Any]:
    frames, other = "${frames}", "${validation_frames}" if separate else "${frames}"
    if "train_idcs" in old and "val_idcs" in old:
        old.drop("n_train", "train_idcs overrides it")
        old.drop("n_val", "val_idcs overrides it")
        old.drop("train_val_split", "train_idcs and val_idcs override it")
        return {
            "train_dataset": _subset(frames, old.integers("train_idcs", least=0)),
            "val_dataset": _subset(other, old.integers("val_idcs", least=0)),
        }
    for key in ("train_idcs", "val_idcs"):
        old.drop(key, "used by nequip 0.5 only together with the other one")
    n_train = old.integer("n_train", least=1, why="nequip needs")
    n_val = old.integer("n_val", least=1, why="nequip needs")
    how = old.take("train_val_split", default="random")
    start = 0 if separate else n_train
    if how == "random":
        if separate:
            old.assumed.append(
                f"validation frames: {n_val} drawn with dataset_seed (not the same frames as in "
                "nequip 0.5, which continued the random sequence of the training frames)"
            )
        return {
            "train_dataset": _slice(frames, 0, n_train, seed),
            "val_dataset": _slice(other, start, n_val, seed),
        }
    if how != "sequential":
        raise old.wrong(["train_val_split"], how, "random or sequential")
    return {
        "train_dataset": _subset(frames, _range(0, n_train)),
        "val_dataset": _subset(other, _range(start, start + n_val)),
    }


def _slice(dataset: str, start: int, length: int, seed: int) -> dict[str, Any]:
    return {
        "_target_": "nequip.data.dataset.SubsetByRandomSlice",
        "dataset": dataset,
        "start": start,
        "length": length,
        "seed": seed,
    }


def _subset(dataset: str, indices: Any) -> dict[str, Any]:
    return {"_target_": "torch.utils.data.Subset", "dataset": dataset, "indices": indices}


def _range(start: int, stop: int) -> dict[str, Any]:
    return {"_target_": "builtins.range", "_args_": [start, stop]}


def _loaders(old: OldConfig) -> dict[str, Any]:
    train: dict[str, Any] = {
        "_target_": "torch.utils.data.DataLoader",
        "batch_size": old.integer("batch_size", least=1, default=5, why="default of nequip 0.5"),
        "shuffle": old.switch("shuffle", default=True),
    }
    val: dict[str, Any] = {
        "_target_": "torch.utils.data.DataLoader",
        "batch_size": old.integer(
            "validation_batch_size", least=1, default=5, why="default of nequip 0.5"
        ),
    }
    workers = old.integer("dataloader_num_workers", default=0)
    if workers:
        for loader in (train, val):
            loader["num_workers"] = workers
            loader["persistent_workers"] = True
    return {"train_dataloader": train, "val_dataloader": val}
