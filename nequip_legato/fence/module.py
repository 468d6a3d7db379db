"""The fence in the deployed graph."""

from typing import Any

import torch
from nequip.data import AtomicDataDict

from nequip_legato.errors import LegatoError

__all__ = ["FenceProfile", "FencedEnergy", "add_fence"]


class FenceProfile(torch.nn.Module):
    """The fence's energy as a function of the squared distance.

    Args:
        table: (T * T, 2 + 3 m) see :meth:`nequip_legato.fence.Fence.table`.
    """

    def __init__(self, table: torch.Tensor) -> None:
        super().__init__()
        self.n_gaps: int = (table.shape[1] - 2) // 3
        self.table: torch.Tensor
        self.register_buffer("table", table)

    def forward(self, squared: torch.Tensor, pair: torch.Tensor) -> torch.Tensor:
        """Energies of edges.

        Args:
            squared: (E,) squared distances, Angstrom^2.
            pair: (E,) rows of the table.

        Returns:
            (E,), eV.
        """
        rows = torch.index_select(self.table, 0, pair)
        ratio = squared * rows[:, 0]
        depth = torch.clamp(1.0 - ratio, min=0.0)
        energy = rows[:, 1] * depth * depth * depth * torch.rsqrt(ratio)
        for k in range(self.n_gaps):
            z = (squared - rows[:, 2 + 3 * k]) * rows[:, 3 + 3 * k]
            depth = torch.clamp(1.0 - z * z, min=0.0)
            energy = energy + rows[:, 4 + 3 * k] * depth * depth * depth
        return energy


class FencedEnergy(torch.nn.Module):
    """A model of the energy with the fence's energy added.

    It replaces the energy model inside nequip's ``ForceStressOutput``, so that all derivatives
    include the fence. The energy of an edge belongs to its center, as in Allegro. Where
    the fence does not act, zeros are added, which changes nothing.

    Args:
        func: the energy model: nequip's dictionary -> nequip's dictionary, of one structure.
        table: (T * T, 2 + 3 m) see :meth:`nequip_legato.fence.Fence.table`.
        num_types: number of types T.
    """

    def __init__(self, func: torch.nn.Module, table: torch.Tensor, num_types: int) -> None:
        super().__init__()
        self.func = func
        self.irreps_in = func.irreps_in
        self.irreps_out = func.irreps_out
        self.num_types: int = num_types
        weights = next(func.parameters(), torch.empty(0, dtype=torch.float64))
        self.profile = FenceProfile(table.to(weights.dtype))
        begins, ends = _ranges(table.tolist())
        self.acts_from: torch.Tensor
        self.acts_to: torch.Tensor
        self.register_buffer("acts_from", torch.tensor(begins, dtype=torch.float64))
        self.register_buffer("acts_to", torch.tensor(ends, dtype=torch.float64))

    def forward(self, data: AtomicDataDict.Type) -> AtomicDataDict.Type:
        """The model's outputs, with atomic and total energies that include the fence."""
        data = self.func(data)
        vectors = data[AtomicDataDict.EDGE_VECTORS_KEY]
        center = data[AtomicDataDict.EDGE_INDEX_KEY][0]
        types = data[AtomicDataDict.ATOM_TYPE_KEY].view(-1)
        pair = torch.index_select(types, 0, center) * self.num_types + torch.index_select(
            types, 0, data[AtomicDataDict.EDGE_INDEX_KEY][1]
        )
        if torch.jit.is_scripting():  # type: ignore[attr-defined]
            # On most edges no fence acts, mostly on none. Not for AOTInductor, which fuses all of
            # this into one loop and needs shapes that do not depend on values.
            squared = vectors.detach().square().sum(1, keepdim=True)
            acts = (squared > torch.index_select(self.acts_from, 0, pair)) & (
                squared < torch.index_select(self.acts_to, 0, pair)
            )
            near = torch.nonzero(acts.any(1)).view(-1)
            if near.numel() == 0:
                return data
            vectors = torch.index_select(vectors, 0, near)
            center = torch.index_select(center, 0, near)
            pair = torch.index_select(pair, 0, near)
        # In the precision of the weights: many GPUs are slow in float64, and the margin between the
        # fence and the training frames is far wider than what float32 rounds off.
        vectors = vectors.to(self.profile.table.dtype)
        energy = self.profile(vectors.square().sum(1), pair)
        # as nequip adds up edges, so that GPU kernels for such sums do it without atomic additions
        atomic = data[AtomicDataDict.PER_ATOM_ENERGY_KEY]
        per_atom = torch.zeros(atomic.shape[0], dtype=energy.dtype, device=energy.device)
        per_atom = torch.scatter_add(per_atom, 0, center, energy).view(-1, 1)
        data[AtomicDataDict.PER_ATOM_ENERGY_KEY] = atomic + per_atom.to(atomic.dtype)
        total = data[AtomicDataDict.TOTAL_ENERGY_KEY]
        data[AtomicDataDict.TOTAL_ENERGY_KEY] = total + energy.sum().to(total.dtype)
        return data


def _ranges(table: list[list[float]]) -> tuple[list[list[float]], list[list[float]]]:
    """Where walls and bumps act: squared distances, Angstrom^2, with room for rounding.

    Returns:
        Lower and upper ends, T * T rows of one wall and m bumps.
    """
    below, above = 1.0 - 1e-5, 1.0 + 1e-5
    begins, ends = [], []
    for row in table:
        bumps = range(2, len(row), 3)
        begins.append([-1.0] + [(row[k] - 1.0 / row[k + 1]) * below for k in bumps])
        ends.append([above / row[0]] + [(row[k] + 1.0 / row[k + 1]) * above for k in bumps])
    return begins, ends


def add_fence(model: torch.nn.Module, table: list[list[float]], num_types: int) -> None:
    """Put a fence into a model, in place.

    Raises:
        LegatoError: if the model has no ``ForceStressOutput``.
    """
    rows = torch.tensor(table, dtype=torch.float64)
    # by name, because models from packages (.nequip.zip) have classes of their own
    found: list[Any] = [m for m in model.modules() if type(m).__name__ == "ForceStressOutput"]
    if len(found) != 1:
        raise LegatoError(
            "the model is not built as nequip's models of energies and forces are (it has "
            f"{len(found)} ForceStressOutput instead of one), so no fence can be put into it; "
            "deploy it without --fence"
        )
    found[0].func = FencedEnergy(found[0].func, rows, num_types)
