"""What a checkpoint records about its own training: what was done, not what was configured."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["history_of", "package_history", "rows"]

_SAM_KEY = "nequip_legato_sam"
_EMA_STATE = "ema._extra_state"
_STARTS = {"ModelFromCheckpoint": "checkpoint_path", "ModelFromPackage": "package_path"}


def history_of(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data about the training that wrote a checkpoint.

    Returns:
        ``steps`` of the optimizer. ``parts`` of the training, as in
        `nequip_legato.sam.step_counts.StepCounts`; null if no such callback took part in the run
        that wrote the checkpoint, or if it did not count. ``ema``: null, or ``decay`` and
        ``updates`` of the averaged weights, which are deployed. ``started_from``: file of another
        model whose weights the training started from, or null.
    """
    saved = checkpoint.get(_SAM_KEY)
    average = (checkpoint.get("state_dict") or {}).get(_EMA_STATE)
    record = checkpoint["hyper_parameters"]["info_dict"]
    ema = None
    if isinstance(average, Mapping):
        # nequip's first update is the copy at the start.
        ema = {"decay": average["decay"], "updates": max(0, average["num_updates"] - 1)}
    return {
        "steps": checkpoint.get("global_step"),
        "parts": saved.get("parts") if isinstance(saved, Mapping) else None,
        "ema": ema,
        "started_from": _started_from(record.get("training_module")),
    }


def package_history(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same for a package, which keeps the configuration alone: ``steps`` is null."""
    return {
        "steps": None,
        "parts": None,
        "ema": None,
        "started_from": _started_from(config.get("training_module")),
    }


def _started_from(config: Any) -> str | None:
    if isinstance(config, Mapping):
        name = str(config.get("_target_", "")).rpartition(".")[2]
        if name in _STARTS:
            return str(config.get(_STARTS[name], name))
    if isinstance(config, Mapping | list | tuple):
        for inner in config.values() if isinstance(config, Mapping) else config:
            found = _started_from(inner)
            if found is not None:
                return found
    return None


def rows(history: Mapping[str, Any], callback: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The history as rows for a table: title and text.

    Args:
        history: from `history_of` or `package_history`; empty for files of earlier versions.
        callback: configuration of the SAM callback; empty without one.
    """
    if history.get("steps") is not None:
        yield "trained for", _steps(history["steps"])
    if history.get("started_from"):
        yield (
            "started from",
            f"{history['started_from']}, whose own training data are not in the domain",
        )
    if history.get("ema"):
        ema = history["ema"]
        yield "weights", f"averages over {_steps(ema['updates'])} (EMA, decay {ema['decay']:g})"
    yield "trained with SAM", _sam(history, callback)


def _sam(history: Mapping[str, Any], callback: Mapping[str, Any]) -> str:
    parts = history.get("parts")
    if parts:
        done = [part for part in parts if part["steps"]]
        return "; then ".join(map(_part, done or parts[-1:]))
    if not callback:
        return "no" if not history else "no, not by the run that wrote the checkpoint"
    set_ = _named(str(callback.get("_target_", "SAM")).rpartition(".")[2], callback)
    if history and history["steps"] is None:
        return f"{set_} was set; a package does not say how many steps climbed"
    return f"{set_} was set; how many steps climbed was not counted"


def _part(part: Mapping[str, Any]) -> str:
    steps, climbed = part["steps"], part["climbed"]
    if part["method"] is None:
        return f"plain training, {_steps(steps)}"
    name = _named(part["method"], part["settings"])
    if climbed is None:
        return f"{name}, {_steps(steps)}, of which an unknown number climbed"
    text = f"{name}: {climbed} of {_steps(steps)} climbed"
    if not climbed:
        text += " (plain training)"
    low, high = part["rho"] or (None, None)
    if low is not None and high is not None and not math.isclose(low, high, rel_tol=1e-6):
        text += f", rho from {low:.3g} to {high:.3g}"
    if part["followed"]:
        text += f", {part['followed']} followed the component of an earlier climb"
    if part["skipped"]:
        text += f", {part['skipped']} skipped as not finite"
    return text


def _named(method: str, settings: Mapping[str, Any]) -> str:
    shown = " ".join(f"{k}={v}" for k, v in settings.items() if k != "_target_")
    return f"{method} {shown or 'default settings'}"


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count} steps"
