"""Trainer, callbacks, optimizer, learning-rate schedule and SAM."""

import importlib.util
import inspect
from typing import Any

from nequip_legato.migrate.loss import Errors
from nequip_legato.migrate.old import OldConfig

__all__ = ["module_section", "trainer_section"]

_LOSS = "val0_epoch/weighted_sum"
_FOLDER = "${hydra:runtime.output_dir}"
_ORIGINAL_RHO = 0.05


def trainer_section(old: OldConfig, *, errors: Errors) -> tuple[dict[str, Any], dict[str, str]]:
    """The section ``trainer`` and comments on its keys."""
    comments: dict[str, str] = {}
    trainer: dict[str, Any] = {
        "_target_": "lightning.Trainer",
        "accelerator": _accelerator(old),
        "devices": 1,
        "max_epochs": old.integer(
            "max_epochs", least=1, default=1_000_000, why="default of nequip 0.5"
        ),
        "log_every_n_steps": old.integer("log_batch_freq", least=1, default=10),
    }
    clip = old.number("max_gradient_norm", default=None)
    if clip is not None and clip < float("inf"):
        trainer["gradient_clip_val"] = clip
    if old.switch("grad_anomaly_mode", default=False):
        trainer["detect_anomaly"] = True
    stops = _stops(old, trainer, errors)
    trainer["logger"] = _loggers(old)
    trainer["callbacks"] = [*_checkpoints(old, errors), _lr_monitor(), *stops]
    sam = _sam(old)
    if sam is not None:
        comments[f"trainer.callbacks.{len(trainer['callbacks'])}"] = (
            "with_sam: sharpness-aware minimization, docs/training.md"
        )
        trainer["callbacks"].append(sam)
    return trainer, comments


def module_section(
    old: OldConfig, *, errors: Errors, model: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The section ``training_module`` and comments on its keys."""
    comments = {
        "training_module.val_metrics": "its weighted_sum is the loss, as nequip 0.5's "
        "validation_loss was"
    }
    module: dict[str, Any] = {"_target_": "nequip.train.NequIPLightningModule"}
    decay = old.number("ema_decay", default=0.999)
    if old.switch("use_ema", default=False):
        module = {"_target_": "nequip.train.EMALightningModule", "ema_decay": decay}
        if old.peek("ema_use_num_updates", True):
            old.drop("ema_use_num_updates", "today's average always begins this way")
        else:
            old.drop("ema_use_num_updates", "no counterpart: today's average uses the count")
    else:
        for key in ("ema_decay", "ema_use_num_updates"):
            old.drop(key, "use_ema is not true")
    module["loss"] = errors.loss
    module["val_metrics"] = errors.metrics
    module["optimizer"] = _optimizer(old)
    schedule = _schedule(old, errors)
    if schedule is not None:
        module["lr_scheduler"] = schedule
    module["model"] = model
    return module, comments


def _accelerator(old: OldConfig) -> str:
    device = str(old.take("device", default="auto"))
    return {"cuda": "gpu"}.get(device.partition(":")[0], device.partition(":")[0])


def _sam(old: OldConfig) -> dict[str, Any] | None:
    if not old.switch("with_sam", default=False):
        for key in ("rho", "adaptive_sam"):
            old.drop(key, "with_sam is not true")
        return None
    rho = old.number("rho", default=_ORIGINAL_RHO, why="default of the original Allegro-Legato")
    if rho is None or not 0 <= rho < float("inf"):
        raise old.wrong(["rho"], rho, "a number from 0 on")
    adaptive = old.switch("adaptive_sam", default=False)
    return {"_target_": "nequip_legato.SAM", "rho": rho, "adaptive": adaptive}


def _loggers(old: OldConfig) -> list[dict[str, Any]]:
    loggers: list[dict[str, Any]] = [
        {
            "_target_": "lightning.pytorch.loggers.CSVLogger",
            "save_dir": _FOLDER,
            "name": None,
            "version": "",
        }
    ]
    project = old.take("wandb_project", default="NequIP")
    old.drop("wandb_resume", "lightning.pytorch.loggers.WandbLogger has id and resume for this")
    if not old.switch("wandb", default=False):
        old.drop("wandb_project", "wandb is not true")
        return loggers
    if importlib.util.find_spec("wandb") is None:
        old.assumed.append("wandb: true needs the package wandb, which is not installed here")
    wandb = {"_target_": "lightning.pytorch.loggers.WandbLogger", "project": project}
    return [*loggers, {**wandb, "name": old.peek("run_name", "NequIP"), "save_dir": _FOLDER}]


def _checkpoints(old: OldConfig, errors: Errors) -> list[dict[str, Any]]:
    checkpoint = {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "dirpath": _FOLDER}
    best = {"monitor": _monitor(old, errors), "filename": "best", "save_last": True}
    found = [{**checkpoint, **best}]
    every = old.number("save_checkpoint_freq", default=-1)
    averaged = old.number("save_ema_checkpoint_freq", default=-1)
    steps = [int(n) for n in (every, averaged) if n is not None and n > 0]
    if steps:
        regular = {"filename": "{epoch}", "save_top_k": -1, "every_n_epochs": min(steps)}
        found.append({**checkpoint, **regular})
    old.drop("log_epoch_freq", "today every epoch is logged, and last.ckpt written")
    return found


def _lr_monitor() -> dict[str, Any]:
    target = "lightning.pytorch.callbacks.LearningRateMonitor"
    return {"_target_": target, "logging_interval": "epoch"}


def _monitor(old: OldConfig, errors: Errors) -> str:
    key = old.take("metrics_key", default="validation_loss")
    found = errors.monitor(str(key))
    if found is None:
        old.drop_part(f"metrics_key: {key}", f"not among today's reported errors; now {_LOSS}")
        return _LOSS
    return found


def _stops(old: OldConfig, trainer: dict[str, Any], errors: Errors) -> list[dict[str, Any]]:
    """Lightning's EarlyStopping, one for each monitored quantity."""
    stops: dict[str, dict[str, Any]] = {}
    options = old.mapping("early_stopping_kwargs", default={})
    for key in options:
        old.drop_part(f"early_stopping_kwargs.{key}", "write it as a key early_stopping_... first")

    def stop(monitor: str, **more: Any) -> None:
        target = "lightning.pytorch.callbacks.EarlyStopping"
        start = {"_target_": target, "monitor": monitor, "patience": "${trainer.max_epochs}"}
        stops.setdefault(monitor, start).update(more)

    for key, patience in old.mapping("early_stopping_patiences", default={}).items():
        monitor = errors.monitor(_full(key))
        if monitor is None:
            old.drop_part(f"early_stopping_patiences.{key}", "not among today's reported errors")
        else:
            stop(monitor, patience=patience)
    deltas = old.mapping("early_stopping_delta", "early_stopping_min_delta", default={})
    for key, delta in deltas.items():
        monitor = errors.monitor(_full(key))
        if monitor is None or monitor.endswith("weighted_sum") or monitor not in stops:
            old.drop_part(
                f"early_stopping_delta.{key}",
                "was in units of the loss over the squared force scale, today the loss has the "
                "units of the data; now 0: any improvement counts",
            )
        else:
            stop(monitor, min_delta=delta)
    old.drop("early_stopping_cumulative_delta", "no counterpart in Lightning's EarlyStopping")
    for side, words in (("lower", "stopping_threshold"), ("upper", "divergence_threshold")):
        bounds = f"early_stopping_{side}_bounds"
        for key, bound in old.mapping(bounds, default={}).items():
            monitor = errors.monitor(_full(key))
            if key.lower() in ("wall", "cumulative_wall") and side == "upper":
                if float(bound) < 1e9:
                    trainer["max_time"] = _days(float(bound))
                else:
                    old.drop_part(f"{bounds}.{key}", "practically no limit")
            elif key.lower() == "lr" and side == "lower":
                name = old.peek("optimizer_name", "Adam")
                stop(f"lr-{name}", stopping_threshold=float(bound))
            elif monitor is None or monitor.endswith("weighted_sum"):
                old.drop_part(f"{bounds}.{key}", "no counterpart (the loss has other units today)")
            else:
                stop(monitor, **{words: float(bound)})
    return list(stops.values())


def _days(seconds: float) -> str:
    """DD:HH:MM:SS, the only form of ``max_time`` that Hydra passes on."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    day, hour = divmod(hours, 24)
    return f"{day:02d}:{hour:02d}:{minute:02d}:{second:02d}"


def _full(key: str) -> str:
    return key if key.lower().startswith(("validation", "training")) else f"validation_{key}"


def _optimizer(old: OldConfig) -> dict[str, Any]:
    import torch

    name = old.text("optimizer_name", default="Adam", why="default of nequip 0.5")
    kind = getattr(torch.optim, name, None)
    if not (inspect.isclass(kind) and issubclass(kind, torch.optim.Optimizer)):
        raise old.wrong(["optimizer_name"], name, "an optimizer of torch.optim")
    rate = old.number("learning_rate", default=0.01, why="default of nequip 0.5")
    options = _options(old, "optimizer", kind, without=("params", "lr"))
    if options and old.peek("with_sam"):
        old.assumed.append(
            f"optimizer: {', '.join(options)} are used (with SAM, the original passed on only the "
            "learning rate)"
        )
    return {"_target_": f"torch.optim.{name}", "lr": rate, **options}


def _schedule(old: OldConfig, errors: Errors) -> dict[str, Any] | None:
    import torch

    name = old.take("lr_scheduler_name", default="none")
    if name in ("none", None):
        for key in old.keys():  # noqa: SIM118 (not a dict)
            if key.startswith("lr_scheduler_") and key != "lr_scheduler_name":
                old.drop(key, "lr_scheduler_name is none")
        return None
    kind = getattr(torch.optim.lr_scheduler, str(name), None)
    if not inspect.isclass(kind):
        raise old.wrong(["lr_scheduler_name"], name, "a schedule of torch.optim.lr_scheduler")
    options = _options(old, "lr_scheduler", kind, without=("optimizer", "last_epoch", "verbose"))
    old.drop("lr_scheduler_last_epoch", "a new training starts at epoch 0")
    schedule: dict[str, Any] = {
        "scheduler": {"_target_": f"torch.optim.lr_scheduler.{name}", **options}
    }
    if name == "ReduceLROnPlateau":
        schedule["monitor"] = errors.monitor(str(old.peek("metrics_key", ""))) or _LOSS
    else:
        old.assumed.append(f"lr_scheduler: {name} steps once per epoch (before: at every batch)")
    return {**schedule, "interval": "epoch", "frequency": 1}


def _options(
    old: OldConfig, prefix: str, kind: type, *, without: tuple[str, ...]
) -> dict[str, Any]:
    """Options as in nequip 0.5: from ``prefix_params``, then ``prefix_key``, then ``key``."""
    known = [name for name in inspect.signature(kind).parameters if name not in without]
    options: dict[str, Any] = {}
    for name in known:
        if f"{prefix}_{name}" in old or name in old:
            options[name] = old.take(f"{prefix}_{name}", name)
    for group in (f"{prefix}_kwargs", f"{prefix}_params"):
        for name, value in old.mapping(group, default={}).items():
            if name in known:
                options[name] = value
            else:
                old.drop_part(f"{group}.{name}", f"{kind.__name__} has no such option today")
    return {name: _number(value) for name, value in options.items()}


def _number(value: Any) -> Any:
    """A number from a text such as 1e-08, which YAML 1.1 does not read as a number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return list(value) if isinstance(value, tuple) else value
