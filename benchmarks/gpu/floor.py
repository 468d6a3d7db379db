"""Lower bounds of the time of an evaluation, from the operations of the deployed graph.

    python floor.py [--out FILE]

Counts, per atom of liquid ammonia, for energy and forces in float32: floating-point operations of
matrix products and of everything else, and bytes. From these, the time on a card of 60 TFLOP/s and
4.3 TB/s, and on one core of this machine, whose rates are measured.
"""

import argparse
import sys
import time
from pathlib import Path

import hydra
import torch
from nequip.utils.global_state import set_global_state
from omegaconf import OmegaConf
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from nequip_legato.deploy.channels import repeat_weights
from nequip_legato.deploy.contraction import contract_centers_first
from nequip_legato.deploy.target import INPUTS
from nequip_legato.files import write_atomically

sys.path.append(str(Path(__file__).absolute().parents[2] / "examples" / "gpu"))
from alone import ammonia_block

__all__ = ["Traffic", "count", "model_of"]

ROOT = Path(__file__).absolute().parents[2]
GPU = {"flops": 60e12, "bytes": 4.3e12}
MEASURED = {"small": 1 / 2.5e6, "medium": 1 / 0.41e6}
"""Seconds per atom and step on an H200, see h200.json."""
CPU_MEASURED = {"small": 56e-6}
"""The same on one core, see benchmarks/md."""
MEDIUM = {
    "r_max": 5.0,
    "l_max": 2,
    "num_scalar_features": 64,
    "num_tensor_features": 32,
    "radial_chemical_embed_dim": 64,
    "scalar_embed_mlp_hidden_layers_width": 128,
    "allegro_mlp_hidden_layers_width": 128,
}
_PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")
_MOVES = ("clone", "copy_", "_to_copy", "cat", "index_select", "index", "stack")


class Traffic(TorchDispatchMode):
    """Adds up the bytes that operations read and write, without fusion.

    Attributes:
        read, written: bytes of all operations.
        flops: floating-point operations of matrix products.
        products: bytes that matrix products read and write.
        others: other floating-point operations, one for each number written.
    """

    def __init__(self) -> None:
        super().__init__()
        self.read = self.written = self.flops = self.products = self.others = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run and count one operation."""
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        inputs = [t for t in torch.utils._pytree.tree_leaves(args) if torch.is_tensor(t)]
        outputs = [t for t in torch.utils._pytree.tree_leaves(result) if torch.is_tensor(t)]
        known = {t.untyped_storage().data_ptr() for t in inputs}
        # a view moves nothing
        new = [t for t in outputs if t.untyped_storage().data_ptr() not in known]
        if not new and not name.endswith("_"):
            return result
        # what is expanded is read once
        read = sum(min(t.numel() * t.element_size(), t.untyped_storage().nbytes()) for t in inputs)
        written = sum(t.numel() * t.element_size() for t in outputs)
        self.read += read
        self.written += written
        if name in _PRODUCTS:
            self.products += read + written
            self.flops += flop_registry[func.overloadpacket](
                *args, **(kwargs or {}), out_val=result
            )
        elif name not in _MOVES:
            self.others += sum(t.numel() for t in outputs if t.is_floating_point())
        return result


def model_of(name: str, *, dtype: str = "float32") -> torch.nn.Module:
    """The deployed graph of the example's model, or of the medium one, with random weights."""
    config = OmegaConf.load(ROOT / "examples" / "nh3" / "train.yaml")
    settings = OmegaConf.to_container(config.training_module.model, resolve=False)
    settings |= {
        "type_names": list(config.type_names),
        "r_max": config.cutoff,
        "model_dtype": dtype,
        "avg_num_neighbors": 38.0,
        "per_type_energy_scales": None,
        "per_type_energy_shifts": None,
        **(MEDIUM if name == "medium" else {}),
    }
    set_global_state()
    built = hydra.utils.instantiate(settings, _recursive_=False)
    model = built["sole_model"] if isinstance(built, torch.nn.ModuleDict) else built
    return repeat_weights(contract_centers_first(model.eval()))


def count(name: str) -> dict[str, float]:
    """Operations and bytes per atom."""
    model = model_of(name)
    cutoff = MEDIUM["r_max"] if name == "medium" else 4.5
    inputs = ammonia_block(1, cutoff, "cpu")
    atoms, edges = len(inputs[2]) - 2, len(inputs[3])
    data = dict(zip(INPUTS, inputs, strict=True))
    traffic = Traffic()
    with traffic:
        model({k: v.clone() for k, v in data.items()})
    return {
        "neighbors": edges / atoms,
        "products": traffic.flops / atoms,
        "others": traffic.others / atoms,
        "read": traffic.read / atoms,
        "written": traffic.written / atoms,
        "product_bytes": traffic.products / atoms,
        # per edge: vector (float64) and two indices in, derivative out
        "compulsory": (24 + 16 + 24) * edges / atoms,
    }


def rates_of_this_core() -> dict[str, float]:
    """Rates of one thread: operations per second (matrix products, others), bytes per second."""
    torch.set_num_threads(1)

    def best(call, work: float) -> float:
        times = []
        for _ in range(7):
            started = time.process_time()
            call()
            times.append(time.process_time() - started)
        return work / min(times)

    a = torch.randn(1024, 1024)
    small, other, result = (torch.randn(16384) for _ in range(3))  # fits into the L2 cache
    large, copy = torch.zeros(2**26), torch.zeros(2**26)

    def many() -> None:
        for _ in range(5000):
            torch.mul(small, other, out=result)

    return {
        "products": best(lambda: torch.mm(a, a), 2.0 * 1024**3),
        "others": best(many, 5000.0 * len(small)),
        "bytes": best(lambda: copy.copy_(large), 8.0 * len(large)),
    }


def tables(counts: dict[str, dict[str, float]], core: dict[str, float]) -> str:
    """The results in Markdown."""
    lines = [
        "| per atom, energy and forces | " + " | ".join(counts) + " |",
        "| --- | ---: | ---: |",
    ]
    rows = (
        ("neighbors", "neighbors", 1.0, ""),
        ("matrix products", "products", 1e-6, " MFLOP"),
        ("other operations", "others", 1e-6, " MFLOP"),
        ("results written, each operation on its own", "written", 1e-6, " MB"),
        ("read, the same", "read", 1e-6, " MB"),
        ("read and written by matrix products", "product_bytes", 1e-6, " MB"),
        ("edges in, derivatives out", "compulsory", 1e-6, " MB"),
    )
    for said, key, unit, name in rows:
        cells = [f"{c[key] * unit:.3g}{name}" for c in counts.values()]
        lines.append(f"| {said} | " + " | ".join(cells) + " |")
    lines += ["", "| floor on the card, µs per atom | " + " | ".join(counts) + " |"]
    lines += ["| --- | ---: | ---: |"]
    floors = (
        ("all arithmetic at 60 TFLOP/s", lambda c: (c["products"] + c["others"]) / GPU["flops"]),
        ("nothing fused, at 4.3 TB/s", lambda c: (c["read"] + c["written"]) / GPU["bytes"]),
        ("matrix products alone move", lambda c: c["product_bytes"] / GPU["bytes"]),
        ("edges in, derivatives out", lambda c: c["compulsory"] / GPU["bytes"]),
    )
    for said, floor in floors:
        lines.append(f"| {said} | " + " | ".join(f"{1e6 * floor(c):.4f}" for c in counts.values()))
        lines[-1] += " |"
    cells = [f"{1e6 * MEASURED[name]:.2f}" for name in counts]
    lines.append("| **measured** | " + " | ".join(cells) + " |")
    lines += [
        "",
        f"One core here: {core['products'] / 1e9:.0f} GFLOP/s in a matrix product, "
        f"{core['others'] / 1e9:.1f} G multiplications/s within the cache, "
        f"{core['bytes'] / 1e9:.1f} GB/s of memory.",
        "",
        "| floor on one core, µs per atom | " + " | ".join(counts) + " |",
        "| --- | ---: | ---: |",
    ]
    for said, floor in (
        ("matrix products", lambda c: c["products"] / core["products"]),
        ("other operations", lambda c: c["others"] / core["others"]),
    ):
        lines.append(f"| {said} | " + " | ".join(f"{1e6 * floor(c):.1f}" for c in counts.values()))
        lines[-1] += " |"
    cells = [f"{1e6 * CPU_MEASURED[n]:.0f}" if n in CPU_MEASURED else "" for n in counts]
    lines.append("| **measured** | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    torch.manual_seed(0)
    text = tables({name: count(name) for name in ("small", "medium")}, rates_of_this_core())
    print(text, end="")
    if chosen.out:
        write_atomically(chosen.out, text)


if __name__ == "__main__":
    main()
