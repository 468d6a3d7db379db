"""Replacing parts of a model by our own CPU kernels (``nequip_legato/kernels/cpu``)."""

from typing import Any

import torch
from nequip.data import AtomicDataDict

from nequip_legato.deploy.channels import RepeatedWeights
from nequip_legato.deploy.contraction import CenterFirst
from nequip_legato.fence.module import FenceProfile
from nequip_legato.kernels.cpu_operators import (
    edge_bessel,
    edge_channels,
    edge_fence,
    edge_product,
    edge_silu,
)

__all__ = ["Bessel", "Channels", "Product", "Silu", "use_cpu_kernels"]

_EDGES = "nequip.nn.embedding._edge"


class Product(torch.nn.Module):
    """:class:`CenterFirst` with channels as the last dimension.

    Args:
        old: what it stands in for.
    """

    def __init__(self, old: CenterFirst) -> None:
        super().__init__()
        self.old = old

    def forward(self, x1: torch.Tensor, x2: torch.Tensor, idxs: torch.Tensor) -> torch.Tensor:
        """As :meth:`CenterFirst.forward`."""
        old = self.old
        x = x1.reshape(-1, old.mul, old.dim1).transpose(1, 2).contiguous()
        matrices = old.matrices(x2).permute(0, 2, 3, 1).contiguous()  # nuik -> niku
        return edge_product(x, matrices, idxs).transpose(1, 2)


class Channels(torch.nn.Module):
    """:class:`RepeatedWeights` with channels as the last dimension.

    Args:
        old: what it stands in for.
    """

    def __init__(self, old: RepeatedWeights) -> None:
        super().__init__()
        self.weight_numel, self.alpha, self.sizes = old.weight_numel, old.alpha, old.sizes

    def forward(self, edge_attr: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """As :meth:`RepeatedWeights.forward`."""
        y = edge_attr.to(weights.dtype)
        y = y if self.alpha == 1.0 else self.alpha * y
        return edge_channels(y.contiguous(), weights, self.sizes).transpose(1, 2)


class Silu(torch.nn.Module):
    """``torch.nn.SiLU`` that keeps its slope for the derivatives."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(E, f) float32 -> (E, f)."""
        return edge_silu(x.contiguous())[0]


class FenceKernel(torch.nn.Module):
    """:class:`FenceProfile` that computes nothing where no fence acts.

    Args:
        old: what it stands in for.
    """

    def __init__(self, old: FenceProfile) -> None:
        super().__init__()
        self.table: torch.Tensor
        self.register_buffer("table", old.table)

    def forward(self, squared: torch.Tensor, pair: torch.Tensor) -> torch.Tensor:
        """As :meth:`FenceProfile.forward`."""
        return edge_fence(squared.contiguous(), pair.contiguous(), self.table)[0]


class Bessel(torch.nn.Module):
    """nequip's ``BesselEdgeLengthEncoding``, if its functions have 1, 2, 3, ... half waves.

    Args:
        old: what it stands in for.
    """

    def __init__(self, old: Any) -> None:
        super().__init__()
        self.old = old
        self.count: int = old.num_bessels

    def forward(self, data: AtomicDataDict.Type) -> AtomicDataDict.Type:
        """Add cutoff function and radial functions of the edges to the data."""
        old = self.old
        x, dtype = data[old.norm_length_field], old._output_dtype
        cutoff = old.cutoff(x).to(dtype)
        data[AtomicDataDict.EDGE_CUTOFF_KEY] = cutoff
        data[old.edge_invariant_field] = edge_bessel(x.contiguous(), self.count, dtype) * cutoff
        return data


def use_cpu_kernels(model: torch.nn.Module, *, dtype: str) -> torch.nn.Module:
    """Replace parts of a model by kernels that compute the same, in place.

    Args:
        model: after ``contract_centers_first`` and ``repeat_weights``.
        dtype: of the model, ``float32`` or ``float64``.
    """
    for name, child in list(model.named_children()):
        if type(child) is CenterFirst:
            setattr(model, name, Product(child))
        elif type(child) is RepeatedWeights:
            setattr(model, name, Channels(child))
        elif type(child) is torch.nn.SiLU and dtype == "float32":
            setattr(model, name, Silu())
        elif type(child) is FenceProfile:
            setattr(model, name, FenceKernel(child))
        elif _is_bessel(child):
            setattr(model, name, Bessel(child))
        else:
            use_cpu_kernels(child, dtype=dtype)
    return model


def _is_bessel(module: Any) -> bool:
    # by name, because models from packages (.nequip.zip) have classes of their own
    kind = type(module)
    if kind.__name__ != "BesselEdgeLengthEncoding" or not kind.__module__.endswith(_EDGES):
        return False
    weights = module.bessel_weights.detach().flatten()
    return torch.equal(weights, torch.arange(1, len(weights) + 1).to(weights))
