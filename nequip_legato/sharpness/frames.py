"""The frames on which the loss is measured: chosen once and kept in a file."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ase.io
import hydra
import torch
from ase import Atoms
from nequip.data import AtomicDataDict, to_ase
from nequip.data.dataset import ASEDataset
from nequip.utils.dtype import torch_default_dtype

from nequip_legato.errors import LegatoError, one_line
from nequip_legato.files import replacing
from nequip_legato.sharpness.model import Trained
from nequip_legato.trained.dataset import folders_of, reading_options, with_found_paths

__all__ = ["keep_frames", "load_frames"]

_KEPT = "as_trained"  # marks frames whose labels are already transformed as in the training
_KEPT_EARLIER = "stress_as_trained"
_STRESS_TRANSFORMS = ("StressSignFlipTransform", "VirialToStressTransform")
_STRUCTURE = {
    AtomicDataDict.POSITIONS_KEY,
    AtomicDataDict.CELL_KEY,
    AtomicDataDict.PBC_KEY,
    AtomicDataDict.ATOMIC_NUMBERS_KEY,
    AtomicDataDict.ATOM_TYPE_KEY,
    AtomicDataDict.EDGE_INDEX_KEY,
    AtomicDataDict.EDGE_CELL_SHIFT_KEY,
    AtomicDataDict.EDGE_TYPE_KEY,
    AtomicDataDict.BATCH_KEY,
    AtomicDataDict.NUM_NODES_KEY,
}
_REMEDY = "give frames with energies and forces with --frames FILE"


def keep_frames(trained: Trained, count: int, path: Path) -> Path:
    """Write ``count`` frames, evenly spaced over the model's training data, unless they are there.

    Args:
        trained: the model, whose configuration names its training data.
        count: number of frames; all of the training data if there are fewer.
        path: an extxyz file.

    Raises:
        LegatoError: if the training data cannot be read, or if the file holds another number of
            frames.
    """
    present = len(_read(path)) if path.is_file() else None
    if present == count:
        return path
    if present is not None and present > count:
        raise _other_number(path, present, count)
    atoms = _training_frames(trained, count)
    if present is not None:
        # Fewer frames are right if the training data have no more.
        if present != len(atoms):
            raise _other_number(path, present, count)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as hidden:
        ase.io.write(hidden, atoms, format="extxyz")
    return path


def _other_number(path: Path, present: int, count: int) -> LegatoError:
    return LegatoError(
        f"{path} holds {present} frames of an earlier measurement, not {count}; give another "
        f"folder for the results, or use these with --frames {path}"
    )


def _training_frames(trained: Trained, count: int) -> list[Atoms]:
    config = trained.data_config
    if not config:
        raise LegatoError(f"{trained.path} does not say what it was trained on; {_REMEDY}")
    config = with_found_paths(config, folders_of(trained.path))
    try:
        with torch_default_dtype(torch.float64), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = hydra.utils.instantiate(config, _recursive_=False)
            module.prepare_data()
            data: Any = torch.utils.data.ConcatDataset(
                [hydra.utils.instantiate(c) for c in module.train_dataset_config]
            )
            count = min(count, len(data))
            atoms = [to_ase(data[k * len(data) // count]) for k in range(count)]
    except Exception as problem:  # data modules are the user's; hydra wraps what they raise
        raise LegatoError(
            f"the training data of {trained.path} cannot be read ({one_line(problem)}); {_REMEDY}"
        ) from problem
    atoms = [a[0] if isinstance(a, list) else a for a in atoms]
    for frame in atoms:
        frame.info[_KEPT] = True
    return atoms


def _is_stress_transform(config: Mapping[str, Any]) -> bool:
    return str(config.get("_target_", "")).rpartition(".")[2] in _STRESS_TRANSFORMS


def _read(path: Path) -> list[Atoms]:
    try:
        return list(ase.io.read(path, index=":"))
    except Exception as problem:  # ASE's readers raise what they like
        raise LegatoError(f"{path} cannot be read ({one_line(problem)}); {_REMEDY}") from problem


def load_frames(trained: Trained, path: Path) -> list[AtomicDataDict.Type]:
    """Frames of a file, with atom types and edges as in the model's training data.

    Raises:
        LegatoError: if the file cannot be read, or lacks what the transforms need.
    """
    if not path.is_file():
        raise LegatoError(f"the file of frames {path} does not exist")
    options = reading_options(trained.data_config)
    transforms = options.pop("transforms", [])
    if all(a.info.get(_KEPT) or a.info.get(_KEPT_EARLIER) for a in _read(path)):
        # Otherwise signs would be flipped again, and labels looked for under their old names.
        transforms = [t for t in transforms if not _is_stress_transform(t)]
        options = {}
    try:
        with torch_default_dtype(torch.float64), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = ASEDataset(
                file_path=str(path),
                transforms=[hydra.utils.instantiate(t) for t in transforms],
                **options,
            )
            frames = [data[k] for k in range(len(data))]
    except KeyError as problem:
        raise LegatoError(
            f"not all frames in {path} have the label {problem}, which the data's transforms need; "
            f"{_REMEDY}"
        ) from problem
    except Exception as problem:  # ASE's readers and transforms raise what they like
        raise LegatoError(f"{path} cannot be read ({one_line(problem)}); {_REMEDY}") from problem
    if not frames:
        raise LegatoError(f"{path} holds no frames; {_REMEDY}")
    bare = sum(_STRUCTURE.issuperset(frame) for frame in frames)
    if bare:
        raise LegatoError(
            f"not all frames in {path} have labels: no energy, forces or others in {bare} of "
            f"{len(frames)}; {_REMEDY}"
        )
    return frames
