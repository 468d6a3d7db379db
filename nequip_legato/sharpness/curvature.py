"""Curvature: the Hessian of the loss and of its parts, by products with vectors only."""

from collections.abc import Callable

import numpy as np
import torch
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh
from torch import Tensor

from nequip_legato.errors import LegatoError
from nequip_legato.sam.perturbation import perturbed
from nequip_legato.sharpness import directions
from nequip_legato.sharpness.loss import TOTAL, TrainingLoss
from nequip_legato.sharpness.settings import Settings

__all__ = ["eigenvalues", "trace_sample"]

_LANCZOS_STEPS = 300


def eigenvalues(settings: Settings) -> Callable[[TrainingLoss], dict[str, float]]:
    """Unit of work: part -> largest eigenvalue of its Hessian, by Lanczos' method (ARPACK).

    The largest eigenvalue of the total is not the sum of those of the parts.
    """

    def unit(loss: TrainingLoss) -> dict[str, float]:
        return {part: _largest(loss, part, settings) for part in loss.parts}

    return unit


def trace_sample(settings: Settings, index: int) -> Callable[[TrainingLoss], dict[str, float]]:
    """Unit of work: part -> one sample v H v of the trace with random signs v.

    Hutchinson 1989 (doi:10.1080/03610918908812806).
    """

    def unit(loss: TrainingLoss) -> dict[str, float]:
        signs = directions.rademacher(loss.parameters, seed=settings.seed, index=index)
        found = {
            part: directions.inner(signs, _product(loss, signs, part, settings))
            for part in loss.parts
            if part != TOTAL
        }
        return {TOTAL: sum(found.values()), **found}

    return unit


def _largest(loss: TrainingLoss, part: str, settings: Settings) -> float:
    shapes = [p.shape for p in loss.parameters]
    sizes = [p.numel() for p in loss.parameters]
    count = sum(sizes)

    def multiply(flat: np.ndarray) -> np.ndarray:
        pieces = torch.from_numpy(flat.reshape(-1).copy()).split(sizes)
        vector = [piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True)]
        product = _product(loss, vector, part, settings)
        return torch.cat([h.reshape(-1) for h in product]).numpy()

    operator = LinearOperator((count, count), matvec=multiply, dtype=np.float64)
    start = directions.gaussian(loss.parameters, seed=settings.seed, index=0)
    first = torch.cat([s.reshape(-1) for s in start]).numpy()
    if not multiply(first).any():
        return 0.0  # ARPACK fails on the Hessian of a part with coefficient zero
    try:
        found = eigsh(
            operator,
            k=1,
            which="LA",
            v0=first,
            ncv=min(count, 12),
            tol=settings.tolerance,
            maxiter=_LANCZOS_STEPS,
            return_eigenvectors=False,
        )
    except ArpackError as problem:
        raise LegatoError(
            f"the largest eigenvalue ({part}) has not converged; raise the tolerance "
            "(--tolerance), or leave the measure eigenvalue out"
        ) from problem
    return float(found[0])


def _product(
    loss: TrainingLoss, vector: list[Tensor], part: str, settings: Settings
) -> list[Tensor]:
    if not settings.differences and loss.twice_differentiable:
        try:
            return loss.hessian_times(vector, part)
        except (RuntimeError, NotImplementedError):
            loss.twice_differentiable = False  # e.g. custom kernels
    # Central differences: the error is of second order in the step, and rounding of order 1e-16
    # over it; a step of 1e-4 of the weights' norm balances them in float64.
    size = directions.norm([p.detach() for p in loss.parameters])
    step = 1e-4 * max(size, 1e-8) / max(directions.norm(vector), 1e-300)
    with perturbed(loss.parameters, vector, rho=step):
        above = loss.gradient(part)
    with perturbed(loss.parameters, vector, rho=-step):
        below = loss.gradient(part)
    return [(a - b) / (2 * step) for a, b in zip(above, below, strict=True)]
