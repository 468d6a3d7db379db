"""Allegro's tensor product, contracted in the order that costs least.

Layer by layer Allegro couples the features x of each edge with a weighted sum y over all edges of
its center (Musaelian et al., Nat. Commun. 14, 579 (2023), section "Allegro layer"): for edges z,
channels u and constant w,

    out_zuk = sum_ij x_zui y_c(z)uj w_uijk.

nequip-allegro copies y to every edge and forms x_zui y_zuj w_uijk there. For l_max = 1 these are 64
numbers for each edge and channel, which take half of the time of an evaluation by TorchScript.
There are many times fewer centers than edges. So here the centers' side comes first,
m_cuik = sum_j y_cuj w_uijk, and each edge only multiplies its features by a small matrix.
"""

import inspect
from typing import Any

import torch

__all__ = ["CenterFirst", "contract_centers_first"]


class CenterFirst(torch.nn.Module):
    """Stands in for one of nequip-allegro's ``Contracter`` modules, with its weights multiplied in.

    Args:
        old: the ``Contracter``.
    """

    def __init__(self, old: Any) -> None:
        super().__init__()
        with torch.no_grad():
            coupling = torch.einsum(old._weight_w3j_einstr, old.weights, old.w3j)
        if not old.path_channel_coupling:  # the same for all channels
            coupling = coupling.unsqueeze(0).expand(old.mul, *coupling.shape)
        self.diagonal: bool = old.w3j_is_ij_diagonal
        if not self.diagonal:
            coupling = coupling.permute(2, 0, 1, 3).flatten(2)  # uijk -> ju(ik)
            coupling = coupling.transpose(0, 1)  # uj(ik)
        self.coupling: torch.Tensor
        self.register_buffer("coupling", coupling.contiguous())
        self.mul: int = old.mul
        self.dim1: int = old.base_dim1
        self.dim2: int = old.base_dim2
        self.dim_out: int = old.base_dim_out

    def forward(self, x1: torch.Tensor, x2: torch.Tensor, idxs: torch.Tensor) -> torch.Tensor:
        """The tensor product.

        Args:
            x1: (E, u * i) or (E, u, i), features of the edges.
            x2: (n, u * j) or (n, u, j), features of the nodes.
            idxs: (E,), the node of each edge.

        Returns:
            (E, u, k).
        """
        x1 = x1.reshape(-1, self.mul, self.dim1)
        matrix = self.matrices(x2)
        if self.dim_out == 1:
            on_edges = torch.index_select(matrix.squeeze(3), 0, idxs)
            return (x1 * on_edges).sum(2).unsqueeze(2)
        # Row by row, so that no array is larger than the features.
        columns = x1.unbind(2)
        rows = matrix.permute(2, 0, 1, 3).contiguous().unbind(0)
        out = columns[0].unsqueeze(2) * torch.index_select(rows[0], 0, idxs)
        for i in range(1, self.dim1):
            out = out + columns[i].unsqueeze(2) * torch.index_select(rows[i], 0, idxs)
        return out

    def matrices(self, x2: torch.Tensor) -> torch.Tensor:
        """The centers' side of the product.

        Args:
            x2: (n, u * j) or (n, u, j), features of the nodes.

        Returns:
            (n, u, i, k).
        """
        x2 = x2.reshape(-1, self.mul, self.dim2)
        if self.diagonal:  # nui1, uik -> nuik
            return x2.unsqueeze(3) * self.coupling
        # unj, uj(ik) -> un(ik) -> nuik
        matrix = torch.bmm(x2.transpose(0, 1), self.coupling).transpose(0, 1)
        return matrix.reshape(-1, self.mul, self.dim1, self.dim_out)


def contract_centers_first(model: torch.nn.Module) -> torch.nn.Module:
    """Replace the tensor products of a model, in place, where they are those described above.

    Others (of modifiers with their own kernels, of other versions of nequip-allegro) stay.
    """
    for name, child in list(model.named_children()):
        if _is_contracter(child):
            setattr(model, name, CenterFirst(child))
        else:
            contract_centers_first(child)
    return model


def _is_contracter(module: torch.nn.Module) -> bool:
    # by name, because models from packages (.nequip.zip) have classes of their own
    kind = type(module)
    return (
        kind.__name__ == "Contracter"
        and kind.__module__.endswith("allegro.nn._strided._contract")
        and list(inspect.signature(kind.forward).parameters) == ["self", "x1", "x2", "idxs"]
        and getattr(module, "scatter_factor", None) is None
    )
