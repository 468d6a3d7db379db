"""Compiling our CPU kernels for the sizes of one model, so that AOTInductor links them."""

import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch._inductor import config as inductor

from nequip_legato.deploy.compiling import environment_variable, full_disk
from nequip_legato.deploy.on_cpu import Bessel, Channels, Product
from nequip_legato.errors import LegatoError
from nequip_legato.kernels.cpu_operators import SHIMS
from nequip_legato.native.installed import find_torch

__all__ = ["KernelSizes", "can_link_kernels", "linked_kernels", "sizes_of"]

_SOURCE = Path(__file__).parents[1] / "kernels" / "cpu" / "shims.cpp"
_NAME = "nequip_legato_edges"
_FLAGS = ["-std=c++17", "-O3", "-fPIC", "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math"]
_REAL = {"float32": "float", "float64": "double"}


def can_link_kernels() -> bool:
    """Whether this torch can link kernels of others into the library of a model."""
    return hasattr(inductor.aot_inductor, "custom_ops_to_c_shims")


@dataclass
class KernelSizes:
    """Sizes of the arrays that kernels are compiled for.

    Attributes:
        products: channels, components before and components after.
        channels: channels, components and irreps.
        bessels: numbers of radial functions.
    """

    products: set[tuple[int, int, int]] = field(default_factory=set)
    channels: set[tuple[int, int, int]] = field(default_factory=set)
    bessels: set[int] = field(default_factory=set)


def sizes_of(model: torch.nn.Module) -> KernelSizes:
    """The sizes that a model needs, after ``use_cpu_kernels``."""
    sizes = KernelSizes()
    for module in model.modules():
        if isinstance(module, Product):
            sizes.products.add((module.old.mul, module.old.dim1, module.old.dim_out))
        elif isinstance(module, Channels):
            irreps = module.sizes
            sizes.channels.add((module.weight_numel // len(irreps), sum(irreps), len(irreps)))
        elif isinstance(module, Bessel):
            sizes.bessels.add(module.count)
    return sizes


@contextmanager
def linked_kernels(sizes: KernelSizes, folder: Path, *, dtype: str) -> Iterator[dict[str, Any]]:
    """Compile kernels.

    Args:
        sizes: what for.
        folder: for the library; it has to stay as long as Inductor links.
        dtype: of the model, ``float32`` or ``float64``.

    Yields:
        Settings of Inductor with which it links them.

    Raises:
        LegatoError: if they cannot be compiled.
    """
    _compile(_definitions(sizes, dtype), folder / f"lib{_NAME}.a")
    # Compilers look there too, and Inductor has no setting for it.
    before = os.environ.get("LIBRARY_PATH")
    paths = os.pathsep.join([str(folder), *([before] if before else [])])
    with environment_variable("LIBRARY_PATH", paths):
        yield {
            "aot_inductor.custom_ops_to_c_shims": SHIMS,
            "aot_inductor.custom_op_libs": [_NAME],
        }


def _definitions(sizes: KernelSizes, dtype: str) -> list[str]:
    """Macros of ``shims.cpp``."""
    return [
        f"-DLEGATO_REAL={_REAL[dtype]}",
        f"-DLEGATO_PRODUCTS={_each(sizes.products)}",
        f"-DLEGATO_CHANNELS={_each(sizes.channels)}",
        f"-DLEGATO_BESSELS={_each((count,) for count in sizes.bessels)}",
    ]


def _each(sizes: Iterable[tuple[int, ...]]) -> str:
    return " ".join(f"DO({', '.join(map(str, one))})" for one in sorted(sizes))


def _compile(definitions: list[str], target: Path) -> None:
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.cpu_vec_isa import pick_vec_isa

    command = [get_cpp_compiler(), *_FLAGS, "-w", *pick_vec_isa().build_arch_flags().split()]
    command += [f"-I{find_torch().folder / 'include'}", *definitions]
    command += ["-c", str(_SOURCE), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        full = full_disk(done.stderr)
        if full is not None:
            raise full
        errors = [line for line in done.stderr.splitlines() if "error" in line]
        reason = errors[0] if errors else f"status {done.returncode}"
        raise LegatoError(f"our kernels cannot be compiled ({reason}); deploy with --kernels off")
