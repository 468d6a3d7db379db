"""Trained models: nequip checkpoints and packages, with their record of the training."""

import json
import os
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from nequip.data import AtomicDataDict
from nequip.model.modify_utils import get_all_modifiers, modify
from nequip.model.saved_models.load_utils import load_saved_model
from nequip.model.saved_models.package import data_dict_from_package
from nequip.nn.model_modifier_utils import is_persistent_model_modifier
from nequip.utils.global_state import set_global_state

from nequip_legato.deployed.history import history_of, package_history
from nequip_legato.deployed.reader import DAMAGE, SUFFIXES
from nequip_legato.errors import LegatoError, one_line

__all__ = [
    "PACKAGE_SUFFIX",
    "Source",
    "apply_modifiers",
    "open_source",
    "refuse_nonlocal",
]

PACKAGE_SUFFIX = ".nequip.zip"

# Modules through which an atom's features depend on those of its neighbors.
_MESSAGE_PASSING = ("ConvNetLayer", "InteractionBlock", "TensorProductScatter")


@dataclass(frozen=True)
class Source:
    """A trained model.

    Attributes:
        path: checkpoint or package.
        model: nequip's eager graph model, a ``torch.nn.Module``, with EMA weights where there are
            any.
        data_config: the training run's data module as hydra configuration; empty if unknown.
        training: configuration of the SAM callback; empty without one.
        history: what the training did: see `nequip_legato.deployed.history`.
        record: all that nequip recorded of the training run.
        example: one structure that came with a package.
        notes: what nequip warned about while loading.
    """

    path: Path
    model: Any
    data_config: dict[str, Any]
    training: dict[str, Any]
    history: dict[str, Any]
    record: dict[str, Any]
    example: AtomicDataDict.Type | None = None
    notes: list[str] = field(default_factory=list)


def open_source(path: Path, *, model_key: str) -> Source:
    """Load a checkpoint or a package.

    Like nequip's own tools this unpickles the file: open only files that you trust.

    Raises:
        LegatoError: if the file is missing, damaged, or neither of the two.
    """
    if str(path).startswith("nequip.net:"):
        raise LegatoError("models of nequip.net are not fetched; download the package, deploy that")
    if not path.exists():
        raise LegatoError(f"{path} does not exist; give a nequip checkpoint or package")
    if not path.is_file():
        raise LegatoError(f"{path} is not a file; give a nequip checkpoint or package")
    if not os.access(path, os.R_OK):
        raise LegatoError(f"{path} cannot be read; check its permissions")
    set_global_state()
    package = path.name.endswith(PACKAGE_SUFFIX)
    if package:
        config = _package_config(path)
        history = package_history(config)
    else:
        config, history = map(dict, _checkpoint_record(path))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        models = _load_models(path)
        example = data_dict_from_package(str(path)) if package else None
    if model_key not in models:
        raise LegatoError(
            f"{path} has no model '{model_key}'; choose one with --model-key: "
            f"{' '.join(models.keys())}"
        )
    callbacks = (config.get("trainer") or {}).get("callbacks") or []
    return Source(
        path=path,
        model=models[model_key].eval(),
        data_config=dict(config.get("data") or {}),
        training=_sam_settings(callbacks),
        history=json.loads(json.dumps(history, default=str)),
        record=dict(config),
        example=example,
        notes=[str(w.message) for w in caught if "versions differ" in str(w.message)],
    )


def _load_models(path: Path) -> torch.nn.ModuleDict:
    try:
        return load_saved_model(path, model_key=None)
    except Exception as problem:  # hydra, pickle and every model builder raise what they like
        raise LegatoError(f"nequip cannot load {path} ({one_line(problem)})") from problem


def _checkpoint_record(path: Path) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """Nequip's record of the training run, and the history of the training."""
    if path.name.endswith(tuple(SUFFIXES)):
        raise LegatoError(
            f"{path} is not a nequip checkpoint but an already deployed model; give the checkpoint "
            "or package that it came from"
        )
    if not zipfile.is_zipfile(path):
        raise LegatoError(
            f"{path} is not a nequip checkpoint, or it is damaged or incomplete; give the .ckpt "
            f"file of a training run, or a package ({PACKAGE_SUFFIX})"
        )
    try:
        _check_sums(path)  # torch.load does not, and would hand on damaged weights
        checkpoint = torch.load(path, map_location="cpu", weights_only=False)
    except (ImportError, AttributeError) as problem:
        raise LegatoError(
            f"{path} needs Python code that is not installed ({one_line(problem)}); install it"
        ) from problem
    except Exception as problem:  # a damaged pickle can raise anything
        raise LegatoError(
            f"{path} is not a nequip checkpoint, or it is damaged ({one_line(problem)}); packages "
            f"must be named *{PACKAGE_SUFFIX}"
        ) from problem
    record = checkpoint.get("hyper_parameters") if isinstance(checkpoint, dict) else None
    record = record.get("info_dict") if isinstance(record, Mapping) else None
    if not isinstance(record, Mapping):
        raise LegatoError(
            f"{path} was not written by nequip-train (it lacks nequip's record of the training "
            "run); give the .ckpt file of a nequip >= 0.7 training run"
        )
    return record, history_of(checkpoint)


def _check_sums(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        wrong = archive.testzip()
    if wrong is not None:
        raise zipfile.BadZipFile(f"wrong checksum of {wrong}")


def _package_config(path: Path) -> dict[str, Any]:
    try:
        _check_sums(path)
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if n.endswith("/model/config.yaml")]
            if not names:
                raise LegatoError(f"{path} is not a nequip package; make one with nequip-package")
            return yaml.safe_load(archive.read(names[0])) or {}
    except (*DAMAGE, yaml.YAMLError) as problem:
        raise LegatoError(
            f"{path} is not a nequip package, or it is damaged ({one_line(problem)}); make one "
            "with nequip-package"
        ) from problem


_METHODS = ("SAM", "MomentumSAM", "LookSAM")


def _sam_settings(callbacks: Sequence[Any]) -> dict[str, Any]:
    for callback in callbacks:
        target = str(callback.get("_target_", "")) if isinstance(callback, dict) else ""
        package, _, name = target.rpartition(".")
        if package.partition(".")[0] == "nequip_legato" and name in _METHODS:
            return json.loads(json.dumps(callback, default=str))
    return {}


def refuse_nonlocal(model: torch.nn.Module, path: Path) -> None:
    """Refuse message-passing models.

    Their per-atom energies depend on atoms beyond the cutoff, so an edge affects more than the
    energy of its center, and evaluation in blocks would be wrong.

    Raises:
        LegatoError: if the model holds message-passing layers.
    """
    names = {type(module).__name__ for module in model.modules()}
    found = sorted(name for name in names if name.startswith(_MESSAGE_PASSING))
    if found:
        raise LegatoError(
            f"{path} is a message-passing model ({', '.join(found)}), whose atomic energies reach "
            "beyond the cutoff; pair_style allegro_legato runs strictly local models: train an "
            "Allegro model (allegro.model.AllegroModel), or use nequip's own pair styles"
        )


def apply_modifiers(
    model: torch.nn.Module, modifiers: Sequence[str], *, persistent: bool
) -> torch.nn.Module:
    """Apply nequip's model modifiers: only those that change predictions, or only the others.

    Args:
        model: the model.
        modifiers: names, e.g. ``enable_CuEquivarianceContracter``.
        persistent: True for those that change predictions, False for those that only accelerate.

    Raises:
        LegatoError: if a name is unknown or a modifier fails.
    """
    available = get_all_modifiers(model)
    unknown = [name for name in modifiers if name not in available]
    if unknown:
        raise LegatoError(
            f"the model has no modifier {', '.join(unknown)}; it has: {' '.join(sorted(available))}"
        )
    chosen = [n for n in modifiers if is_persistent_model_modifier(available[n]) == persistent]
    try:
        return modify(model, [{"modifier": name} for name in chosen])
    except Exception as problem:  # a modifier may raise anything
        raise LegatoError(
            f"modifier {', '.join(chosen)} cannot be applied ({one_line(problem)}); leave it out"
        ) from problem
