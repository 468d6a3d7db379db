"""Finding the frames that a model was trained on."""

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import hydra
import torch
import yaml
from nequip.utils.dtype import torch_default_dtype

from nequip_legato.errors import LegatoError, one_line
from nequip_legato.trained.checkpoint import Source
from nequip_legato.trained.frames import Frame, frame_from_data, read_frames

__all__ = [
    "MAX_FRAMES",
    "Frames",
    "find_frames",
    "folders_of",
    "reading_options",
    "type_of_symbol",
    "with_found_paths",
]

MAX_FRAMES = 10_000
"""At most this many frames, evenly spaced, are looked at."""

_READING = ("transforms", "ase_args", "include_keys", "exclude_keys", "key_mapping")
_REMEDY = "give the training frames with --frames FILE"
_PARENTS = 4  # nequip's default run folder outputs/DATE/TIME lies three below the start folder


class Frames(Sequence[Frame]):
    """Frames that are made on access, so that large data sets fit into memory.

    Args:
        get: index in the data set -> frame.
        total: size of the data set; at most ``MAX_FRAMES`` of it, evenly spaced, are offered.
        origin: where the frames come from, in words.

    Attributes:
        total: size of the data set.
    """

    def __init__(self, get: Callable[[int], Frame], total: int, *, origin: str) -> None:
        self.origin = origin
        self._get = get
        self.total = total
        last = max(1, MAX_FRAMES - 1)
        self._picked = (
            range(total)
            if total <= MAX_FRAMES
            else [round(k * (total - 1) / last) for k in range(MAX_FRAMES)]
        )

    def __len__(self) -> int:
        return len(self._picked)

    def __getitem__(self, index: int) -> Frame:  # type: ignore[override]
        return self._get(self._picked[index])

    def every(self) -> Iterator[Frame]:
        """All frames of the data set, however many, one at a time."""
        return map(self._get, range(self.total))

    def spread(self, count: int) -> Iterator[Frame]:
        """``count`` frames from all over the set, each with at least two edges."""
        order = sorted(range(len(self)), key=lambda k: (k * count % len(self), k))
        usable = (frame for frame in (self[k] for k in order) if frame.n_edges >= 2)
        return islice(usable, count)


def find_frames(source: Source, *, frames: Path | None, r_max: float) -> Frames:
    """The frames that domain and checks are taken from.

    They come from the file ``frames``, else from the training data that checkpoint or package name,
    else (packages only) from the one example structure in the package. Relative paths among the
    training data are looked for in the current folder, in the folder in which ``nequip-train`` was
    started (hydra's record of it), and in the model's folder and those above it.

    Raises:
        LegatoError: if there are none.
    """
    if frames is not None:
        options = reading_options(source.data_config)
        found = read_frames(
            frames,
            type_of_symbol=type_of_symbol(source),
            r_max=r_max,
            keys={k: v for k, v in options.items() if k in ("exclude_keys", "key_mapping")},
        )
        return Frames(found.__getitem__, len(found), origin=str(frames))
    try:
        return _training_frames(source, r_max=r_max)
    except LegatoError:
        if source.example is None:
            raise
    example = frame_from_data(source.example, r_max=r_max)
    return Frames(lambda _: example, 1, origin="the package's one example structure")


def type_of_symbol(source: Source) -> dict[str, int]:
    """Chemical symbol -> model type, as in the training data."""
    type_names = list(source.model.type_names)
    mapping = {name: name for name in type_names}
    for transform in _mappings(source.data_config):
        if str(transform.get("_target_", "")).endswith(".ChemicalSpeciesToAtomTypeMapper"):
            mapping = transform.get("chemical_species_to_atom_type_map") or mapping
    return {s: type_names.index(name) for s, name in mapping.items() if name in type_names}


def _mappings(config: Any) -> Iterator[Mapping[str, Any]]:
    """All mappings of a configuration: transforms are at its top or in each of its data sets."""
    if isinstance(config, Mapping):
        yield config
    if isinstance(config, Mapping | list | tuple):
        for inner in config.values() if isinstance(config, Mapping) else config:
            yield from _mappings(inner)


def _training_frames(source: Source, *, r_max: float) -> Frames:
    if not source.data_config:
        raise LegatoError(f"{source.path} does not say what it was trained on; {_REMEDY}")
    config = with_found_paths(copy.deepcopy(source.data_config), folders_of(source.path))
    with _reading(source.path):
        module = hydra.utils.instantiate(config, _recursive_=False)
        module.prepare_data()
        datasets = [hydra.utils.instantiate(c) for c in module.train_dataset_config]
        data: Any = torch.utils.data.ConcatDataset(datasets)

    def get(index: int) -> Frame:
        with _reading(source.path):
            return frame_from_data(data[index], r_max=r_max)

    if len(data) == 0:
        raise LegatoError(f"the training data of {source.path} are empty; {_REMEDY}")
    get(0)  # broken data should fail here, where a package has an alternative
    return Frames(get, len(data), origin="its training data")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        with torch_default_dtype(torch.float64), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as problem:  # data modules are the user's; hydra wraps what they raise
        cause: BaseException = problem
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise LegatoError(
            f"the training data of {path} cannot be read ({one_line(cause)}); {_REMEDY}"
        ) from problem


def folders_of(path: Path) -> list[Path]:
    """Where relative paths of a model's training data may start: see `find_frames`."""
    folder = path.absolute().parent
    around = [folder, *folder.parents[:_PARENTS]]
    started = []
    for parent in around:
        record = parent / ".hydra" / "hydra.yaml"
        if record.is_file():
            settings = yaml.safe_load(record.read_text(encoding="utf-8")) or {}
            cwd = settings.get("hydra", {}).get("runtime", {}).get("cwd")
            started += [Path(cwd)] if cwd else []
    return started + around


def with_found_paths(config: Any, folders: Sequence[Path], key: str = "") -> Any:
    """The configuration with relative paths replaced by those of files that are there."""
    if isinstance(config, dict):
        return {k: with_found_paths(v, folders, str(k)) for k, v in config.items()}
    if isinstance(config, list):
        return [with_found_paths(v, folders, key) for v in config]
    if isinstance(config, str) and any(part in key for part in ("path", "file", "dir")):
        for folder in [Path(), *folders]:
            if (folder / config).exists():
                return str(folder / config)
    return config


def reading_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """How the first training file is read, as far as the configuration says.

    Args:
        config: of a data module.

    Returns:
        ``transforms`` (configurations), ``ase_args``, ``include_keys``, ``exclude_keys`` and
        ``key_mapping``, those that are not empty.
    """
    # A data set is in a list, or inside data sets that join or split others.
    for start in (config.get("train_dataset"), config.get("split_dataset"), config):
        for mapping in _mappings(start):
            if mapping.get("transforms"):
                return {key: mapping[key] for key in _READING if mapping.get(key)}
    return {}
