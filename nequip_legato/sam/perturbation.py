"""The mathematics of sharpness-aware minimization, on tensors only.

SAM (Foret et al., ICLR 2021, arXiv:2010.01412, eq. 2) replaces the gradient at the weights w by
the gradient at w + e, the point within a ball of radius rho where the loss is largest to first
order::

    e = rho * g / ||g||

ASAM (Kwon et al., ICML 2021, arXiv:2102.11600, eq. 5) measures the ball in units of the weights, so
that rescaling a layer changes nothing::

    e = rho * T^2 g / ||T g||,    T = |w| + eta

Norms run over all parameters together. Momentum-SAM (Becker et al., arXiv:2401.12033, algorithm 1)
takes the gradient at w - rho m / ||m|| with the optimizer's momentum m instead, and LookSAM (Liu et
al., CVPR 2022, arXiv:2203.02714, algorithm 1) keeps that component of SAM's gradient that is
orthogonal to g::

    g_v = g_s - (g_s . g / ||g||^2) g
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = [
    "ascent_direction",
    "copied",
    "orthogonal_component",
    "perturbed",
    "total_norm",
    "unit_vector",
]


def total_norm(tensors: Sequence[Tensor]) -> Tensor:
    """Euclidean norm of all tensors taken as one vector.

    Args:
        tensors: of any shapes; none at all have norm 0.

    Returns:
        A tensor of shape (). Not finite if an element is not finite, or if the sum of squares
        overflows the tensors' dtype.
    """
    norms = torch._foreach_norm(list(tensors)) if tensors else [torch.zeros(())]
    return torch.linalg.vector_norm(torch.stack(norms))


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
        adaptive: False for SAM (d = g / ||g||), True for ASAM (d = T^2 g / ||T g||, T =
            ``|w|`` + eta).
        eta: ASAM's offset, which lets weights that are zero move. In units of the weights.

    Returns:
        The direction, one tensor per parameter, and the norm it was divided by (||g|| or ||T g||,
        shape ()). Where the norm is zero or not finite the direction is not finite: test first.
    """
    if not adaptive:
        return unit_vector(gradients)
    if not eta:
        # w instead of |w|: the signs cancel, and the weights need no copy.
        both = list(gradients), list(parameters)
        scaled = list(torch._foreach_mul(*both)) if gradients else []
        scale = list(parameters)
    else:
        scale = list(torch._foreach_add(torch._foreach_abs(list(parameters)), eta))
        scaled = list(torch._foreach_mul(list(gradients), scale))
    norm = total_norm(scaled)
    if scaled:
        # Divided first, so that no intermediate is larger than the result.
        torch._foreach_div_(scaled, norm)
        torch._foreach_mul_(scaled, scale)
    return scaled, norm


@torch.no_grad()
def unit_vector(tensors: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
    """All tensors divided by their common norm, and that norm.

    Args:
        tensors: of any shapes. Not changed.

    Returns:
        Tensors of the same shapes and a tensor of shape (). Where the norm is zero or not finite
        the former are not finite: test first.
    """
    norm = total_norm(tensors)
    return (list(torch._foreach_div(list(tensors), norm)) if tensors else []), norm


@torch.no_grad()
def orthogonal_component(
    tensors: Sequence[Tensor], along: Sequence[Tensor]
) -> tuple[list[Tensor], Tensor]:
    """The component of one vector orthogonal to another (LookSAM's g_v).

    Args:
        tensors: the vector g_s, of any shapes. Not changed.
        along: the other vector g, same shapes, not zero.

    Returns:
        g_s - (g_s . g / ||g||^2) g, and its norm of shape ().
    """
    unit, _ = unit_vector(along)
    # torch has no inner product of lists; the law of cosines gives it from three norms.
    size = total_norm(tensors)
    aside = torch._foreach_mul(unit, size)
    torch._foreach_sub_(aside, list(tensors))
    length = size - total_norm(aside) ** 2 / (2 * size).clamp_min(torch.finfo(size.dtype).tiny)
    del aside
    torch._foreach_mul_(unit, -length)
    torch._foreach_add_(unit, list(tensors))
    return unit, total_norm(unit)


@torch.no_grad()
def copied(tensors: Sequence[Tensor]) -> list[Tensor]:
    """A copy of every tensor, by one kernel if the device has one for lists."""
    copies = [torch.empty_like(tensor) for tensor in tensors]
    if copies:
        torch._foreach_copy_(copies, list(tensors))
    return copies


@contextmanager
def perturbed(
    parameters: Sequence[Tensor], direction: Sequence[Tensor], *, rho: float
) -> Iterator[None]:
    """Context in which the parameters are at w + rho d; afterwards they are w bit for bit.

    The weights are changed in place and restored from a copy (subtracting would round), also when
    the body raises.

    Args:
        parameters: weights w, of any shapes; each at most once.
        direction: d, one tensor per parameter, same shapes.
        rho: length of the climb.
    """
    parameters = [p.detach() for p in parameters]  # same storage, no gradient bookkeeping
    saved = copied(parameters)
    try:
        if parameters:
            torch._foreach_add_(parameters, list(direction), alpha=rho)
        del direction  # frees its memory in the body, if the caller deletes it too
        yield
    finally:
        if parameters:
            torch._foreach_copy_(parameters, saved)
