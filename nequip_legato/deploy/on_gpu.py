"""Replacing parts of a model by our own GPU kernels (``nequip_legato.kernels``)."""

from importlib.util import find_spec
from typing import Any

import torch

from nequip_legato.deploy.contraction import CenterFirst

__all__ = ["has_triton", "use_gpu_kernels"]

# Measured on an H100 (benchmarks/gpu/NOTES.md): with a wider hidden layer library products are as
# fast, and need not be compiled.
_WIDEST_HIDDEN = 64


def has_triton() -> bool:
    """Whether Triton is installed, which comes with builds of torch for GPUs."""
    return find_spec("triton") is not None


class _CenterFirst(CenterFirst):
    """:class:`CenterFirst` with sums over the edges of a center instead of atomic additions."""

    def __init__(self, old: CenterFirst) -> None:
        torch.nn.Module.__init__(self)
        self.register_buffer("coupling", old.coupling)
        self.diagonal, self.mul = old.diagonal, old.mul
        self.dim1, self.dim2, self.dim_out = old.dim1, old.dim2, old.dim_out

    def forward(self, x1: torch.Tensor, x2: torch.Tensor, idxs: torch.Tensor) -> torch.Tensor:
        from nequip_legato.kernels.centers import center_product, center_starts

        starts = center_starts(idxs, x2.shape[0])
        x1 = x1.reshape(-1, self.mul, self.dim1)
        return center_product(x1, self.matrices(x2), starts)


class _Network(torch.nn.Module):
    """Stands in for a ``ScalarMLPFunction`` with one hidden layer."""

    def __init__(self, old: Any, precision: str) -> None:
        super().__init__()
        first, _, last = old.mlp
        with torch.no_grad():
            self.register_buffer("w1", (first.weight * first.alpha).contiguous())
            self.register_buffer("w2", (last.weight * last.alpha).contiguous())
        self.w1: torch.Tensor
        self.w2: torch.Tensor
        self.precision = precision

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        from nequip_legato.kernels.networks import edge_network

        return edge_network(x, self.w1, self.w2, self.precision)


def use_gpu_kernels(model: torch.nn.Module, *, precision: str = "tf32x3") -> torch.nn.Module:
    """Replace parts of a model by kernels that compute the same, in place.

    Args:
        model: float32, after ``contract_centers_first``; its edges have to be sorted by center.
        precision: of the networks' products, see ``kernels.networks.edge_network``.
    """
    for name, child in list(model.named_children()):
        if type(child) is CenterFirst:
            setattr(model, name, _CenterFirst(child))
        elif _is_network(child):
            setattr(model, name, _Network(child, precision))
        else:
            use_gpu_kernels(child, precision=precision)
    return model


def _is_network(module: Any) -> bool:
    # by name, because models from packages (.nequip.zip) have classes of their own
    kind = type(module)
    if kind.__name__ != "ScalarMLPFunction" or not kind.__module__.endswith("nequip.nn.mlp"):
        return False
    layers = list(module.mlp) if isinstance(module.mlp, torch.nn.Sequential) else []
    return (
        [type(layer).__name__ for layer in layers]
        == ["ScalarLinearLayer", "SiLU", "ScalarLinearLayer"]
        and all(layers[n].bias is None for n in (0, 2))
        and module.dims[1] <= _WIDEST_HIDDEN
        and max(module.dims) <= 256
    )
