"""Time of a deployed file without LAMMPS: its kernels, and what a CUDA graph would gain.

    python alone.py --out FILE [--device cpu] MODEL...

Each model gets all atoms of an ammonia box as one block. A row has ``model``, ``atoms``, ``edges``,
``seconds`` per evaluation, ``graph_seconds`` as a CUDA graph (or ``graph_error``), and ``kernels``:
name, launches and milliseconds per evaluation by torch's profiler, the longest first.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from runs import START

from nequip_legato.files import write_atomically
from nequip_legato.native.standard_library import share_standard_library

__all__ = ["ammonia_block", "kernel_times", "main"]

PROFILED = 3
"""Evaluations under the profiler."""
SHOWN = 30
"""Kernels in a row; the last one sums up the others."""


def ammonia_block(repeat: int, cutoff: float, device: str):
    """All atoms of the example's box as one block: the inputs of a deployed model in order."""
    import torch
    from ase.io import read
    from matscipy.neighbours import neighbour_list

    style = {"format": "lammps-data", "atom_style": "atomic", "Z_of_type": {1: 1, 2: 7}}
    atoms = read(START, **style).repeat(repeat)
    atoms.pbc = True
    types = torch.as_tensor((atoms.numbers == 7).astype(np.int64))
    center, neighbor, vectors = neighbour_list("ijD", atoms=atoms, cutoff=cutoff)
    n = len(atoms)
    neighbor = torch.as_tensor(neighbor.astype(np.int64))
    edge_index = torch.stack([torch.as_tensor(center.astype(np.int64)), n + types[neighbor]])
    nodes = torch.cat([types, torch.arange(2)])
    inputs = [torch.zeros(n + 2, 3, dtype=torch.float64), edge_index, nodes]
    return [tensor.to(device) for tensor in (*inputs, torch.as_tensor(vectors))]


def loaded(path: Path, device: str) -> Callable:
    """A deployed file as a function of the inputs in order."""
    import torch

    share_standard_library()
    if not path.name.endswith(".pth"):
        return torch._inductor.aoti_load_package(str(path))
    script = torch.jit.load(path, map_location=device)
    names = ("pos", "edge_index", "atom_types", "edge_vectors")
    return lambda inputs: script(dict(zip(names, inputs, strict=True)))


def _synchronize(device: str) -> None:
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def _seconds(call: Callable, calls: int, device: str) -> float:
    for _ in range(3):
        call()
    _synchronize(device)
    started = time.perf_counter()
    for _ in range(calls):
        call()
    _synchronize(device)
    return (time.perf_counter() - started) / calls


def kernel_times(call: Callable, device: str) -> list[dict]:
    """``name``, ``launches`` and ``ms`` per evaluation of everything that runs on the device.

    On a CPU, of torch's operators.
    """
    from torch.profiler import ProfilerActivity, profile

    on_gpu = device == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as found:
        for _ in range(PROFILED):
            call()
        _synchronize(device)
    rows = []
    for event in found.key_averages():
        spent = event.self_device_time_total if on_gpu else event.self_cpu_time_total  # us
        if spent > 0:
            row = {"name": event.key, "launches": event.count / PROFILED}
            rows.append(row | {"ms": spent / 1000 / PROFILED})
    rows.sort(key=lambda row: -row["ms"])
    rest = rows[SHOWN - 1 :]
    if len(rest) > 1:
        sums = {key: sum(row[key] for row in rest) for key in ("launches", "ms")}
        rows[SHOWN - 1 :] = [{"name": f"{len(rest)} others", **sums}]
    return rows


def measured(path: Path, repeat: int, device: str, calls: int) -> Iterator[dict]:
    """A row of the result (see the top of this file), again and again as it grows."""
    import torch

    from nequip_legato import deploy

    row: dict = {"model": path.name, "kernels": []}
    print(f"{path.name}: neighbors of {432 * repeat**3:,} atoms", flush=True)
    inputs = ammonia_block(repeat, float(deploy.info(path).entries["r_max"]), device)
    row |= {"atoms": len(inputs[2]) - 2, "edges": len(inputs[3])}
    print(f"{path.name}: loading", flush=True)
    model = loaded(path, device)
    print(f"{path.name}: evaluating", flush=True)
    row["seconds"] = _seconds(lambda: model(inputs), calls, device)
    yield row
    print(f"{path.name}: profiling", flush=True)
    row["kernels"] = kernel_times(lambda: model(inputs), device)
    yield row
    if device == "cuda":
        print(f"{path.name}: as a CUDA graph", flush=True)
        try:
            captured = torch.cuda.CUDAGraph()
            with torch.cuda.graph(captured):
                model(inputs)
            row["graph_seconds"] = _seconds(captured.replay, calls, device)
        except RuntimeError as problem:
            row["graph_error"] = str(problem).splitlines()[0]
        yield row


def main() -> int:
    """Parse the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=lambda word: Path(word).absolute())
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--repeats", type=int, nargs="+", default=[3, 1], help="432 n^3 atoms")
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"], help="cpu: as a test")
    chosen = parser.parse_args()
    rows: list[dict] = []
    for repeat in chosen.repeats:
        for path in chosen.models:
            row: dict = {}
            for row in measured(path, repeat, chosen.device, chosen.calls):
                write_atomically(chosen.out, json.dumps([*rows, row], indent=2))
            rows.append(row)
            print({key: row[key] for key in row if key != "kernels"}, flush=True)
            for kernel in row["kernels"][:8]:
                times = f"{kernel['ms']:8.3f} ms, {kernel['launches']:5.0f} x"
                print(f"  {times} {kernel['name'][:90]}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
