"""Weighted channels of Allegro's edges, without matrix products.

Allegro gives each edge the features y_zui = w_zur y_zi for channels u and the components i of irrep
r (Musaelian et al., Nat. Commun. 14, 579 (2023), section "Allegro layer"). nequip-allegro spreads
w over the components by a matrix product with ones and zeros, for l_max 1 one of E·u rows by 2 and
2 by 4 numbers, which no library does well: the weights are copied for it, and its result is written
and read again, as are those of both gradients. Here the weights are repeated where they are needed,
which AOTInductor does without writing them down; TorchScript does write them, and gains nothing.
"""

import inspect
from typing import Any

import torch

__all__ = ["RepeatedWeights", "repeat_weights"]


class RepeatedWeights(torch.nn.Module):
    """Stands in for one of nequip-allegro's ``MakeWeightedChannels`` modules.

    Args:
        old: the ``MakeWeightedChannels``, with weights for each irrep.
    """

    def __init__(self, old: Any) -> None:
        super().__init__()
        self.mul: int = old.multiplicity_out
        self.weight_numel: int = old.weight_numel
        self.alpha: float = old.alpha
        self.sizes = [int(row.count_nonzero()) for row in old._rtoi]

    def forward(self, edge_attr: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """The weighted channels.

        Args:
            edge_attr: (E, i).
            weights: (E, u * r).

        Returns:
            (E, u, i).
        """
        of_irreps = weights.reshape(-1, self.mul, len(self.sizes)).unbind(2)
        repeated: list[torch.Tensor] = []
        for r, size in enumerate(self.sizes):
            repeated.append(of_irreps[r].unsqueeze(2).expand(-1, -1, size))
        product = edge_attr.unsqueeze(1) * torch.cat(repeated, dim=2)
        return product if self.alpha == 1.0 else self.alpha * product


def repeat_weights(model: torch.nn.Module) -> torch.nn.Module:
    """Replace the weighted channels of a model, in place, where they are those described above."""
    for name, child in list(model.named_children()):
        if _is_weighter(child):
            setattr(model, name, RepeatedWeights(child))
        else:
            repeat_weights(child)
    return model


def _is_weighter(module: torch.nn.Module) -> bool:
    # by name, because models from packages (.nequip.zip) have classes of their own
    kind = type(module)
    return (
        kind.__name__ == "MakeWeightedChannels"
        and kind.__module__.endswith("allegro.nn._strided._channels")
        and list(inspect.signature(kind.forward).parameters) == ["self", "edge_attr", "weights"]
        and getattr(module, "weight_individual_irreps", False)
        and _only_repeats(getattr(module, "_rtoi", None), getattr(module, "alpha", None))
    )


def _only_repeats(matrix: torch.Tensor | None, alpha: float | None) -> bool:
    """Whether the matrix (r, i) is alpha where component i belongs to irrep r, and else zero.

    The irreps have to be in order.
    """
    if matrix is None or alpha is None:
        return False
    irrep_of = matrix.abs().argmax(0)
    repeats = alpha * torch.nn.functional.one_hot(irrep_of, len(matrix)).to(matrix).T
    return bool((irrep_of.diff() >= 0).all()) and torch.equal(matrix, repeats) and alpha != 0.0
