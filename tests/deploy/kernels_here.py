"""What a machine without a GPU can see of the Triton kernels; a program, see test_kernels.py.

    python kernels_here.py '[["sums", "8", "4", "4"], ["model", "model.ckpt"]]'

prints a line of JSON for each list of words. Triton's interpreter (TRITON_INTERPRET=1) has to be
chosen before Triton is imported, so this is a process of its own.
"""

import json
import sys
from functools import partial
from pathlib import Path

import torch
from nequip.nn.mlp import ScalarMLPFunction
from nequip.utils.fx import nequip_decomp_table
from torch.fx.experimental.proxy_tensor import make_fx

from nequip_legato.deploy import export
from nequip_legato.deploy.center_sums import sum_sorted_edges
from nequip_legato.deploy.channels import repeat_weights
from nequip_legato.deploy.contraction import contract_centers_first
from nequip_legato.deploy.on_gpu import use_gpu_kernels
from nequip_legato.deploy.target import INPUTS, OUTPUTS
from nequip_legato.fence.module import add_fence
from nequip_legato.trained.checkpoint import open_source


def _far(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-12))


def sums(u: int, i: int, k: int) -> dict:
    """The products with matrices of the centers, one of which has no edge, and the plain sum."""
    from nequip_legato.kernels.centers import center_product, center_starts, sum_over_edges

    counts = torch.tensor([3, 0, 41, 1, 17])
    centers = torch.repeat_interleave(torch.arange(5), counts)
    starts = center_starts(centers, 5)
    x = torch.randn(len(centers), u, i, requires_grad=True)
    matrix = torch.randn(5, u, i, k, requires_grad=True)
    found = center_product(x, matrix, starts)
    expected = torch.einsum("eui,euik->euk", x, matrix[centers])
    upstream = torch.randn_like(expected)
    ours = torch.autograd.grad(found, (x, matrix), upstream)
    theirs = torch.autograd.grad(expected, (x, matrix), upstream)
    flat = torch.randn(len(centers), u * i)
    plain = torch.zeros(5, u * i).index_add_(0, centers, flat)
    return {
        "starts": _far(starts[1:].double(), counts.cumsum(0).double()),
        "product": _far(found, expected),
        "by features": _far(ours[0], theirs[0]),
        "by matrices": _far(ours[1], theirs[1]),
        "sum": _far(sum_over_edges(flat, starts), plain),
    }


def network(k: int, h: int, o: int) -> dict:
    """A network and its derivative."""
    from nequip_legato.kernels.networks import edge_network

    x = torch.randn(150, k, requires_grad=True)
    w1, w2 = torch.randn(k, h) / k**0.5, torch.randn(h, o) / h**0.5
    found = edge_network(x, w1, w2, "ieee")
    expected = torch.nn.functional.silu(x @ w1) @ w2
    upstream = torch.randn_like(expected)
    (ours,) = torch.autograd.grad(found, x, upstream)
    (theirs,) = torch.autograd.grad(expected, x, upstream)
    return {"network": _far(found, expected), "by inputs": _far(ours, theirs)}


def _model_and_block(checkpoint: str) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    model = open_source(Path(checkpoint), model_key="sole_model").model
    model = repeat_weights(contract_centers_first(model.eval()))
    # four centers, the third without edges, then a node for each type
    counts, types = torch.tensor([5, 4, 0, 6]), torch.tensor([0, 1, 1, 0, 0, 1])
    centers = torch.repeat_interleave(torch.arange(4), counts)
    neighbors = 4 + torch.arange(len(centers)) % 2
    vectors = torch.nn.functional.normalize(torch.randn(len(centers), 3, dtype=torch.float64))
    vectors = vectors * torch.linspace(0.9, 3.5, len(centers), dtype=torch.float64)[:, None]
    inputs = [torch.zeros(6, 3, dtype=torch.float64), torch.stack([centers, neighbors])]
    return model, dict(zip(INPUTS, [*inputs, types, vectors], strict=True))


def whole_model(checkpoint: str) -> dict:
    """Energies and forces of a model with the kernels in it, eagerly."""
    model, block = _model_and_block(checkpoint)
    expected = model({key: value.clone() for key, value in block.items()})
    use_gpu_kernels(model, precision="ieee")
    found = model({key: value.clone() for key, value in block.items()})
    kept = [type(m).__name__ for m in model.modules() if isinstance(m, ScalarMLPFunction)]
    nonlinear = sum(m.is_nonlinear for m in model.modules() if isinstance(m, ScalarMLPFunction))
    return {key: _far(found[key], expected[key]) for key in OUTPUTS} | {
        "linear networks kept": 0.0 if kept else 1.0,
        "networks not replaced": float(nonlinear),
    }


def exported(checkpoint: str, *fence: str) -> dict:
    """Operations of the exported graph: names and how many. Nothing runs."""
    model, block = _model_and_block(checkpoint)
    if fence:  # a wall and a bump for each pair of types
        add_fence(model, 4 * [[0.8, 5.0, 4.0, 2.0, 1.0]], 2)
    use_gpu_kernels(model)
    program = export._exported(model, OUTPUTS, device="cpu", data=block, kernels="triton")
    names = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    additions = ("scatter_add", "index_put", "index_add")
    floats = [
        str(node.target)
        for node in program.graph.nodes
        if any(name in str(node.target) for name in additions)
        if node.meta["val"].is_floating_point()
    ]
    ours = {name: names.count(name) for name in set(names) if "nequip_legato" in name}
    return {"ours": ours, "atomic additions": floats}


def sums_alone() -> dict:
    """The graph of a sum over the edges of each center, and of one over something else."""
    edges = torch.tensor([[0, 0, 2], [1, 2, 0]])

    def total(row: int, edge_index: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        index = edge_index[row].unsqueeze(1).expand(-1, 4)
        return torch.zeros(3, 4).scatter_add_(0, index, x)

    how = {"tracing_mode": "symbolic", "decomposition_table": nequip_decomp_table()}
    left = {}
    for row in (0, 1):
        graph = make_fx(partial(total, row), **how)(edges, torch.ones(3, 4))
        name = next(node.target for node in graph.graph.nodes if node.op == "placeholder")
        names = [str(node.target) for node in sum_sorted_edges(graph, name).graph.nodes]
        left[row] = sum("scatter_add" in name for name in names)
    return left


def compiled() -> dict:
    """Registers and spilled bytes of the kernels of two models, compiled for an H100."""
    from kernels_compiled import resources

    return resources()


FUNCTIONS = {
    "sums": sums,
    "network": network,
    "model": whole_model,
    "exported": exported,
    "sums alone": sums_alone,
    "compiled": compiled,
}


def main() -> None:
    """Parse and print."""
    for what, *arguments in json.loads(sys.argv[1]):
        torch.manual_seed(3)
        numbers = [int(word) if word.isdecimal() else word for word in arguments]
        print(json.dumps(FUNCTIONS[what](*numbers)))


if __name__ == "__main__":
    main()
