"""Compiles the Triton kernels for an H100, which needs neither a GPU nor a driver."""

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import triton
from triton.backends import nvidia
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from nequip_legato.kernels import centers, networks

SMALL_PRODUCTS = [(8, 4, 4), (8, 4, 1)]
MEDIUM_PRODUCTS = [(32, 9, 9), (32, 9, 1)]
NETWORKS = [(32, 64, 32), (40, 64, 48), (72, 64, 32), (96, 32, 1), (192, 32, 1)]
_LIMIT = re.compile(r"REG:(\d+) STACK:(\d+)")


def resources() -> dict[str, dict[str, int]]:
    """Name of kernel, sizes and configuration -> registers a thread, and bytes spilled."""
    found = {}
    for u, i, k in SMALL_PRODUCTS + MEDIUM_PRODUCTS:
        tile = centers._tile(u, i, k)
        sizes = {"U": u, "I": i, "K": k, **tile}
        for config in centers._by_center(tile):
            there = _compiled(centers._product_kernel, "x matrix out", "starts", sizes, config)
            found[f"product {u} {i} {k} {config}"] = there
            kernel = centers._product_backward_kernel
            back = _compiled(kernel, "g x matrix by_x by_matrix", "starts", sizes, config)
            found[f"product backward {u} {i} {k} {config}"] = back
    for k, h, o in NETWORKS:
        oa, ob = networks._split(o)
        ka, kb = networks._split(k)
        forward = networks._sizes(k, h, o) | {"OA": oa, "OB": ob, "PRECISION": "tf32x3"}
        backward = networks._sizes(k, h, o) | {
            **{"OC": networks._chunk(o), "KA": ka, "KB": kb, "PRECISION": "tf32x3"}
        }
        for config in networks._ROWS:
            there = _compiled(networks._network_kernel, "x w1 w2 y", "", forward, config)
            found[f"network {k} {h} {o} {config}"] = there
            back = _compiled(
                networks._network_backward_kernel, "x gy w1 w2 gx", "", backward, config
            )
            found[f"backward {k} {h} {o} {config}"] = back
    return found


def _compiled(
    kernel: Any, floats: str, integers: str, constants: dict[str, Any], config: Any
) -> dict[str, int]:
    constants = constants | config.kwargs
    pointers = dict.fromkeys(floats.split(), "*fp32") | dict.fromkeys(integers.split(), "*i64")
    names = kernel.arg_names
    types = {n: pointers.get(n, "constexpr" if n in constants else "i32") for n in names}
    aligned = {(names.index(n),): [["tt.divisibility", 16]] for n in pointers}
    source = ASTSource(kernel, types, {(names.index(n),): v for n, v in constants.items()}, aligned)
    options = {"num_warps": config.num_warps, "num_stages": config.num_stages}
    done = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(done.asm["cubin"])
        file.flush()
        program = Path(nvidia.__file__).parent / "bin" / "cuobjdump"
        shown = subprocess.run(
            [program, "-res-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
    registers, stack = _LIMIT.search(shown).groups()
    return {"registers": int(registers), "spilled": int(stack)}
