"""Times of steps of real trainings (nequip's module, Lightning's trainer), methods in turn."""

import logging
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase.io
import lightning
import torch
from hydra.utils import instantiate
from lightning.pytorch.strategies import SingleDeviceStrategy
from nequip.data import AtomicDataDict, from_ase
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
from nequip.train import NequIPLightningModule
from nequip.utils.global_state import set_global_state
from torch.utils.data import DataLoader

import nequip_legato

__all__ = ["METHODS", "MODELS", "measure"]

FRAMES = Path(__file__).parents[1] / "fidelity_scaling" / "results" / "rattled.extxyz"
TYPES, CUTOFF = ["H", "N"], 4.5
MODELS = {
    "small": {"l_max": 1, "num_scalar_features": 32, "num_tensor_features": 8, "width": 64},
    "medium": {"l_max": 2, "num_scalar_features": 64, "num_tensor_features": 32, "width": 128},
}
RHO = 0.005
WARM = 2
"""Steps at the beginning of each training that are not counted."""

# Name -> callback and number of steps. Late phase: two plain steps that count and three that climb.
# The second SAM logs at every step, the others at none, like most steps of a real training.
METHODS = {
    "plain": (None, 5),
    "SAM": (lambda: nequip_legato.SAM(rho=RHO), 5),
    "SAM, logging": (lambda: nequip_legato.SAM(rho=RHO), 5),
    "ASAM": (lambda: nequip_legato.SAM(rho=RHO, adaptive=True), 5),
    "late": (lambda: nequip_legato.SAM(rho=RHO, last_fraction=3 / 7), 7),
    "MomentumSAM": (lambda: nequip_legato.MomentumSAM(rho=RHO), 5),
    "LookSAM": (lambda: nequip_legato.LookSAM(rho=RHO, every=5), 8),
}


class TimedStrategy(SingleDeviceStrategy):
    """Adds up the time within forward and backward passes, including the second ones."""

    passes = 0.0
    count = 0

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Forward."""
        self._begin = time.process_time()
        return super().training_step(*args, **kwargs)

    def post_backward(self, closure_loss: torch.Tensor) -> None:
        """Called after every backward pass."""
        super().post_backward(closure_loss)
        self.passes += time.process_time() - self._begin
        self.count += 1


class Clock(lightning.Callback):
    """Processor and wall time from the end of one step to the end of the next."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self._last: dict[str, float] | None = None

    def on_train_batch_end(self, trainer, *_) -> None:
        """Record a step."""
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize()
        now = {
            "cpu": time.process_time(),
            "wall": time.perf_counter(),
            "passes": trainer.strategy.passes,
            "count": trainer.strategy.count,
        }
        if self._last is not None:
            self.steps.append({k: now[k] - self._last[k] for k in now})
        self._last = now


def measure(
    model: str,
    batch: int,
    *,
    rounds: int,
    only: Sequence[str] | None = None,
    device: str = "cpu",
) -> list[dict[str, Any]]:
    """Times of single steps of every method.

    Args:
        model: a key of ``MODELS``.
        batch: frames of 64 atoms per step.
        rounds: number of rounds over all methods.
        only: methods; default: all.
        device: ``cpu`` or ``cuda``, where only the wall time is meaningful.

    Returns:
        For each step: method, round, processor time (``cpu``) and wall time (``wall``) in s,
        processor time within forward and backward passes (``passes``), and their number
        (``count``).
    """
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    set_global_state()
    frames = _batch(batch)
    # the time of logging does not depend on the batch size
    names = only or [k for k in METHODS if batch == 1 or k != "SAM, logging"]
    methods = {name: METHODS[name] for name in names}
    modules = {name: _module(model) for name in methods}
    rows = []
    for number in range(rounds):
        for name, (callback, steps) in methods.items():
            clock = Clock()
            trainer = lightning.Trainer(
                strategy=TimedStrategy(device=torch.device(device)),
                max_steps=steps,
                callbacks=[*([callback()] if callback else []), clock],
                logger=False,
                log_every_n_steps=1 if name == "SAM, logging" else 1000,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                inference_mode=False,
            )
            trainer.fit(modules[name], DataLoader([frames] * steps, batch_size=None))
            for step in clock.steps[WARM - 1 :]:
                rows.append({"method": name, "round": number, **step})
    return rows


def _batch(size: int) -> AtomicDataDict.Type:
    transforms = [ChemicalSpeciesToAtomTypeMapper(TYPES), NeighborListTransform(CUTOFF)]
    frames = []
    for frame in ase.io.read(FRAMES, f":{size}"):
        data = from_ase(frame)
        for transform in transforms:
            data = transform(data)
        frames.append(data)
    return AtomicDataDict.batched_from_list(frames)


def _module(model: str) -> NequIPLightningModule:
    """A training module with the settings of examples/nh3/train.yaml."""
    options = dict(MODELS[model])
    width = options.pop("width")
    metrics = {
        "_target_": "nequip.train.EnergyForceMetrics",
        "coeffs": {"per_atom_energy_mae": 1.0, "forces_mae": 1.0},
    }
    config = {
        "_target_": "nequip.train.EMALightningModule",
        "ema_decay": 0.99,
        "loss": {
            "_target_": "nequip.train.EnergyForceLoss",
            "per_atom_energy": True,
            "coeffs": {"total_energy": 1.0, "forces": 1.0},
        },
        "val_metrics": metrics,
        "optimizer": {"_target_": "torch.optim.Adam", "lr": 1e-4},
        "num_datasets": {"train": 1, "val": 1, "test": 0, "predict": 0},
        "model": {
            "_target_": "allegro.model.AllegroModel",
            "seed": 1,
            "model_dtype": "float32",
            "type_names": TYPES,
            "r_max": CUTOFF,
            "num_layers": 2,
            **options,
            "radial_chemical_embed": {
                "_target_": "allegro.nn.TwoBodyBesselScalarEmbed",
                "num_bessels": 8,
            },
            "scalar_embed_mlp_hidden_layers_width": width,
            "allegro_mlp_hidden_layers_width": width,
            "readout_mlp_hidden_layers_width": 32,
            "avg_num_neighbors": 38.0,
        },
    }
    return instantiate(config, _recursive_=False)
