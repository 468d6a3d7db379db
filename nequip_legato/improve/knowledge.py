"""The initial checkpoint: its training, its data, and its test errors."""

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
_STRESS = AtomicDataDict.STRESS_KEY


@dataclass(frozen=True)
class Errors:
    """Errors of a model on labeled frames.

    Attributes:
        frames: number of frames.
        force_rmse: root mean square error of force components, eV/Angstrom.
        force_mae: mean absolute error of force components, eV/Angstrom.
        force_largest: largest error of a force component, eV/Angstrom.
        energy_rmse: root mean square error, eV per atom; None if no frame has an energy.
        stress_rmse: root mean square error of components, eV/Angstrom^3; None if no frame has a
            stress.
    """

    frames: int
    force_rmse: float
    force_mae: float
    force_largest: float
    energy_rmse: float | None
    stress_rmse: float | None = None


@dataclass(frozen=True)
class Origin:
    """The initial checkpoint and its training.

    Attributes:
        source: the checkpoint.
        record: nequip's record of its training, with paths resolved to existing files.
        datasets: configurations of its data sets, ``train``, ``val`` and ``test``, each a list.
        keys: names of the labels in its files, as keyword arguments of nequip's ``from_ase``.
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
        LegatoError: if it is not a checkpoint, its data are missing, or there are no test frames.
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

    The fence of all rounds is made from them (``fence: {frames: original}``).

    Returns:
        The number of frames.
    """
    frames = find_frames(origin.source, frames=None, r_max=origin.cutoff)
    symbols = {index: symbol for symbol, index in origin.type_of_symbol.items()}
    with replacing(path) as hidden, hidden.open("w", encoding="utf-8") as stream:
        for frame in frames.every():
            atoms = Atoms([symbols[int(t)] for t in frame.types], frame.positions.numpy())
            if frame.cell is not None and frame.shifts is not None:
                # a direction that no edge crosses can be treated as not periodic
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
    """Errors of a checkpoint's model, without a fence, on labeled frames.

    Args:
        checkpoint: of ``nequip-train``.
        frames: with labels.
        origin: types and cutoff.
        keys: names of the labels; default: those in the training files.

    Raises:
        LegatoError: if no frame has forces.
    """
    model = open_source(checkpoint, model_key=_SOLE_MODEL_KEY).model
    forces, energies, stresses = [], [], []
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
        if _STRESS in data and not data[_STRESS].isnan().any():
            stress = -sums.virial / atoms.get_volume()
            stresses.append((stress - data[_STRESS].double().view(3, 3)).numpy())
    if not forces:
        raise LegatoError("the frames have no forces, so a model cannot be compared with them")
    errors = np.concatenate(forces)
    errors = errors[np.isfinite(errors)]
    return Errors(
        len(forces),
        float(np.sqrt(np.mean(errors**2))),
        float(np.mean(np.abs(errors))),
        float(np.abs(errors).max()),
        _rms(energies),
        _rms(stresses),
    )


def _rms(errors: Sequence[Any]) -> float | None:
    return float(np.sqrt(np.mean(np.square(errors)))) if errors else None
