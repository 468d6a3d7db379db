"""Prediction of MD on thousands of GPUs from one; docs/scaling.md has the formulas.

    python scaling_model.py            measures the inputs, writes results/scaling.{json,md,png}
    python scaling_model.py --only predict     from results/scaling_inputs.json

Measured here: numbers of ghosts in LAMMPS, fluctuation of the number of atoms in a subdomain.
Measured on one GPU (benchmarks/gpu): time per atom and fixed time per step. Assumed: everything
about networks.
"""

import argparse
import json
import math
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import matplotlib
import numpy as np
from lammps_runs import LMP

from nequip_legato.files import write_atomically

matplotlib.use("Agg")
import matplotlib.pyplot as plt

__all__ = ["Inputs", "Machine", "ghosts", "predict", "step"]

HERE = Path(__file__).parent.absolute()
NH3 = HERE.parents[1] / "examples" / "nh3" / "data"
BYTES = 3 * 8  # a position or a force
CUTOFF, SKIN = 4.5, 1.0
INPUTS = {
    "density": "atoms per Å³",
    "halo": "cutoff plus skin, Å",
    "fluctuation": "variance over mean of the number of atoms in a subdomain",
    "time_per_atom": "time of a GPU per atom and step, s",
    "fixed": "time per step that does not depend on the number of atoms, s",
    "latency": "one message between GPUs, s",
    "bandwidth": "of a GPU into the network, bytes per second",
    "reduction": "one stage of a global sum, s",
}


@dataclass(frozen=True)
class Inputs:
    """Properties of the system.

    Attributes:
        density: atoms per A^3.
        halo: cutoff plus skin, A.
        fluctuation: variance over mean of the number of atoms in a subdomain.
    """

    density: float
    halo: float
    fluctuation: float


@dataclass(frozen=True)
class Machine:
    """One GPU, as measured on an H200 with the small model, and assumptions about the network.

    Attributes:
        time_per_atom: time of a step for each atom at full load, s.
        fixed: time of a step that does not depend on the number of atoms, s: kernel launches.
        latency: of one message between GPUs, s, including packing kernels.
        bandwidth: of a GPU into the network, bytes per second.
        reduction: time of one stage of a global sum, s.
    """

    time_per_atom: float = 4.0e-7
    fixed: float = 1e-3
    latency: float = 2e-5
    bandwidth: float = 2e10
    reduction: float = 1e-5


def ghosts(n: float, inputs: Inputs) -> float:
    """Ghosts in the halo of a cubic subdomain of ``n`` atoms: rho ((L + 2h)^3 - L^3)."""
    side = (n / inputs.density) ** (1 / 3)
    return inputs.density * ((side + 2 * inputs.halo) ** 3 - side**3)


def step(n: float, ranks: int, inputs: Inputs, machine: Machine) -> dict[str, float]:
    """Seconds of the parts of a step with ``n`` atoms per GPU on average.

    Returns:
        ``model``, ``imbalance`` (the fullest GPU beyond the average), ``fixed``, ``halo``
        (positions out, forces back), ``reduction`` (the thermostat's global sums), and their sum
        ``total``.
    """
    # Largest of P Gaussian numbers: about sqrt(2 ln P) standard deviations above the mean.
    extra = math.sqrt(2 * math.log(ranks) * inputs.fluctuation * n) if ranks > 1 else 0.0
    halo = 0.0
    if ranks > 1:
        side = (n / inputs.density) ** (1 / 3)
        messages = 6 * math.ceil(inputs.halo / side)
        volume = ghosts(n, inputs) * BYTES
        halo = 2 * (messages * machine.latency + volume / machine.bandwidth)
    parts = {
        "model": n * machine.time_per_atom,
        "imbalance": extra * machine.time_per_atom,
        "fixed": machine.fixed,
        "halo": halo,
        "reduction": 2 * math.ceil(math.log2(ranks)) * machine.reduction if ranks > 1 else 0.0,
    }
    return parts | {"total": sum(parts.values())}


def predict(inputs: Inputs, machine: Machine, counts: Sequence[int]) -> dict[str, list[dict]]:
    """Weak scaling at fixed atoms per GPU, and strong scaling at a fixed number of atoms."""
    rows: dict[str, list[dict]] = {"weak": [], "strong": []}
    for n in (1e3, 1e4, 1e5, 1e6):
        alone = step(n, 1, inputs, machine)["total"]
        for ranks in counts:
            parts = step(n, ranks, inputs, machine)
            rows["weak"].append(
                {"atoms_per_gpu": n, "gpus": ranks, "efficiency": alone / parts["total"], **parts}
            )
    for atoms in (1e6, 1e7, 1e8, 1e9):
        for ranks in counts:
            n = atoms / ranks
            if not 10 <= n <= 5e6:  # the upper limit is the memory of LAMMPS' own lists
                continue
            parts = step(n, ranks, inputs, machine)
            ideal = machine.time_per_atom * n
            rows["strong"].append(
                {"atoms": atoms, "gpus": ranks, "efficiency": ideal / parts["total"], **parts}
            )
    return rows


def half_efficiency(inputs: Inputs, machine: Machine, ranks: int = 4096) -> float:
    """Atoms per GPU at which the model takes half of a step: where strong scaling ends."""
    low, high = 1.0, 1e8
    while high / low > 1.001:
        n = math.sqrt(low * high)
        parts = step(n, ranks, inputs, machine)
        low, high = (n, high) if parts["model"] < 0.5 * parts["total"] else (low, n)
    return high


def measure() -> dict:
    """Density, fluctuation, and LAMMPS' numbers of ghosts compared with the formula."""
    from structures import start

    atoms = start()
    density = len(atoms) / atoms.get_volume()
    inputs = Inputs(density, CUTOFF + SKIN, _fluctuation())
    checks = []
    for repeat in (1, 2, 3, 4):
        n = len(atoms) * repeat**3
        checks.append(
            {"atoms": n, "lammps": _ghosts_of_lammps(repeat), "formula": ghosts(n, inputs)}
        )
    return {"inputs": asdict(inputs), "ghosts": checks}


def _ghosts_of_lammps(repeat: int) -> float:
    commands = f"""
units metal
atom_style atomic
read_data {NH3 / "start_432.data"}
replicate {repeat} {repeat} {repeat}
pair_style zero {CUTOFF} full
pair_coeff * *
neighbor {SKIN} bin
run 0
"""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "in.ghosts").write_text(commands)
        done = subprocess.run(
            [LMP, "-in", "in.ghosts", "-log", "none"], cwd=folder, capture_output=True, text=True
        )
    (line,) = (x for x in done.stdout.splitlines() if x.startswith("Nghost:"))
    return float(line.split()[1])


def _fluctuation() -> float:
    """Variance over mean of the number of atoms in half a box, over the training frames.

    Halves of a 64-atom box are smaller than typical subdomains, and their surfaces cut many
    molecules, so this overestimates the fluctuation and with it the imbalance.
    """
    import ase.io

    counts = []
    for atoms in ase.io.read(NH3 / "train.extxyz", "::4"):
        scaled = atoms.get_scaled_positions()
        for axis in range(3):
            inside = int((scaled[:, axis] < 0.5).sum())
            counts.append((inside, len(atoms)))
    inside, total = np.array(counts).T
    # Within a closed box the variance of a half is half of that in an open system.
    return float(np.mean((inside - total / 2) ** 2 / (total / 2)) * 2)


def _plot(rows: dict, path: Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), constrained_layout=True)
    for n in sorted({r["atoms_per_gpu"] for r in rows["weak"]}):
        mine = [r for r in rows["weak"] if r["atoms_per_gpu"] == n]
        axes[0].plot(
            [r["gpus"] for r in mine],
            [r["efficiency"] for r in mine],
            label=f"$10^{round(math.log10(n))}$",
        )
    for n in sorted({r["atoms"] for r in rows["strong"]}):
        mine = [r for r in rows["strong"] if r["atoms"] == n]
        axes[1].plot(
            [r["gpus"] for r in mine],
            [1 / r["total"] for r in mine],
            label=f"$10^{round(math.log10(n))}$",
        )
    axes[0].set(
        xscale="log", xlabel="GPUs", ylabel="efficiency", ylim=(0, 1.05), title="Weak (predicted)"
    )
    axes[1].set(
        xscale="log",
        yscale="log",
        xlabel="GPUs",
        ylabel="steps per second",
        title="Strong (predicted)",
    )
    axes[0].legend(title="atoms per GPU")
    axes[1].legend(title="atoms")
    for a in axes:
        a.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _tables(inputs: Inputs, machine: Machine, rows: dict, checks: list[dict]) -> str:
    lines = ["# Predicted scaling (not measured)", "", "| input | value |", "| --- | ---: |"]
    values = asdict(inputs) | asdict(machine)
    lines += [f"| {said} | {values[name]} |" for name, said in INPUTS.items()]
    lines += ["", "## Ghosts", ""]
    lines += [
        "| atoms | ghosts in LAMMPS | formula | ghosts per atom |",
        "| ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {c['atoms']} | {c['lammps']:.0f} | {c['formula']:.0f} "
        f"| {c['lammps'] / c['atoms']:.2f} |"
        for c in checks
    ]
    parts = ("model", "imbalance", "fixed", "halo", "reduction")
    for kind, name in (("weak", "atoms_per_gpu"), ("strong", "atoms")):
        lines += ["", f"## {kind.capitalize()} scaling", ""]
        head = [
            "atoms per GPU" if kind == "weak" else "atoms",
            "GPUs",
            "steps per second",
            "efficiency",
        ]
        lines += ["| " + " | ".join([*head, *(f"{p} (ms)" for p in parts)]) + " |"]
        lines += ["|" + " ---: |" * (len(head) + len(parts))]
        for r in rows[kind]:
            cells = [f"{r[name]:,.0f}", str(r["gpus"]), f"{1 / r['total']:.3g}"]
            cells += [f"{r['efficiency']:.2f}"]
            cells += [f"{1e3 * r[p]:.3g}" for p in parts]
            lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "## Where strong scaling ends", ""]
    lines += ["Atoms per GPU at which half of the step is not the model's, on 4,096 GPUs:", ""]
    head = ("time per atom (µs)", "fixed time per step (ms)", "atoms per GPU", "steps per second")
    lines += ["| " + " | ".join(head) + " |"]
    lines += ["| ---: | ---: | ---: | ---: |"]
    for time_per_atom in (1.6e-6, 4e-7, 1e-7):
        for fixed in (2.5e-4, 1e-3, 4e-3):
            other = replace(machine, time_per_atom=time_per_atom, fixed=fixed)
            n = half_efficiency(inputs, other)
            rate = 1 / step(n, 4096, inputs, other)["total"]
            lines.append(f"| {1e6 * time_per_atom:g} | {1e3 * fixed:g} | {n:.0f} | {rate:.0f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, predict, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=("measure", "predict"))
    parser.add_argument("--results", type=Path, default=HERE / "results")
    for name, value in asdict(Machine()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=value)
    chosen = parser.parse_args()
    path = chosen.results / "scaling_inputs.json"
    if chosen.only != "predict":
        measured = measure()
        write_atomically(path, json.dumps(measured, indent=1) + "\n")
    if chosen.only == "measure":
        return
    measured = json.loads(path.read_text())
    inputs = Inputs(**measured["inputs"])
    machine = Machine(**{name: getattr(chosen, name) for name in asdict(Machine())})
    rows = predict(inputs, machine, [1, 8, 64, 512, 4096, 16384])
    text = _tables(inputs, machine, rows, measured["ghosts"])
    write_atomically(chosen.results / "scaling.md", text)
    write_atomically(chosen.results / "scaling.json", json.dumps(rows, indent=1) + "\n")
    _plot(rows, chosen.results / "scaling.png")
    print(text)


if __name__ == "__main__":
    main()
