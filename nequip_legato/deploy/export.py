"""Writing a model as a TorchScript or AOTInductor file."""

import io
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from nequip.data import AtomicDataDict
from nequip.data._key_registry import get_dynamic_shapes
from nequip.model.inference_models.torchscript import save_torchscript_model
from nequip.nn.compile import ListInputOutputWrapper
from nequip.utils.aoti_metadata import (
    NEQUIP_AOTI_INPUTS_KEY,
    NEQUIP_AOTI_OUTPUTS_KEY,
    NEQUIP_CUSTOM_OPS_LIBS_KEY,
    embed_custom_ops_libs,
    serialize_aoti_keys,
)
from nequip.utils.compile import prepare_model_for_compile
from nequip.utils.fx import nequip_make_fx
from nequip.utils.versions import check_pt2_compile_compatibility
from torch._inductor.cpu_vec_isa import valid_vec_isa_list
from torch._inductor.package import load_package  # type: ignore[attr-defined]
from torch._inductor.utils import fresh_inductor_cache

from nequip_legato.deploy.archive import ENERGY_MODEL, with_second_model
from nequip_legato.deploy.center_sums import sum_channels, sum_sorted_edges
from nequip_legato.deploy.compiling import environment_variable, full_disk
from nequip_legato.deploy.cpu_library import linked_kernels, sizes_of
from nequip_legato.deploy.target import INPUTS, OUTPUTS
from nequip_legato.errors import LegatoError, one_line
from nequip_legato.files import scratch_folder
from nequip_legato.native.standard_library import share_standard_library

__all__ = [
    "check_compiler",
    "load_deployed",
    "load_energy_model",
    "save_aotinductor",
    "save_torchscript",
    "without_executable_stack",
]

# Embedding weights as C++ source costs about 2 s and 140 MB of memory per MB.
_MAX_WEIGHTS_IN_CPP = 20_000_000
_EDGES_ON_GPU = 500_000
# The medium model of benchmarks/gpu takes 6 GB for these when it is not compiled.
_EDGES_EAGERLY = 50_000


@contextmanager
def _without_deprecations() -> Iterator[None]:
    """TorchScript is deprecated, and torch's own exporter uses what torch deprecates."""
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning, UserWarning):
            warnings.simplefilter("ignore", category)
        yield


def save_torchscript(
    model: torch.nn.Module, metadata: dict[str, str], path: Path, *, device: str
) -> None:
    """Script a model and write it with its metadata. The model itself is changed.

    Raises:
        LegatoError: if the model cannot be scripted.
        OSError: if the file cannot be written.
    """
    content = io.BytesIO()  # in memory, because torch can abort when the disk is full
    with _without_deprecations():
        try:
            save_torchscript_model(model, metadata, content, device)
        except RuntimeError as problem:
            raise LegatoError(
                f"the model cannot be scripted ({one_line(problem)}); leave out --modifiers, or "
                "deploy to .nequip.pt2"
            ) from problem
    path.write_bytes(content.getbuffer())


def check_compiler() -> None:
    """Check that AOTInductor will find a C++ compiler.

    Raises:
        LegatoError: if there is none.
    """
    from torch._inductor import exc
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        compiler = get_cpp_compiler()
    except exc.InvalidCxxCompiler as problem:
        raise LegatoError(_NO_COMPILER) from problem
    if shutil.which(compiler) is None:
        raise LegatoError(_NO_COMPILER)


_NO_COMPILER = (
    "AOTInductor needs a C++ compiler, and none was found; install one (Debian, Ubuntu: apt "
    "install g++), set CXX to its path, or deploy to .nequip.pth (TorchScript), which needs none"
)


def save_aotinductor(
    model: torch.nn.Module,
    metadata: dict[str, str],
    path: Path,
    *,
    device: str,
    data: AtomicDataDict.Type,
    energy_model: torch.nn.Module | None = None,
    kernels: str = "",
    remedy: str = "deploy to .nequip.pth (TorchScript) instead",
) -> None:
    """Compile a model and write it with its metadata.

    Args:
        model: eager model.
        metadata: to be stored, with nequip's record of inputs and outputs added.
        path: file to write.
        device: ``cpu`` or ``cuda``; the file runs nowhere else.
        data: inputs with realistic sizes.
        energy_model: the same without derivatives, to be added for evaluations of the energy alone.
        kernels: which of our own kernels the model uses: ``triton``, for which edges have to be
            sorted by center, ``cpp``, or none.
        remedy: what the user may do if it fails.

    Raises:
        LegatoError: if the model cannot be exported or compiled.
        OSError: if the file cannot be written.
    """
    metadata = {
        **metadata,
        NEQUIP_AOTI_INPUTS_KEY: serialize_aoti_keys(INPUTS),
        NEQUIP_AOTI_OUTPUTS_KEY: serialize_aoti_keys(OUTPUTS),
    }
    with _settings_for(kernels, model, metadata["model_dtype"]) as settings:
        how = {"device": device, "data": data, "kernels": kernels, "remedy": remedy}
        how["settings"] = settings
        content = _compiled(model, OUTPUTS, metadata, **how)
        if energy_model is not None:
            fields = [AtomicDataDict.PER_ATOM_ENERGY_KEY]
            energy = _compiled(energy_model, fields, metadata, **how)
            content = with_second_model(content, energy, name=ENERGY_MODEL)
    path.write_bytes(content)
    libraries = metadata.get(NEQUIP_CUSTOM_OPS_LIBS_KEY)
    if libraries:
        embed_custom_ops_libs(str(path), set(libraries.split()))


@contextmanager
def _settings_for(kernels: str, model: torch.nn.Module, dtype: str) -> Iterator[dict[str, Any]]:
    """Settings of Inductor for our kernels, which both models of a file share."""
    if kernels != "cpp":
        yield {}
        return
    with (
        scratch_folder("nequip-deploy-", Path(tempfile.gettempdir())) as own,
        linked_kernels(sizes_of(model), own, dtype=dtype) as settings,
    ):
        yield settings


def _compiled(
    model: torch.nn.Module,
    outputs: list[str],
    metadata: dict[str, str],
    *,
    device: str,
    data: AtomicDataDict.Type,
    kernels: str,
    remedy: str,
    settings: dict[str, Any],
) -> bytes:
    """The content of an AOTInductor package with one model."""
    content = io.BytesIO()
    # What the processor can do is found by compiling. That belongs to the cache that all share:
    # it took a third of each deployment. Where that cannot be written, it is found below.
    with suppress(Exception):
        valid_vec_isa_list()
    # Inductor names its files by the code, which models of one architecture share. Without a cache
    # of its own, one deployment may pack the metadata of another that runs at the same time.
    failure: LegatoError | None = None
    with (
        _without_deprecations(),
        scratch_folder("nequip-deploy-", Path(tempfile.gettempdir())) as own,
        fresh_inductor_cache(dir=str(own)),
    ):
        try:
            exported = _exported(model, outputs, device=device, data=data, kernels=kernels)
            torch._inductor.aoti_compile_and_package(
                exported,
                package_path=content,
                inductor_configs={
                    "aot_inductor.metadata": metadata,
                    # Else the number of threads here is built in, whatever OMP_NUM_THREADS says
                    # later. LAMMPS evaluates blocks side by side instead, each on one thread.
                    "cpp.threads": 1,
                    # The third dimension of a grid of CUDA has at most 65,535 programs; where
                    # edges were counted there, large blocks of large models could not run.
                    "triton.max_tiles": 2,
                    # Our own engine makes the indices and checks them.
                    "assert_indirect_indexing": device == "cpu",
                    **without_executable_stack(model),
                    **settings,
                },
            )
        except Exception as problem:  # torch.export and inductor have no common error
            failure = _explained(problem, remedy)
            failure.__cause__ = problem
    if failure is not None:  # out here: torch would print where it has kept what is removed
        raise failure
    return content.getvalue()


def _exported(
    model: torch.nn.Module,
    outputs: list[str],
    *,
    device: str,
    data: AtomicDataDict.Type,
    kernels: str = "",
) -> torch.export.ExportedProgram:
    """The steps of nequip's ``aot_export_model`` up to the compilation.

    That function loads what it has compiled into the same process, where torch's loader crashed
    for GPU files. Nothing is loaded here; see ``finished.py``.
    """
    check_pt2_compile_compatibility()
    torch._dynamo.reset()
    data = {key: data[key].to(device) for key in INPUTS}
    listed = prepare_model_for_compile(ListInputOutputWrapper(model, INPUTS, outputs), device)
    if device == "cuda":
        if kernels == "triton":
            _run_once(listed, _of_realistic_size(data, n_edges=_EDGES_EAGERLY))
        data = _of_realistic_size(data, n_edges=_EDGES_ON_GPU)
    sizes = {
        "graph": torch.export.Dim.STATIC,
        "node": torch.export.Dim("num_nodes", min=2),
        "edge": torch.export.Dim("num_edges", min=2),
    }
    graph = nequip_make_fx(model=listed, data=data, fields=INPUTS, seed=1)
    if kernels:
        names = [node.target for node in graph.graph.nodes if node.op == "placeholder"]
        edge_index = names[INPUTS.index(AtomicDataDict.EDGE_INDEX_KEY)]
        replace_sums = sum_sorted_edges if kernels == "triton" else sum_channels
        graph = replace_sums(graph, edge_index)
    return torch.export.export(
        graph,
        tuple(data.values()),
        dynamic_shapes=get_dynamic_shapes(INPUTS, sizes),
    )


def _run_once(model: torch.nn.Module, data: AtomicDataDict.Type) -> None:
    """Run a model with our own kernels once, so that they find their fastest configurations."""
    # A GPU with too little memory keeps the default configurations.
    with suppress(torch.OutOfMemoryError):
        model(*(data[key].clone() for key in INPUTS))
    torch.cuda.empty_cache()


def _of_realistic_size(data: AtomicDataDict.Type, *, n_edges: int) -> AtomicDataDict.Type:
    """Copies of a block, together as large as a block on a GPU, for timing kernels."""
    index = data[AtomicDataDict.EDGE_INDEX_KEY]
    times = max(1, n_edges // index.shape[1])
    shift = len(data[AtomicDataDict.ATOM_TYPE_KEY]) * torch.arange(times, device=index.device)
    repeated = {key: value.repeat(times, *[1] * (value.dim() - 1)) for key, value in data.items()}
    index = index.repeat(1, times) + shift.repeat_interleave(index.shape[1])
    return repeated | {AtomicDataDict.EDGE_INDEX_KEY: index}


def without_executable_stack(model: torch.nn.Module) -> dict[str, bool]:
    """Settings of Inductor for a library that needs no executable stack, if it is not too large.

    Inductor puts weights in through an assembly file that does not declare its stack, so the linker
    marks the whole library as needing an executable one, which glibc >= 2.41 refuses to load.
    Weights in C++ source avoid that.
    """
    name = "use_consts_asm_build"
    n_bytes = sum(p.nbytes for p in [*model.parameters(), *model.buffers()])
    if n_bytes > _MAX_WEIGHTS_IN_CPP or not hasattr(torch._inductor.config.aot_inductor, name):
        return {}
    return {f"aot_inductor.{name}": False}


def _explained(problem: Exception, remedy: str) -> LegatoError:
    text = str(problem)
    full = full_disk(text)
    if full is not None:
        return full
    errors = [line.strip() for line in text.splitlines() if "error:" in line]
    reason = f"{one_line(problem)}: {errors[0]}" if errors else one_line(problem)
    return LegatoError(f"AOTInductor cannot compile the model ({reason}); {remedy}")


def load_energy_model(path: Path) -> Callable[..., Any]:
    """Load the energy-only model of an AOTInductor file: dictionary of inputs -> (n, 1) eV."""
    compiled = _loaded(path, model_name=ENERGY_MODEL)
    return lambda inputs: compiled(*(inputs[key] for key in INPUTS))[0]


def load_deployed(path: Path, *, device: str) -> Callable[..., Any]:
    """Load a deployed file as LAMMPS would.

    Returns:
        Function: dictionary of inputs -> dictionary of outputs.
    """
    if path.name.endswith(".nequip.pth"):
        # not by its name, which may hold bytes that are not text
        with _without_deprecations(), path.open("rb") as content:
            return torch.jit.freeze(torch.jit.load(content, map_location=device).eval())
    compiled = _loaded(path)
    return lambda inputs: dict(
        zip(OUTPUTS, compiled(*(inputs[key] for key in INPUTS)), strict=True)
    )


def _loaded(path: Path, *, model_name: str = "model") -> Callable[..., Any]:
    """A model of a package, as a function.

    torch unpacks the file and removes the files when the model is deleted, which a killed process
    never does. So we unpack into our own folder and remove it at once; except on GPUs, whose
    kernels are read when they are first used.
    """
    share_standard_library()
    with _without_deprecations(), ExitStack() as stack:
        if not torch.cuda.is_available():
            folder = scratch_folder("nequip-deploy-", Path(tempfile.gettempdir()))
            own = stack.enter_context(folder)
            stack.enter_context(environment_variable("TMPDIR", str(own)))
        return load_package(str(path), model_name=model_name)
