"""What the checkpoint of the beginning says: how it was trained, on what, and how it is tested."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from hydra.utils import instantiate
from nequip.data import AtomicDataDict, from_ase
from nequip.train.lightning import _SOLE_MODEL_KEY
from nequip.utils.dtype import torch_default_dtype

from nequip_legato.deploy.check import reference_of
from nequip_legato.errors import LegatoError
from nequip_legato.files import replacing
from nequip_legato.improve.structures import read_structures
from nequip_legato.trained.checkpoint import Source, open_source
from nequip_legato.trained.dataset import (
    find_frames,
    folders_of,
    reading_options,
    type_of_symbol,
    with_found_paths,
)
from nequip_legato.trained.frames import frame_from_data

__all__ = ["Errors", "Origin", "errors_of", "open_origin", "write_original_frames"]

_FORCES, _ENERGY = AtomicDataDict.FORCE_KEY, AtomicDataDict.TOTAL_ENERGY_KEY


@dataclass(frozen=True)
class Errors:
    """How far a model is off the labels of some frames.

    Attributes:
        frames: how many.
        force_rmse: of components, eV/Angstrom.
        force_mae: of components, eV/Angstrom.
        force_largest: of components, eV/Angstrom.
        energy_rmse: eV an atom; None where no frame has an energy.
    """

    frames: int
    force_rmse: float
    force_mae: float
    force_largest: float
    energy_rmse: float | None


@dataclass(frozen=True)
class Origin:
    """What the checkpoint of the beginning says.

    Attributes:
        source: the checkpoint.
        record: nequip's record of its training, with paths of files that are there.
        datasets: configurations of its data sets, ``train``, ``val`` and ``test``, each a list.
        keys: under which names labels are in its files, as nequip's ``from_ase`` takes them.
        cutoff: of the model, Angstrom.
        type_of_symbol: chemical symbol -> model type.
        test: frames of the test set.
    """

    source: Source
    record: dict[str, Any]
    datasets: dict[str, list[dict[str, Any]]]
    keys: dict[str, Any]
    cutoff: float
    type_of_symbol: dict[str, int]
    test: list[Atoms]


def open_origin(checkpoint: Path, *, test_frames: str = "") -> Origin:
    """Read a checkpoint, the configuration of its training, and its test frames.

    Args:
        checkpoint: of ``nequip-train``.
        test_frames: file of the test frames; empty for those that the training names.

    Raises:
        LegatoError: if the checkpoint is none, its data are gone, or there are no test frames.
    """
    source = open_source(checkpoint, model_key=_SOLE_MODEL_KEY)
    if "training_module" not in source.record or not source.data_config:
        raise LegatoError(
            f"{checkpoint} does not say how it was trained; give a checkpoint of nequip-train"
        )
    record = with_found_paths(deepcopy(source.record), folders_of(checkpoint))
    try:
        module = instantiate(record["data"], _recursive_=False, _convert_="all")
    except Exception as problem:  # data modules are the user's
        raise LegatoError(
            f"the data of {checkpoint} cannot be read ({type(problem).__name__}: {problem})"
        ) from problem
    datasets = {
        "train": module.train_dataset_config,
        "val": module.val_dataset_config,
        "test": module.test_dataset_config,
    }
    options = reading_options(record["data"])
    keys = {k: v for k, v in options.items() if k in ("exclude_keys", "key_mapping")}
    if not test_frames:
        files = [c["file_path"] for c in datasets["test"] if isinstance(c.get("file_path"), str)]
        if not files:
            raise LegatoError(
                f"{checkpoint} names no file of test frames; give them as test_frames in the YAML"
            )
        test_frames = files[0]
    frames = read_structures(Path(test_frames), "test_frames")
    cutoff = float(source.model.metadata["r_max"])
    return Origin(source, record, datasets, keys, cutoff, type_of_symbol(source), frames)


def write_original_frames(origin: Origin, path: Path) -> int:
    """Write the frames that the model was trained on, with their forces, as extxyz.

    A fence that is to stand where these end is made from them.

    Returns:
        The number of frames.
    """
    frames = find_frames(origin.source, frames=None, r_max=origin.cutoff)
    symbols = {index: symbol for symbol, index in origin.type_of_symbol.items()}
    with replacing(path) as hidden, hidden.open("w", encoding="utf-8") as stream:
        for frame in frames.every():
            atoms = Atoms([symbols[int(t)] for t in frame.types], frame.positions.numpy())
            if frame.cell is not None and frame.shifts is not None:
                # a direction that no edge crosses is as good as one without periodicity
                crossed = frame.shifts.ne(0).any(dim=0).numpy()
                atoms.cell, atoms.pbc = frame.cell.numpy(), crossed
            if frame.forces is not None:
                atoms.calc = SinglePointCalculator(atoms, forces=frame.forces.numpy())
            ase.io.write(stream, atoms, format="extxyz")
    return frames.total


def errors_of(
    checkpoint: Path,
    frames: Sequence[Atoms],
    origin: Origin,
    *,
    keys: Mapping[str, Any] | None = None,
) -> Errors:
    """How far a checkpoint's model, without any fence, is off the labels of frames.

    Args:
        checkpoint: of ``nequip-train``.
        frames: with labels.
        origin: types and cutoff.
        keys: names of the labels; default: those of the training's files.

    Raises:
        LegatoError: if no frame has forces.
    """
    model = open_source(checkpoint, model_key=_SOLE_MODEL_KEY).model
    forces, energies = [], []
    for atoms in frames:
        with torch_default_dtype(torch.float64):
            data = from_ase(atoms, **(origin.keys if keys is None else keys))
        if _FORCES not in data:
            continue
        types = [origin.type_of_symbol[symbol] for symbol in atoms.get_chemical_symbols()]
        data[AtomicDataDict.ATOM_TYPE_KEY] = torch.tensor(types)
        sums = reference_of(model, frame_from_data(data, r_max=origin.cutoff)).sums
        forces.append((sums.forces - data[_FORCES].double()).numpy().ravel())
        if _ENERGY in data:
            difference = float(sums.energies.sum()) - float(data[_ENERGY].reshape(-1)[0])
            energies.append(difference / len(atoms))
    if not forces:
        raise LegatoError("the frames have no forces, so a model cannot be compared with them")
    off = np.concatenate(forces)
    off = off[np.isfinite(off)]
    return Errors(
        len(forces),
        float(np.sqrt(np.mean(off**2))),
        float(np.mean(np.abs(off))),
        float(np.abs(off).max()),
        float(np.sqrt(np.mean(np.square(energies)))) if energies else None,
    )
