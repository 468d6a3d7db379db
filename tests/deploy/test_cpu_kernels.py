"""The C++ kernels of deployed models on a CPU, against torch."""

import os
import tempfile
from collections.abc import Callable

import pytest
import torch
from processes import PROGRAMS, run_process
from torch._inductor.utils import fresh_inductor_cache

from nequip_legato.cli import deploy_main
from nequip_legato.deploy import cpu_library, export
from nequip_legato.deploy.blocks import evaluate_in_blocks
from nequip_legato.deploy.channels import repeat_weights
from nequip_legato.deploy.contraction import contract_centers_first
from nequip_legato.deploy.cpu_library import KernelSizes, linked_kernels, sizes_of
from nequip_legato.deploy.on_cpu import FenceKernel, Silu, use_cpu_kernels
from nequip_legato.deploy.target import OUTPUTS
from nequip_legato.deployed.reader import info
from nequip_legato.fence.module import FenceProfile, add_fence
from nequip_legato.kernels import cpu_operators
from nequip_legato.native.installed import find_compiler, find_torch
from nequip_legato.trained.checkpoint import open_source

# channels, components before and after: l_max 1 and 2, last layers, odd numbers
PRODUCTS = [(8, 4, 4), (8, 4, 1), (32, 9, 9), (3, 5, 2), (1, 1, 1)]
# channels, components of each irrep
CHANNELS = [(8, [1, 3]), (32, [1, 3, 5]), (3, [1, 3, 3, 5]), (1, [1])]
BESSELS = [8, 3, 1]
# edges of each center, one of which has none
COUNTS = torch.tensor([3, 0, 41, 1, 17])
SORTED = torch.repeat_interleave(torch.arange(len(COUNTS)), COUNTS)
SHUFFLED = SORTED[torch.randperm(len(SORTED), generator=torch.Generator().manual_seed(1))]
LIMITS = {torch.float32: 3e-6, torch.float64: 1e-12}
OURS = torch.ops.nequip_legato


class AllOperators(torch.nn.Module):
    """Every operator with every size."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        torch.manual_seed(1)
        n, e = len(COUNTS), len(SORTED)

        def random(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, dtype=dtype)

        self.products = [
            (random(e, k, u), random(e, i, u), random(n, i, k, u)) for u, i, k in PRODUCTS
        ]
        # weights are part of the columns of an array, as in the model
        self.channels = [
            (random(e, sum(r)), random(e, len(r) * u + 5)[:, 2:-3], r, u) for u, r in CHANNELS
        ]
        self.of_edges = [random(e, sum(r), u) for u, r in CHANNELS]
        self.of_nodes = [random(n, sum(r), u) for u, r in CHANNELS]
        self.lengths = torch.linspace(0.0, 2.2, e, dtype=torch.float64)[:, None]
        self.by_bessel = [random(e, count) for count in BESSELS]
        # walls, gaps, nothing; 1 / r0^2, height, and a bump's middle, inverse half width, height
        self.squared = torch.linspace(0.01, 6.0, e).to(dtype)
        self.pair = torch.arange(e) % 2
        self.table = torch.tensor(
            [[0.9, 3.0, 2.5, 3.0, 0.4, 4.0, 2.0, 1.5], [0.4, 1.0, 3.0, 2.5, 0.2, 5.0, 4.0, 0.1]]
        ).to(dtype)
        self.hidden = torch.linspace(-200.0, 200.0, 7 * e, dtype=torch.float32).reshape(e, 7)
        self.hidden[0] = torch.tensor([0.0, 1e-30, -1e-30, 1e30, torch.inf, torch.nan, -1e4])

    def forward(self, centers: torch.Tensor) -> list[torch.Tensor]:
        found: list[torch.Tensor] = []
        n = len(COUNTS)
        for g, x, m in self.products:
            found += [OURS.edge_product(x, m, centers)]
            found += OURS.edge_product_backward(g, x, m, centers)
        pairs = zip(self.channels, self.of_edges, self.of_nodes, strict=True)
        for (y, w, irreps, _), by_edge, by_node in pairs:
            found += [OURS.edge_channels(y, w, irreps)]
            found += OURS.edge_channels_backward(by_edge, y, w, irreps)
            found += [OURS.edge_channels_sum(y, w, centers, n, irreps)]
            found += OURS.edge_channels_sum_backward(by_node, y, w, centers, irreps)
        for count, g in zip(BESSELS, self.by_bessel, strict=True):
            found += [OURS.edge_bessel(self.lengths, count, g.dtype)]
            found += [OURS.edge_bessel_backward(g, self.lengths)]
        found += OURS.edge_fence(self.squared, self.pair, self.table)
        return found + list(OURS.edge_silu(self.hidden))


@pytest.fixture(scope="module", params=["float32", "float64"])
def operators(request, tmp_path_factory) -> tuple[AllOperators, Callable]:
    """The operators made of torch's, and those that AOTInductor has linked."""
    dtype = request.param
    folder = tmp_path_factory.mktemp("operators")
    model = AllOperators(getattr(torch, dtype))
    channels = {(u, sum(irreps), len(irreps)) for u, irreps in CHANNELS}
    sizes = KernelSizes(set(PRODUCTS), channels, set(BESSELS))
    with (
        fresh_inductor_cache(dir=str(folder)),
        linked_kernels(sizes, folder, dtype=dtype) as settings,
    ):
        path = torch._inductor.aoti_compile_and_package(
            torch.export.export(model, (SORTED,)),
            package_path=str(folder / "all.pt2"),
            inductor_configs=settings,
        )
        return model, torch._inductor.aoti_load_package(path)


@pytest.mark.slow
@pytest.mark.parametrize("centers", [SORTED, SHUFFLED], ids=["sorted", "shuffled"])
def test_compiled_operators_are_those_of_torch(operators, centers):
    model, compiled = operators
    expected = model(centers)
    for number, (ours, theirs) in enumerate(zip(compiled(centers), expected, strict=True)):
        assert ours.dtype == theirs.dtype
        limit = LIMITS[theirs.dtype]
        of_activation = number >= len(expected) - 2
        scale = 1.0 if of_activation else float(theirs.abs().max())
        torch.testing.assert_close(
            ours, theirs, rtol=limit, atol=limit * scale, equal_nan=True, msg=f"result {number}"
        )


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [-1, len(COUNTS)])
def test_center_that_is_no_node_is_an_error(operators, wrong):
    _, compiled = operators
    centers = SORTED.clone()
    centers[-1] = wrong
    with pytest.raises(RuntimeError):
        compiled(centers)


@pytest.mark.slow
@pytest.mark.parametrize("processor", ["", "-mavx2 -mfma"])
def test_sources_compile_without_warnings(processor, tmp_path):
    sizes = KernelSizes({(8, 4, 4)}, {(8, 4, 2)}, {8})
    command = [find_compiler(), *cpu_library._FLAGS, *processor.split(), "-Wall", "-Wextra"]
    command += ["-Werror", f"-I{find_torch().folder / 'include'}"]
    for dtype in ("float32", "float64"):
        definitions = cpu_library._definitions(sizes, dtype)
        run_process(*command, *definitions, "-c", cpu_library._SOURCE, cwd=tmp_path)


def test_derivatives():
    """Of the operators that models are traced with, by finite differences."""
    torch.manual_seed(2)
    centers = torch.tensor([0, 0, 2, 2, 2])

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(
        lambda x, m: cpu_operators.edge_product(x, m, centers),
        (random(5, 3, 2), random(3, 3, 4, 2)),
    )
    assert torch.autograd.gradcheck(
        lambda y, w: cpu_operators.edge_channels(y, w, [1, 3]), (random(5, 4), random(5, 6))
    )
    lengths = torch.tensor([[0.1], [0.7], [1.3]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x: cpu_operators.edge_bessel(x, 5, torch.float64), lengths
    )
    assert torch.autograd.gradcheck(lambda x: cpu_operators.edge_silu(x)[0], random(5, 6))
    table = torch.tensor([[0.9, 3.0, 2.5, 3.0, 0.4]], dtype=torch.float64)
    squared = torch.linspace(0.2, 3.0, 12, dtype=torch.float64, requires_grad=True)
    pair = torch.zeros(12, dtype=torch.int64)
    energies = cpu_operators.edge_fence(squared, pair, table)[0]
    torch.testing.assert_close(energies, FenceProfile(table)(squared, pair), rtol=1e-14, atol=1e-14)
    assert (energies == 0).any()
    assert torch.autograd.gradcheck(lambda s: cpu_operators.edge_fence(s, pair, table)[0], squared)


def test_what_torch_expects_of_operators():
    """Shapes without data, no changed arguments, and derivatives that can be traced."""
    centers = torch.tensor([0, 0, 2, 2, 2])
    y, w = torch.randn(5, 4), torch.randn(5, 6)
    lengths = torch.rand(5, 1, dtype=torch.float64)
    for operator, arguments in {
        cpu_operators.edge_product: (torch.randn(5, 3, 2), torch.randn(3, 3, 4, 2), centers),
        cpu_operators.edge_channels: (y, w, [1, 3]),
        cpu_operators.edge_channels_sum: (y, w, centers, 3, [1, 3]),
        cpu_operators.edge_channels_sum_backward: (torch.randn(3, 4, 3), y, w, centers, [1, 3]),
        cpu_operators.edge_bessel: (lengths, 5, torch.float32),
        cpu_operators.edge_silu: (torch.randn(5, 6),),
        cpu_operators.edge_fence: (torch.rand(4), torch.tensor([0, 1, 1, 0]), torch.rand(2, 5)),
    }.items():
        torch.library.opcheck(operator, arguments)


def with_kernels(checkpoint, dtype: str) -> torch.nn.Module:
    model = open_source(checkpoint, model_key="sole_model").model
    return use_cpu_kernels(repeat_weights(contract_centers_first(model)), dtype=dtype)


def test_graph_sums_channels_without_writing_them(checkpoint, as_frame, unseen):
    """In both layers, there and back; nothing else is summed over the edges but their energies."""
    model = with_kernels(checkpoint(dtype="float32"), "float32")
    block = as_frame(unseen).by_edge_vectors()
    program = export._exported(model, OUTPUTS, device="cpu", data=block, kernels="cpp")
    names = [str(n.target) for n in program.graph.nodes if n.op == "call_function"]
    ours = {n.split(".")[1]: names.count(n) for n in set(names) if n.startswith("nequip_legato")}
    networks = ours.pop("edge_silu")
    assert networks >= 3
    assert ours == {
        "edge_product": 2,
        "edge_product_backward": 2,
        "edge_channels": 1,  # features of the first layer
        "edge_channels_backward": 1,
        "edge_channels_sum": 2,
        "edge_channels_sum_backward": 2,
        "edge_bessel": 1,
        "edge_bessel_backward": 1,
    }
    (summed,) = (n for n in program.graph.nodes if "scatter_add" in str(n.target))
    assert summed.meta["val"].shape[1:] == (1,)


def test_fence_is_a_kernel(checkpoint, as_frame, unseen):
    model = open_source(checkpoint(), model_key="sole_model").model
    add_fence(model, 4 * [[0.8, 5.0, 4.0, 2.0, 1.0]], 2)
    inputs = as_frame(unseen).by_edge_vectors()
    expected = model({key: value.clone() for key, value in inputs.items()})
    found = use_cpu_kernels(model, dtype="float64")(inputs)
    assert sum(isinstance(module, FenceKernel) for module in model.modules()) == 1
    for key in OUTPUTS:
        torch.testing.assert_close(found[key], expected[key], rtol=1e-12, atol=1e-12)


def test_sizes_of_a_model(checkpoint):
    model = with_kernels(checkpoint(), "float64")
    sizes = sizes_of(model)
    assert {(i, k) for _, i, k in sizes.products} == {(4, 4), (4, 1)}
    assert {(i, r) for _, i, r in sizes.channels} == {(4, 2)}
    assert len(sizes.bessels) == 1
    assert any(isinstance(m, torch.nn.SiLU) for m in model.modules())  # float64: torch's own


@pytest.mark.slow
def test_model_of_a_package(checkpoint, package):
    """Its classes are copies of nequip's."""
    path = checkpoint(dtype="float32")
    model, packaged = (with_kernels(p, "float32") for p in (path, package(path)))
    assert sizes_of(packaged) == sizes_of(model)
    networks = [sum(isinstance(m, Silu) for m in one.modules()) for one in (model, packaged)]
    assert networks[0] == networks[1] >= 3


def test_trained_radial_functions_stay(checkpoint):
    """Ours have 1, 2, 3, ... half waves."""
    model = open_source(checkpoint(), model_key="sole_model").model
    for module in model.modules():
        if hasattr(module, "bessel_weights"):
            module.bessel_weights.data[0, 1] += 0.01
    assert sizes_of(use_cpu_kernels(model, dtype="float64")).bessels == set()


@pytest.mark.slow
def test_with_and_without(checkpoint, as_frame, unseen, deployed, tmp_path):
    """The same energies and forces; the file says whether it has them."""
    without = tmp_path / "without.nequip.pt2"
    command = ["build", str(checkpoint()), str(without), "--kernels", "off"]
    assert deploy_main(command) == 0
    ours = deployed(".nequip.pt2")
    assert info(ours).entries["legato_kernels"] == "cpp"
    assert "with our own kernels" in str(info(ours))
    assert "legato_kernels" not in info(without).entries
    frame, cutoffs = as_frame(unseen), torch.full((2, 2), info(ours).cutoff, dtype=torch.float64)
    first, second = (
        evaluate_in_blocks(export.load_deployed(path, device="cpu"), frame, cutoffs=cutoffs)
        for path in (ours, without)
    )
    torch.testing.assert_close(first.energies, second.energies, rtol=0, atol=1e-10)
    torch.testing.assert_close(first.forces, second.forces, rtol=0, atol=1e-10)
    torch.testing.assert_close(first.virial, second.virial, rtol=0, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("complaint", "said"),
    [
        (
            "error: no such thing",
            "our kernels cannot be compiled (shims.cpp: error: no such thing); "
            "deploy with --kernels off",
        ),
        (
            "fatal error: No space left on device",
            f"the disk of the temporary folder {tempfile.gettempdir()}, where AOTInductor "
            "compiles, is full; make room, or set TMPDIR to another folder",
        ),
    ],
    ids=["wrong", "full"],
)
def test_kernels_that_do_not_compile_are_one_line_and_no_file(
    complaint, said, checkpoint, tmp_path
):
    """A compiler that fails on them alone."""
    compiler = tmp_path / "cxx"
    compiler.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *shims.cpp*) echo "shims.cpp: {complaint}" >&2; exit 1;; esac\n'
        f'exec {os.environ.get("CXX", "g++")} "$@"\n'
    )
    compiler.chmod(0o755)
    command = [PROGRAMS / "nequip-deploy", "build", checkpoint(), "m.nequip.pt2"]
    done = run_process(*command, cwd=tmp_path, environment={"CXX": str(compiler)}, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"nequip-deploy: error: {said}"]
    assert not list(tmp_path.glob("*.pt2"))
