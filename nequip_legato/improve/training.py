"""Fine-tuning by nequip-train: from the previous weights, on old and added frames."""

import sys
from collections.abc import Mapping, Sequence
from copy import deepcopy
from math import ceil
from pathlib import Path
from typing import Any

import yaml
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress

from nequip_legato.errors import LegatoError
from nequip_legato.files import write_atomically
from nequip_legato.improve.campaigns import merged
from nequip_legato.improve.knowledge import Origin
from nequip_legato.improve.settings import Training
from nequip_legato.stability.run.processes import KilledError, Processes

__all__ = ["BEST", "fine_tune", "robust_loss", "steps_of", "training_config", "with_training_keys"]

BEST = "best.ckpt"
_CONFIG = "fine_tune"
_LAST = 0.05  # of the first learning rate
_CHECKPOINT = "ModelCheckpoint"
_KEPT = (
    *("accelerator", "devices", "num_nodes", "strategy", "precision"),
    *("accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm"),
)
_STRESS = "stress"
_KEYS = {"total_energy": "energy", "forces": "forces", "stress": "stress", "virial": None}


def training_config(
    folder: Path,
    origin: Origin,
    *,
    checkpoint: Path,
    added: Path,
    n_old: int,
    n_added: int,
    settings: Training,
    delta: float,
    energy_delta: float = 0.0,
    partial_stress: bool = False,
) -> dict[str, Any]:
    """The configuration of nequip-train for one round.

    Model, data, optimizer, metrics and callbacks are those of the original training. The weights
    come from ``checkpoint`` (``nequip.model.ModelFromCheckpoint``), and the added frames are joined
    to the old ones. Validation uses the old validation set, so the best weights of the round are
    those with the smallest error there.

    Args:
        folder: where the training runs.
        origin: the original training.
        checkpoint: the model of the round before.
        added: extxyz file of the added frames, see `with_training_keys`.
        n_old: number of old frames.
        n_added: number of added frames.
        settings: epochs, learning rate and so on.
        delta: of the Huber loss of forces, eV/Angstrom; 0 for the original loss.
        energy_delta: of that of per-atom energies, eV; 0 for their squares.
        partial_stress: whether some added frames lack a stress.

    Returns:
        The configuration as plain data.

    Raises:
        LegatoError: if the original training is of a kind that cannot be continued.
    """
    old = deepcopy(origin.record)
    module = old["training_module"]
    module |= {
        "model": _from_checkpoint(module["model"], checkpoint),
        "loss": robust_loss(
            module["loss"], delta=delta, energy_delta=energy_delta, partial_stress=partial_stress
        ),
        "train_metrics": None,
        **_optimization(module["optimizer"], settings),
    }
    options = old.get("global_options") or {}
    config = {
        "run": ["train"],
        "hydra": {"run": {"dir": str(folder)}},
        "data": _with_added(origin, old["data"], str(added), settings.copies),
        "trainer": _trainer(old["trainer"], folder, settings.epochs),
        "training_module": module,
        "global_options": {k: v for k, v in options.items() if k in ("allow_tf32",)},
    }
    config = merged(config, settings.overrides)
    schedule = (config["training_module"]["lr_scheduler"] or {}).get("scheduler") or {}
    if "T_max" in schedule and schedule["T_max"] is None:
        schedule["T_max"] = max(1, steps_of(config, frames=n_old + settings.copies * n_added))
    return config


def _from_checkpoint(model: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    kept = {key: model[key] for key in ("compile_mode",) if key in model}
    return {
        "_target_": "nequip.model.ModelFromCheckpoint",
        "checkpoint_path": str(checkpoint.absolute()),
        **kept,
    }


def _optimization(optimizer: Mapping[str, Any], settings: Training) -> dict[str, Any]:
    """The optimizer with a smaller learning rate, which falls along a cosine."""
    if "lr" not in optimizer:
        raise LegatoError(
            "the optimizer of the training has no 'lr'; set training: overrides: "
            "{training_module: {optimizer: ...}} in the YAML"
        )
    rate = optimizer["lr"] * settings.learning_rate
    return {
        "optimizer": {**optimizer, "lr": rate},
        "lr_scheduler": {
            "scheduler": {
                "_target_": "torch.optim.lr_scheduler.CosineAnnealingLR",
                "T_max": None,  # set below
                "eta_min": rate * _LAST,
            },
            "interval": "step",
            "frequency": 1,
        },
    }


def steps_of(config: Mapping[str, Any], *, frames: int) -> int:
    """Number of optimizer steps of a training, as Lightning counts them.

    Args:
        config: configuration of ``nequip-train``, as `training_config` returns it.
        frames: number of frames in an epoch.

    Raises:
        LegatoError: if neither ``max_epochs`` nor ``max_steps`` is set.
    """
    trainer, loader = config["trainer"], config["data"].get("train_dataloader") or {}
    for key in ("devices", "num_nodes"):  # each process has its part of the frames
        if isinstance(trainer.get(key), int) and trainer[key] > 1:
            frames = ceil(frames / trainer[key])
    size = int(loader.get("batch_size", 1))
    batches = frames // size if loader.get("drop_last") else ceil(frames / size)
    limit = trainer.get("limit_train_batches")
    if isinstance(limit, float):  # a fraction
        batches = int(limit * batches)
    elif limit is not None:
        batches = min(limit, batches)
    each = ceil(batches / (trainer.get("accumulate_grad_batches") or 1))
    ends = {"max_epochs": each, "max_steps": 1}  # Lightning: -1 is no limit
    given = [trainer[k] * per for k, per in ends.items() if trainer.get(k, -1) not in (None, -1)]
    if not given:
        raise LegatoError("training: overrides leave neither max_epochs nor max_steps; set one")
    return min(given)


def robust_loss(
    loss: Mapping[str, Any],
    *,
    delta: float,
    energy_delta: float = 0.0,
    partial_stress: bool = False,
) -> dict[str, Any]:
    """Nequip's loss with Huber terms for forces and energies; the stress and coefficients stay.

    Huber's loss (doi:10.1214/aoms/1177703732) is half the square for errors below ``delta`` and
    linear beyond; its coefficient is doubled, so that small errors count as before. The gradient of
    an added frame with an error of many eV/Angstrom is then bounded, and does not outweigh ordinary
    frames. Energies of broken states are far off as well, and their squares would shift all
    energies.

    Args:
        loss: configuration of ``EnergyForceLoss`` or ``EnergyForceStressLoss``.
        delta: of forces, eV/Angstrom; 0 leaves the loss as it is.
        energy_delta: of energies, eV per atom; 0 leaves their squares, as it does where the loss
            is of total energies.
        partial_stress: whether some frames lack a stress.

    Raises:
        LegatoError: for another loss, unless ``delta`` is 0.
    """
    name = str(loss.get("_target_", "")).rpartition(".")[2]
    simple = name in ("EnergyForceLoss", "EnergyForceStressLoss")
    ignored = dict(loss.get("ignore_nan") or {})
    if partial_stress:
        ignored[_STRESS] = True
    if delta == 0 or not simple:
        if delta and not simple:
            raise LegatoError(
                f"the loss of the training is {name}, which cannot be made robust here; set "
                "training: {robust: off} to keep it, or set another loss by training: overrides"
            )
        return {**loss, "ignore_nan": ignored} if simple and ignored else dict(loss)
    terms = _terms(
        loss,
        ignored,
        delta=delta,
        energy_delta=energy_delta,
        stress=name == "EnergyForceStressLoss",
    )
    return {
        "_target_": "nequip.train.MetricsManager",
        "metrics": terms + list(loss.get("extra_metrics") or []),
    }


def _terms(
    loss: Mapping[str, Any],
    ignored: Mapping[str, bool],
    *,
    delta: float,
    energy_delta: float,
    stress: bool,
) -> list[dict[str, Any]]:
    """Huber's terms of forces and, perhaps, energies; squares of the others."""
    coeffs = loss.get("coeffs") or {"total_energy": 1.0, "forces": 1.0, _STRESS: 1.0}
    square = {"_target_": "nequip.train.MeanSquaredError"}
    energy: dict[str, Any] = {
        "name": "energy_mse",
        "field": "total_energy",
        "coeff": coeffs["total_energy"],
        "metric": square,
        "ignore_nan": ignored.get("total_energy", False),
    }
    if loss.get("per_atom_energy", True):
        energy["field"] = {"_target_": "nequip.data.PerAtomModifier", "field": "total_energy"}
        if energy_delta > 0:
            energy |= {
                "name": "energy_huber",
                "coeff": 2.0 * coeffs["total_energy"],
                "metric": {"_target_": "nequip.train.HuberLoss", "delta": energy_delta},
            }
    forces: dict[str, Any] = {
        "name": "forces_huber",
        "field": "forces",
        "coeff": 2.0 * coeffs["forces"],
        "metric": {"_target_": "nequip.train.HuberLoss", "delta": delta},
        "ignore_nan": ignored.get("forces", False),
    }
    if loss.get("per_type_forces_coeffs"):
        forces |= {"per_type": True, "per_type_coeffs": loss["per_type_forces_coeffs"]}
    terms = [energy, forces]
    if stress:
        terms.append(
            {
                "name": "stress_mse",
                "field": _STRESS,
                "coeff": coeffs[_STRESS],
                "metric": square,
                "ignore_nan": ignored.get(_STRESS, False),
            }
        )
    return terms


def with_training_keys(frames: Sequence[Atoms], keys: Mapping[str, Any]) -> list[Atoms]:
    """Copies of labeled frames whose labels have the same names as in the training files.

    Args:
        frames: labeled by a calculator.
        keys: ``key_mapping`` of the training: name in the file -> nequip's name.

    Raises:
        LegatoError: if the training uses labels that are not computed here.
    """
    names = {ours: name for name, ours in (keys.get("key_mapping") or {}).items() if ours in _KEYS}
    if "virial" in names:
        raise LegatoError(
            "the training uses virials as labels, but new labels have stress only; train with "
            "stress"
        )
    result = []
    for atoms in frames:
        copy = atoms.copy()
        values = {key: atoms.calc.results[key] for key in ("energy", "forces", "stress")}
        copy.calc = None
        for ours, name in names.items():
            value = values[str(_KEYS[ours])]
            if ours == "forces":
                copy.arrays[name] = value
            else:
                copy.info[name] = voigt_6_to_full_3x3_stress(value) if ours == _STRESS else value
        if not names:
            copy.calc = atoms.calc
        result.append(copy)
    return result


def fine_tune(
    folder: Path, config: Mapping[str, Any], processes: Processes, *, threads: int
) -> Path:
    """Run nequip-train to its end.

    A training that was killed is started again from its beginning, because rounds are short.

    Args:
        folder: where it runs; its checkpoint ``best.ckpt`` is the result.
        config: see `training_config`.
        processes: keeps track of it, so that it ends with this process.
        threads: number of threads.

    Returns:
        The checkpoint.

    Raises:
        KilledError: if it was killed.
        LegatoError: if nequip-train failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in (BEST, "last.ckpt"):
        (folder / name).unlink(missing_ok=True)
    write_atomically(folder / f"{_CONFIG}.yaml", yaml.safe_dump(dict(config), sort_keys=False))
    program = Path(sys.executable).parent / "nequip-train"
    arguments = [str(program), "-cp", str(folder), "-cn", _CONFIG]
    with processes.started(arguments, folder, threads) as process:
        code = process.wait()
    if processes.stopped:
        raise KilledError
    path = folder / BEST
    if code != 0 or not path.is_file():
        screen = folder / "screen.txt"
        lines = screen.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise LegatoError(
            f"nequip-train ended with status {code} ({(lines or ['no output'])[-1].strip()}); see "
            f"{screen}"
        )
    return path


def _with_added(origin: Origin, data: dict[str, Any], added: str, copies: int) -> dict[str, Any]:
    first = origin.datasets["train"]
    if len(first) != 1:
        raise LegatoError(f"the training has {len(first)} training sets; nequip-train takes one")
    like = _file_dataset(first[0])
    extra = {"_target_": "nequip.data.dataset.ASEDataset", "file_path": added}
    extra |= {k: like[k] for k in ("transforms", "include_keys", "exclude_keys", "key_mapping")
              if like.get(k)}  # fmt: skip
    loaders = {key: value for key, value in data.items() if key.endswith("_dataloader")}
    return {
        "_target_": "nequip.data.datamodule.NequIPDataModule",
        "seed": data["seed"],
        "train_dataset": {
            "_target_": "torch.utils.data.ConcatDataset",
            "datasets": [first[0], *([extra] * copies)],
        },
        "val_dataset": origin.datasets["val"],
        "test_dataset": origin.datasets["test"],
        **loaders,
    }


def _file_dataset(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The data set that reads files, which may be nested in one that splits it."""
    while isinstance(config.get("dataset"), Mapping):
        config = config["dataset"]
    inner = config.get("datasets")
    return _file_dataset(inner[0]) if inner else config


def _trainer(old: Mapping[str, Any], folder: Path, epochs: int) -> dict[str, Any]:
    callbacks: list[dict[str, Any]] = []
    for callback in old.get("callbacks") or []:
        name = str(callback.get("_target_", "")).rpartition(".")[2]
        if name.endswith("ProgressBar") or name in ("EarlyStopping", "LateCheckpoint"):
            continue
        if name == _CHECKPOINT:
            if any(c["_target_"].endswith(_CHECKPOINT) for c in callbacks):
                continue
            callback = callback | {"dirpath": str(folder), "filename": "best", "save_last": False}
            callback |= {"save_top_k": 1, "every_n_train_steps": None, "train_time_interval": None}
        callbacks.append(callback)
    if not any(str(c["_target_"]).endswith(_CHECKPOINT) for c in callbacks):
        callbacks.append(
            {
                "_target_": f"lightning.pytorch.callbacks.{_CHECKPOINT}",
                "dirpath": str(folder),
                "filename": "best",
            }
        )
    for callback in callbacks:
        if str(callback["_target_"]).endswith(_CHECKPOINT) and not callback.get("monitor"):
            callback["monitor"] = "val0_epoch/weighted_sum"
    return {
        "_target_": old.get("_target_", "lightning.Trainer"),
        **{key: old[key] for key in _KEPT if key in old},
        "max_epochs": epochs,
        "enable_progress_bar": False,
        "log_every_n_steps": old.get("log_every_n_steps", 50),
        "logger": {
            "_target_": "lightning.pytorch.loggers.CSVLogger",
            "save_dir": str(folder),
            "name": None,
            "version": "",
        },
        "callbacks": callbacks,
    }
