"""The Triton kernels of deployed models, on a machine without a GPU.

Triton's interpreter runs them on the CPU, and its compiler compiles them for an H100.
"""

import json
import sys
from pathlib import Path

import pytest
import torch
from nequip.data import AtomicDataDict
from processes import run_process

from nequip_legato.deploy import export
from nequip_legato.deploy.target import INPUTS

pytest.importorskip("triton", reason="Triton, which has wheels for Linux alone, is not installed")
PROGRAM = Path(__file__).with_name("kernels_here.py")


def run_all(words: list[list[str]], *, interpreted: bool) -> list[dict]:
    """What kernels_here.py prints for each list of words."""
    environment = {"TRITON_INTERPRET": "1" if interpreted else None}
    done = run_process(sys.executable, PROGRAM, json.dumps(words), environment=environment)
    return [json.loads(line) for line in done.stdout.splitlines()[-len(words) :]]


# channels, components before and after: of l_max 1 and 2, last layers, odd numbers
SUMS = [(8, 4, 4), (8, 4, 1), (4, 9, 9), (3, 5, 2), (1, 1, 1)]
# inputs, hidden layer, outputs: whole and split into two powers of two, narrow, odd
NETWORKS = [(32, 64, 32), (40, 64, 48), (96, 32, 1), (70, 20, 7)]


@pytest.mark.slow
def test_deviations_from_torch(checkpoint):
    """Sums over the edges of a center, networks, and the whole model, in one process."""
    sizes = {"sums": SUMS, "network": NETWORKS}
    words = [[name, *map(str, one)] for name, several in sizes.items() for one in several]
    words.append(["model", str(checkpoint(dtype="float32"))])
    for what, found in zip(words, run_all(words, interpreted=True), strict=True):
        limit = 1e-5 if what[0] == "model" else 3e-6
        assert found, what
        assert {part: far for part, far in found.items() if not far < limit} == {}, what


@pytest.mark.slow
def test_nothing_is_added_up_by_atomic_operations(checkpoint):
    """In the graph that AOTInductor gets. Both layers have a product there and back, and a sum."""
    words = ["exported", str(checkpoint(dtype="float32"))]
    found, fenced = run_all([words, [*words, "fenced"]], interpreted=False)
    assert found["atomic additions"] == fenced["atomic additions"] == []
    (name,) = (name for name in found["ours"] if "sum_over_edges" in name)
    assert fenced["ours"] == found["ours"] | {name: found["ours"][name] + 1}
    ours = {name.split(".")[1]: count for name, count in found["ours"].items()}
    assert ours["apply_matrices"] == ours["apply_matrices_backward"] == 2
    assert ours["sum_over_edges"] >= 2
    assert ours["network"] == ours["network_backward"] >= 2


@pytest.mark.slow
def test_only_sums_over_sorted_edges_are_replaced():
    """Neighbors are in no order: a sum over the edges of each of them stays as it is."""
    assert run_all([["sums alone"]], interpreted=False) == [{"0": 0, "1": 1}]


@pytest.mark.slow
def test_kernels_compile_for_a_gpu_without_spilling():
    """What does not fit into registers is spilled to memory, and slow."""
    (found,) = run_all([["compiled"]], interpreted=False)
    assert len(found) > 30
    spilling = {name: used for name, used in found.items() if used["spilled"]}
    assert spilling == {}


def test_block_of_realistic_size(as_frame, unseen):
    """The compiler tries out kernels on it: many copies side by side, still sorted by center."""
    data = {key: as_frame(unseen).by_edge_vectors()[key] for key in INPUTS}
    index, n = data[AtomicDataDict.EDGE_INDEX_KEY], len(unseen)
    large = export._of_realistic_size(data, n_edges=500_000)
    times = len(large[AtomicDataDict.ATOM_TYPE_KEY]) // n
    assert times * index.shape[1] > 400_000
    centers = large[AtomicDataDict.EDGE_INDEX_KEY][0]
    assert bool((index[0].diff() >= 0).all())
    assert bool((centers.diff() >= 0).all())
    last = slice(-index.shape[1], None)
    assert torch.equal(large[AtomicDataDict.EDGE_INDEX_KEY][:, last] - n * (times - 1), index)
    assert torch.equal(
        large[AtomicDataDict.EDGE_VECTORS_KEY][last], data[AtomicDataDict.EDGE_VECTORS_KEY]
    )
