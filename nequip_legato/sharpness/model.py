"""A trained model in float64, with the loss that it was trained with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hydra
import torch
from nequip.model.saved_models.load_utils import load_saved_model
from nequip.train import EMALightningModule, NequIPLightningModule
from nequip.utils.global_state import set_global_state

from nequip_legato.errors import LegatoError, one_line
from nequip_legato.trained.checkpoint import PACKAGE_SUFFIX, open_source

__all__ = ["EMA", "RAW", "Trained", "open_trained"]

EMA = "ema"
RAW = "raw"


class Trained:
    """A model and its loss.

    Attributes:
        path: the file that it came from.
        module: nequip's Lightning module, in float64, not training.
        data_config: the training data module's configuration.
        weights: which weights it holds, ``ema`` or ``raw``.
    """

    def __init__(
        self, path: Path, module: NequIPLightningModule, data_config: dict[str, Any], weights: str
    ) -> None:
        self.path = path
        self.module = module
        self.data_config = data_config
        self.weights = weights


def open_trained(path: Path, *, weights: str = EMA, model_key: str = "sole_model") -> Trained:
    """Load a checkpoint or a package in float64, whatever dtype it was trained in.

    Args:
        path: nequip checkpoint or package. It is unpickled: open only files that you trust.
        weights: ``ema`` for averaged weights where there are any, ``raw`` for those of the
            optimizer.
        model_key: which model, if the file holds several.

    Raises:
        LegatoError: if the file cannot be used, or has no such weights.
    """
    if weights not in (EMA, RAW):
        raise LegatoError(f"weights '{weights}' is neither {EMA} nor {RAW}")
    source = open_source(path, model_key=model_key)
    package = path.name.endswith(PACKAGE_SUFFIX)
    training = source.record.get("training_module")
    if not isinstance(training, Mapping) or not training.get("loss"):
        raise LegatoError(f"{path} does not say what loss it was trained with; give a checkpoint")
    set_global_state()
    try:
        if package:
            module = _from_package(path, training)
        else:
            kind: Any = hydra.utils.get_class(training["_target_"])
            module = kind.load_from_checkpoint(
                path, map_location="cpu", weights_only=False, model=_in_float64(training["model"])
            )
    except LegatoError:
        raise
    except Exception as problem:  # hydra, pickle and every model builder raise what they like
        raise LegatoError(
            f"{path} cannot be built in float64 ({one_line(problem)}); models whose training "
            "started from a package or checkpoint cannot be measured"
        ) from problem
    found = RAW
    averaged = isinstance(module, EMALightningModule)
    if package:
        found = EMA
        if weights == RAW:
            raise LegatoError(f"{path} is a package, which holds one set of weights; drop raw")
    elif averaged and weights == EMA:
        module.evaluation_model  # noqa: B018  puts the averages in place
        found = EMA
    module.eval()
    return Trained(path, module, source.data_config, found)


def _from_package(path: Path, training: Mapping[str, Any]) -> NequIPLightningModule:
    module = NequIPLightningModule(
        model=_in_float64(training["model"]),
        num_datasets={"train": 1, "val": 0, "test": 0, "predict": 0},
        loss=training["loss"],
    )
    packaged = load_saved_model(path, model_key=None)
    weights = {
        key: value.to(torch.float64) if value.is_floating_point() else value
        for key, value in packaged.state_dict().items()
    }
    module.model.load_state_dict(weights)
    return module


def _in_float64(config: Any) -> Any:
    if isinstance(config, Mapping):
        return {
            key: "float64" if key == "model_dtype" else _in_float64(value)
            for key, value in config.items()
        }
    return config
