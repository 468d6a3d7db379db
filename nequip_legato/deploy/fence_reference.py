"""The fence on whole frames, in float64 and by formulas: the reference for deployed files."""

import torch

from nequip_legato.deploy.blocks import Sums
from nequip_legato.deploy.check import Reference
from nequip_legato.fence.profile import Fence
from nequip_legato.trained.frames import Frame

__all__ = ["dimers_in_reach", "fence_sums", "with_fence"]

_DEPTH = 0.03  # of the distance at which a wall begins, so that forces stay those of molecules


def fence_sums(fence: Fence, frame: Frame, type_names: list[str], cutoffs: torch.Tensor) -> Sums:
    """Energies, forces and virial of the fence alone; see :mod:`nequip_legato.fence.profile`.

    Args:
        fence: the fence.
        frame: edges as long as their cutoff or longer do not count.
        type_names: the model's.
        cutoffs: (T, T) of each (center type, neighbor type), Angstrom.

    Returns:
        Per-atom energies in eV, forces in eV/Angstrom, virial in eV.
    """
    energies = torch.zeros(frame.n_atoms, dtype=torch.float64)
    forces = torch.zeros(frame.n_atoms, 3, dtype=torch.float64)
    virial = torch.zeros(3, 3, dtype=torch.float64)
    rows = torch.tensor(fence.table(type_names, cutoffs.tolist()), dtype=torch.float64)
    center, neighbor = frame.edge_index
    pair = frame.types[center] * len(type_names) + frame.types[neighbor]
    vectors = frame.edge_vectors()
    squared = vectors.square().sum(1)
    row = rows[pair]
    ratio = squared * row[:, 0]
    depth = (1.0 - ratio).clamp(min=0.0)
    energy = row[:, 1] * depth**3 / ratio.sqrt()
    # derivative by the squared distance
    slope = -row[:, 1] * row[:, 0] * depth**2 * (3.0 + 0.5 * depth / ratio) / ratio.sqrt()
    for k in range(2, rows.shape[1], 3):
        middle, inverse, height = row[:, k], row[:, k + 1], row[:, k + 2]
        z = (squared - middle) * inverse
        depth = (1.0 - z**2).clamp(min=0.0)
        energy += height * depth**3
        slope -= 6.0 * height * depth**2 * z * inverse
    within = squared < cutoffs.view(-1)[pair] ** 2
    energy, slope = energy * within, slope * within
    t = 2.0 * slope.unsqueeze(1) * vectors
    energies.index_add_(0, center, energy)
    forces.index_add_(0, center, t)
    forces.index_add_(0, neighbor, -t)
    virial -= vectors.T @ t
    return Sums(energies, forces, virial)


def with_fence(
    reference: Reference, fence: Fence, type_names: list[str], cutoffs: torch.Tensor
) -> Reference:
    """What a model that gives this reference should give with the fence."""
    own, more = reference.sums, fence_sums(fence, reference.frame, type_names, cutoffs)
    sums = Sums(own.energies + more.energies, own.forces + more.forces, own.virial + more.virial)
    return Reference(reference.frame, sums)


def dimers_in_reach(fence: Fence, type_names: list[str], cutoffs: torch.Tensor) -> Frame:
    """Isolated pairs of atoms, one for each wall and two for each bump, on which the fence acts."""
    distances = [(w.types, (1.0 - _DEPTH) * w.begin) for w in fence.walls]
    for gap in fence.gaps:
        for part in (0.2, 0.7):
            distances.append((gap.types, gap.begin + part * (gap.end - gap.begin)))
    spacing = 10.0 * float(cutoffs.max())
    axis = torch.tensor([0.48, 0.64, 0.6], dtype=torch.float64)  # of length 1
    positions = torch.zeros(2 * len(distances), 3, dtype=torch.float64)
    types = torch.zeros(2 * len(distances), dtype=torch.int64)
    edges = []
    for k, (names, distance) in enumerate(distances):
        positions[2 * k :, 0] = spacing * k
        positions[2 * k + 1] = positions[2 * k] + distance * axis
        ends = [type_names.index(name) for name in names]
        types[2 * k : 2 * k + 2] = torch.tensor(ends)
        for i, j in ((0, 1), (1, 0)):
            if distance < float(cutoffs[ends[i], ends[j]]):
                edges.append((2 * k + i, 2 * k + j))
    return Frame(
        positions=positions,
        cell=None,
        types=types,
        edge_index=torch.tensor(edges, dtype=torch.int64).view(-1, 2).T.contiguous(),
        shifts=None,
    )
