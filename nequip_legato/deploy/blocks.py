"""Evaluating a deployed model block by block: the specification of the C++ core.

An Allegro edge (center i, neighbor j) affects only the energy of i, and of j only its type matters
(Musaelian et al., Nat. Commun. 14, 579 (2023), eq. 4). So the nodes of a block are its B centers
followed by one node per type, and a neighbor index points at the node of its type. No other atoms
enter the model, and blocks are exact. With t = dE_i/dr of the edge r = x_j - x_i:

    F_i += t,    F_j -= t,    W -= r (x) t.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from nequip.data import AtomicDataDict

from nequip_legato.trained.frames import Frame

__all__ = ["MIN_EDGES", "Block", "Sums", "evaluate_in_blocks", "make_blocks"]

MIN_EDGES = 2
"""Deployed models are exported for two edges or more (torch.export specializes 0 and 1)."""

Model = Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]


@dataclass(frozen=True)
class Block:
    """Inputs of a deployed model for ``B`` centers and ``E`` edges, ``T`` being the model's types.

    Attributes:
        centers: (B,) atoms of the frame.
        types: (B + T,) types of the centers, then 0 ... T - 1.
        edge_index: (2, E) center nodes, then neighbor nodes (B + type of the neighbor).
        edge_vectors: (E, 3) x_j - x_i, Angstrom.
        neighbors: (E - padding,) neighbor atom in the frame, of each edge that is not padding.
    """

    centers: torch.Tensor
    types: torch.Tensor
    edge_index: torch.Tensor
    edge_vectors: torch.Tensor
    neighbors: torch.Tensor

    def inputs(self) -> dict[str, torch.Tensor]:
        """The model's inputs; ``pos`` is there because nequip's tracer asks for it."""
        return {
            AtomicDataDict.POSITIONS_KEY: torch.zeros(len(self.types), 3, dtype=torch.float64),
            AtomicDataDict.EDGE_INDEX_KEY: self.edge_index,
            AtomicDataDict.ATOM_TYPE_KEY: self.types,
            # a copy, because models mark it for autograd
            AtomicDataDict.EDGE_VECTORS_KEY: self.edge_vectors.clone(),
        }


@dataclass(frozen=True)
class Sums:
    """Results for a frame of ``n`` atoms.

    Attributes:
        energies: (n,) eV.
        forces: (n, 3) eV/A.
        virial: (3, 3) eV, -sum r (x) t, so that stress = -virial / volume.
    """

    energies: torch.Tensor
    forces: torch.Tensor
    virial: torch.Tensor


def make_blocks(frame: Frame, *, cutoffs: torch.Tensor, sizes: Sequence[int]) -> Iterator[Block]:
    """Cut a frame into blocks.

    Edges as long as their cutoff or longer are left out. A block with fewer than ``MIN_EDGES``
    edges is padded with edges from the first type node to itself, whose energy is not used.

    Args:
        frame: the structure.
        cutoffs: (T, T) cutoff of each (center type, neighbor type), Angstrom.
        sizes: numbers of centers, used in turn; the last block may be smaller.
    """
    num_types = len(cutoffs)
    vectors = frame.edge_vectors()
    center, neighbor = frame.edge_index
    within = vectors.norm(dim=1) < cutoffs[frame.types[center], frame.types[neighbor]]
    center, neighbor, vectors = center[within], neighbor[within], vectors[within]
    begin = turn = 0
    while begin < frame.n_atoms:
        end = min(begin + sizes[turn % len(sizes)], frame.n_atoms)
        in_block = (center >= begin) & (center < end)
        n_padding = max(0, MIN_EDGES - int(in_block.sum()))
        type_node = torch.full((n_padding,), end - begin)
        padding = torch.tensor([[0.5 * float(cutoffs.max()), 0.0, 0.0]], dtype=torch.float64)
        yield Block(
            centers=torch.arange(begin, end),
            types=torch.cat([frame.types[begin:end], torch.arange(num_types)]),
            edge_index=torch.stack(
                [
                    torch.cat([center[in_block] - begin, type_node]),
                    torch.cat([end - begin + frame.types[neighbor[in_block]], type_node]),
                ]
            ),
            edge_vectors=torch.cat([vectors[in_block], padding.expand(n_padding, 3)]),
            neighbors=neighbor[in_block],
        )
        begin, turn = end, turn + 1


def evaluate_in_blocks(
    model: Model,
    frame: Frame,
    *,
    cutoffs: torch.Tensor,
    sizes: Sequence[int] = (64,),
    device: str = "cpu",
) -> Sums:
    """Energies, forces and virial of a frame from a model that takes edge vectors.

    Args:
        model: dictionary of inputs -> dictionary with ``atomic_energy`` and ``edge_forces``.
        frame: the structure.
        cutoffs: (T, T), Angstrom.
        sizes: see :func:`make_blocks`.
        device: where the model takes its inputs.
    """
    energies = torch.zeros(frame.n_atoms, dtype=torch.float64)
    forces = torch.zeros(frame.n_atoms, 3, dtype=torch.float64)
    virial = torch.zeros(3, 3, dtype=torch.float64)
    for block in make_blocks(frame, cutoffs=cutoffs, sizes=sizes):
        inputs = {key: value.to(device) for key, value in block.inputs().items()}
        outputs = {key: value.detach().to("cpu") for key, value in model(inputs).items()}
        n_centers, n_edges = len(block.centers), len(block.neighbors)
        energies[block.centers] = outputs[AtomicDataDict.PER_ATOM_ENERGY_KEY][
            :n_centers, 0
        ].double()
        t = outputs[AtomicDataDict.EDGE_FORCE_KEY][:n_edges].double()
        forces.index_add_(0, block.centers[block.edge_index[0, :n_edges]], t)
        forces.index_add_(0, block.neighbors, -t)
        virial -= block.edge_vectors[:n_edges].T @ t
    return Sums(energies, forces, virial)
