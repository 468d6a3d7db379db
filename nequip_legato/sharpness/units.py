"""The measures as units of work, which can be done, kept and repeated one by one.

Each unit is a function of the loss alone and has a unique name, under which its result is kept on
disk. `summarize` turns the kept units of a model into numbers with errors.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nequip_legato.sam.perturbation import perturbed
from nequip_legato.sharpness import curvature, directions
from nequip_legato.sharpness.loss import TOTAL, TrainingLoss
from nequip_legato.sharpness.settings import Settings

__all__ = ["Unit", "paired", "summarize", "units"]

Unit = tuple[str, Callable[[TrainingLoss], dict[str, float]]]


def units(settings: Settings) -> Iterator[Unit]:
    """All units of work for one model, the loss itself first."""
    yield "loss", lambda loss: loss.value()
    chosen = settings.measures
    if "gaussian" in chosen:
        for k in range(settings.samples):
            yield f"gaussian/{k}", _noise(settings, k, relative=False)
    if "relative" in chosen:
        for k in range(settings.samples):
            yield f"relative/{k}", _noise(settings, k, relative=True)
    if "sam" in chosen:
        for rho in settings.rho:
            yield f"sam/{rho_name(rho)}", _climb(rho, settings.ascent_steps)
    if "eigenvalue" in chosen:
        yield "eigenvalues", curvature.eigenvalues(settings)
    if "trace" in chosen:
        for k in range(settings.trace_samples):
            yield f"traces/{k}", curvature.trace_sample(settings, k)
    if "line" in chosen:
        for name in ("random", "gradient"):
            for k, x in enumerate(line_points(settings)):
                yield f"line/{name}/{k}", _line(settings, name, x)
    if "plane" in chosen:
        grid = plane_points(settings)
        for j, y in enumerate(grid):
            for k, x in enumerate(grid):
                yield f"plane/{j}/{k}", _plane(settings, x, y)


def rho_name(rho: float) -> str:
    """A short name of a radius, different for different radii."""
    short = f"{rho:g}"
    return short if float(short) == rho else repr(rho)


def line_points(settings: Settings) -> list[float]:
    """Positions along a line, in units of the weights' norm."""
    return np.linspace(-settings.reach, settings.reach, settings.points).tolist()


def plane_points(settings: Settings) -> list[float]:
    """Positions along each side of a plane; odd in number, so that the weights are one of them."""
    return np.linspace(-settings.reach, settings.reach, settings.points // 2 // 2 * 2 + 1).tolist()


def _value_at(loss: TrainingLoss, direction: list[Tensor], length: float) -> dict[str, float]:
    with perturbed(loss.parameters, direction, rho=length):
        return loss.value()


def _noise(settings: Settings, index: int, *, relative: bool) -> Callable:
    def unit(loss: TrainingLoss) -> dict[str, float]:
        noise = directions.gaussian(loss.parameters, seed=settings.seed, index=index)
        if relative:
            noise = [n * p.detach().abs() for n, p in zip(noise, loss.parameters, strict=True)]
        return _value_at(loss, noise, settings.relative_epsilon if relative else settings.epsilon)

    return unit


def _climb(rho: float, steps: int) -> Callable:
    """Loss at the end of a climb within the ball of radius rho: SAM's step, or projected ascent."""

    def unit(loss: TrainingLoss) -> dict[str, float]:
        offset = [torch.zeros_like(p) for p in loss.parameters]
        best: dict[str, float] | None = None
        for _ in range(steps):
            with perturbed(loss.parameters, offset, rho=1.0):
                gradient = loss.gradient()
            size = directions.norm(gradient)
            if size == 0.0:
                break
            # Each step has the length rho, and is then projected into the ball.
            offset = [o + rho / size * g for o, g in zip(offset, gradient, strict=True)]
            length = directions.norm(offset)
            if length > rho:
                offset = [o * (rho / length) for o in offset]
            found = _value_at(loss, offset, 1.0)
            if best is None or found[TOTAL] > best[TOTAL]:
                best = found
        return best or loss.value()

    return unit


def _axis(loss: TrainingLoss, settings: Settings, index: int) -> list[Tensor]:
    noise = directions.gaussian(loss.parameters, seed=settings.seed, index=-1 - index)
    return directions.filter_normalized(noise, loss.parameters)


def _line(settings: Settings, name: str, position: float) -> Callable:
    def unit(loss: TrainingLoss) -> dict[str, float]:
        if name == "random":
            return _value_at(loss, _axis(loss, settings, 0), position)
        gradient = loss.gradient()
        scale = directions.norm([p.detach() for p in loss.parameters])
        size = directions.norm(gradient)
        return _value_at(loss, gradient, position * scale / size if size else 0.0)

    return unit


def _plane(settings: Settings, x: float, y: float) -> Callable:
    def unit(loss: TrainingLoss) -> dict[str, float]:
        first, second = _axis(loss, settings, 0), _axis(loss, settings, 1)
        return _value_at(loss, [x * a + y * b for a, b in zip(first, second, strict=True)], 1.0)

    return unit


def summarize(done: Mapping[str, dict[str, float]], settings: Settings) -> dict[str, Any]:
    """Numbers from the kept units of one model.

    Args:
        done: name of unit -> its result.
        settings: those that the units were made with.

    Returns:
        ``loss``: part -> value. ``gaussian``, ``relative``: part -> {mean, error} of the rise of
        the loss. ``sam``: rho -> part -> rise. ``eigenvalue``: part -> value. ``trace``: part ->
        {mean, error}. ``line``: name -> {x, part: values}. ``plane``: {x, part: rows}. Losses that
        are not finite are null.
    """
    base = done["loss"]
    found: dict[str, Any] = {"loss": base}
    for name in ("gaussian", "relative"):
        if name in settings.measures:
            samples = [done[f"{name}/{k}"] for k in range(settings.samples)]
            found[name] = {
                part: _mean([sample[part] - base[part] for sample in samples]) for part in base
            }
    if "sam" in settings.measures:
        found["sam"] = {
            rho_name(rho): {
                part: _finite(done[f"sam/{rho_name(rho)}"][part] - base[part]) for part in base
            }
            for rho in settings.rho
        }
    if "eigenvalue" in settings.measures:
        found["eigenvalue"] = {part: done["eigenvalues"][part] for part in base}
    if "trace" in settings.measures:
        samples = [done[f"traces/{k}"] for k in range(settings.trace_samples)]
        found["trace"] = {part: _mean([sample[part] for sample in samples]) for part in base}
    if "line" in settings.measures:
        points = line_points(settings)
        found["line"] = {
            name: {"x": points}
            | {
                part: [_finite(done[f"line/{name}/{k}"][part]) for k in range(len(points))]
                for part in base
            }
            for name in ("random", "gradient")
        }
    if "plane" in settings.measures:
        points = plane_points(settings)
        found["plane"] = {"x": points} | {
            part: [
                [_finite(done[f"plane/{j}/{k}"][part]) for k in range(len(points))]
                for j in range(len(points))
            ]
            for part in base
        }
    return found


def paired(
    done: Mapping[str, dict[str, float]],
    reference: Mapping[str, dict[str, float]],
    settings: Settings,
) -> dict[str, Any]:
    """How much sharper a model is than another, from samples with the same random numbers.

    The error of paired differences is smaller than that of the difference of both means, if the
    samples of both models are correlated.

    Args:
        done: kept units of the model.
        reference: kept units of the other model.
        settings: those that both were made with.

    Returns:
        ``gaussian``, ``relative``, ``trace``: part -> {mean, error} of the difference, for the
        parts that both losses have.
    """
    found: dict[str, Any] = {}
    parts = [part for part in done["loss"] if part in reference["loss"]]
    for measure, unit, count in (
        ("gaussian", "gaussian", settings.samples),
        ("relative", "relative", settings.samples),
        ("trace", "traces", settings.trace_samples),
    ):
        if measure not in settings.measures:
            continue
        found[measure] = {}
        for part in parts:
            # Nothing is subtracted from a trace, which is not a rise of the loss.
            base = 0.0 if measure == "trace" else done["loss"][part] - reference["loss"][part]
            found[measure][part] = _mean(
                [
                    done[f"{unit}/{k}"][part] - reference[f"{unit}/{k}"][part] - base
                    for k in range(count)
                ]
            )
    return found


def _mean(values: list[float]) -> dict[str, float | None]:
    """Mean and its standard error."""
    if not all(map(math.isfinite, values)):
        return {"mean": None, "error": None}
    return {"mean": mean(values), "error": stdev(values) / math.sqrt(len(values))}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
