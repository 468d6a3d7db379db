"""The climb of sharpness-aware minimization: tensors in, tensors out, no training framework.

SAM (Foret et al., ICLR 2021, arXiv:2010.01412, eq. 2) replaces the gradient at the weights w by
the gradient at w + e, the point within a ball of radius rho where the loss is largest to first
order::

    e = rho * g / ||g||

ASAM (Kwon et al., ICML 2021, arXiv:2102.11600, eq. 5) measures the ball in units of the weights, so
that rescaling a layer changes nothing::

    e = rho * T^2 g / ||T g||,    T = |w| + eta

Norms run over all parameters together.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["ascent_direction", "perturbed", "total_norm"]


def total_norm(tensors: Sequence[Tensor]) -> Tensor:
    """Euclidean norm of all tensors taken as one vector.

    Args:
        tensors: of any shapes; none at all have norm 0.

    Returns:
        A tensor of shape (). Not finite if an element is not finite, or if the sum of squares
        overflows the tensors' dtype.
    """
    return torch.nn.utils.get_total_norm(tensors)


@torch.no_grad()
def ascent_direction(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    *,
    adaptive: bool = False,
    eta: float = 0.0,
) -> tuple[list[Tensor], Tensor]:
    """The direction d of the climb: e = rho d.

    Args:
        parameters: weights w, of any shapes.
        gradients: their gradients g, one per parameter, same shapes. Not changed.
        adaptive: False for SAM (d = g / ||g||), True for ASAM (d = T^2 g / ||T g||, T = |w| + eta).
        eta: ASAM's offset, which lets weights that are zero move. In units of the weights.

    Returns:
        The direction, one tensor per parameter, and the norm it was divided by (||g|| or ||T g||,
        shape ()). Where the norm is zero or not finite the direction is not finite: test first.
    """
    if not adaptive:
        norm = total_norm(gradients)
        return _divide(gradients, norm), norm
    scale = torch._foreach_abs(list(parameters))
    if eta:
        torch._foreach_add_(scale, eta)
    scaled = torch._foreach_mul(scale, list(gradients))
    norm = total_norm(scaled)
    # Divided first, so that no intermediate is larger than the result.
    return torch._foreach_mul(_divide(scaled, norm), scale), norm


def _divide(tensors: Sequence[Tensor], norm: Tensor) -> list[Tensor]:
    if not tensors:
        return []
    return list(torch._foreach_div(list(tensors), norm))


@contextmanager
def perturbed(
    parameters: Sequence[Tensor], direction: Sequence[Tensor], *, rho: float
) -> Iterator[None]:
    """Context in which the parameters stand at w + rho d; on leaving it they are w bit for bit.

    The weights are changed in place and restored from a copy (subtracting would round), also when
    the body raises.

    Args:
        parameters: weights w, of any shapes; each at most once.
        direction: d, one tensor per parameter, same shapes.
        rho: length of the climb.
    """
    parameters = [p.detach() for p in parameters]  # same storage, no gradient bookkeeping
    saved = [p.clone() for p in parameters]
    try:
        if parameters:
            torch._foreach_add_(parameters, list(direction), alpha=rho)
        yield
    finally:
        if parameters:
            torch._foreach_copy_(parameters, saved)
