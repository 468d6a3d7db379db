"""Evaluates a deployed file in a process that `finished.py` starts, so that a crash does no harm.

    python -m nequip_legato.deploy.check_process FOLDER

FOLDER holds ``request.json`` and ``structures.npz``; ``results.npz`` is added. Each stage is
printed before it begins, which tells where a process crashed or hangs. If the file cannot be used,
stderr has one line and the status is 3. The engine is that of LAMMPS, and as in LAMMPS no Python
code of torch takes part.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nequip_legato.errors import LegatoError
from nequip_legato.native.engine import load_compiled

__all__ = ["FRAME", "REFUSED", "STAGE", "main"]

STAGE = "stage: "
FRAME = "frame: "
"""Begins a line on stderr for each function of a crash's stack; see ``crash_report.cpp``."""
REFUSED = 3

Arrays = dict[str, np.ndarray]
Evaluate = Callable[[Arrays, bool], Arrays]


def copies_of(structure: Arrays, count: int) -> Arrays:
    """``count`` copies of a structure without edges between them, as one structure.

    A model depends on edges only, so the copies may be in the same place.

    Args:
        structure: ``positions`` (n, 3) in Angstrom, ``types`` (n,), ``edge_index`` (2, E), and
            ``displacements`` (E, 3) in Angstrom, of the neighbor's image from the neighbor;
            ``cutoffs`` is passed on.
        count: number of copies.
    """
    n = len(structure["types"])
    shifts = n * np.repeat(np.arange(count), structure["edge_index"].shape[1])
    return {
        "positions": np.tile(structure["positions"], (count, 1)),
        "types": np.tile(structure["types"], count),
        "edge_index": np.tile(structure["edge_index"], count) + shifts,
        "displacements": np.tile(structure["displacements"], (count, 1)),
        "cutoffs": structure["cutoffs"],
    }


def engine_evaluator(module: Any, request: dict, block: int | None) -> tuple[Evaluate, Callable]:
    """Functions that evaluate a structure by the engine of LAMMPS, and tell its largest block."""
    engine = module.Engine(request["model"], block=block, device=request["device"])

    def evaluate(structure: Arrays, with_forces: bool) -> Arrays:
        n = len(structure["types"])
        center, neighbor = structure["edge_index"]
        order = np.argsort(center, kind="stable")
        neighbor = neighbor[order]
        # as in LAMMPS, images are atoms of their own: here one for each edge
        images = structure["positions"][neighbor] + structure["displacements"][order]
        result = engine.compute(
            np.concatenate([structure["positions"], images]),
            np.concatenate([structure["types"], structure["types"][neighbor]]),
            np.concatenate([[0], np.cumsum(np.bincount(center, minlength=n))]),
            n + np.arange(len(neighbor)),
            with_forces=with_forces,
            with_atomic_virials=False,
        )
        found = {"energies": result["atomic_energy"][:n]}
        if with_forces:
            forces = result["forces"][:n].copy()
            np.add.at(forces, neighbor, result["forces"][n:])
            found |= {"forces": forces, "virial": result["virial"]}
        return found

    return evaluate, lambda: engine.block


def torch_evaluator(request: dict, block: int | None) -> tuple[Evaluate, Callable]:
    """The same as `engine_evaluator` by torch's own loader, if the engine cannot be built."""
    import torch

    from nequip_legato.deploy.blocks import evaluate_in_blocks
    from nequip_legato.deploy.export import load_deployed, load_energy_model
    from nequip_legato.trained.frames import Frame

    path, device = Path(request["model"]), request["device"]
    whole = load_deployed(path, device=device)
    energy: Any = load_energy_model(path) if request["energy_model"] else None
    size = block or request["automatic"]

    def evaluate(structure: Arrays, with_forces: bool) -> Arrays:
        frame = Frame(
            positions=torch.as_tensor(structure["positions"]),
            cell=torch.eye(3, dtype=torch.float64),
            types=torch.as_tensor(structure["types"]),
            edge_index=torch.as_tensor(structure["edge_index"]),
            shifts=torch.as_tensor(structure["displacements"]),
        )
        cutoffs = torch.as_tensor(structure["cutoffs"])

        def alone(inputs: dict[str, Any]) -> dict[str, Any]:
            no_forces = torch.zeros_like(inputs["edge_vectors"])
            return {"atomic_energy": energy(inputs), "edge_forces": no_forces}

        model = whole if with_forces or energy is None else alone
        sums = evaluate_in_blocks(model, frame, cutoffs=cutoffs, sizes=(size,), device=device)
        virial = sums.virial.numpy()[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
        found = {"energies": sums.energies.numpy()}
        return found | {"forces": sums.forces.numpy(), "virial": virial} if with_forces else found

    return evaluate, lambda: size


def _engine(path: str) -> Any:
    try:
        return load_compiled(Path(path))
    except LegatoError:  # libraries of CUDA that only Python's torch finds
        import torch  # noqa: F401

        return load_compiled(Path(path))


def results_of(request: dict, structures: list[Arrays]) -> Iterator[tuple[str, np.ndarray]]:
    """Name and array of each result, stage by stage."""
    print(f"{STAGE}loading the engine", flush=True)
    module = _engine(request["engine"]) if request["engine"] else None
    if module is not None:
        module.report_crashes()
    evaluators: dict[int | None, tuple[Evaluate, Callable]] = {}
    for number, case in enumerate(request["cases"]):
        block = case["block"]
        if block not in evaluators:
            print(f"{STAGE}loading it", flush=True)
            evaluators.clear()  # keep one model in memory at a time
            evaluators[block] = (
                torch_evaluator(request, block)
                if module is None
                else engine_evaluator(module, request, block)
            )
        evaluate, largest_block = evaluators[block]
        structure = copies_of(structures[case["structure"]], case["copies"])
        # the size that a GPU's memory allows is chosen after the first evaluation
        for turn in range(2 if block is None and request["device"] != "cpu" else 1):
            n = min(largest_block(), len(structure["types"]))
            print(f"{STAGE}evaluating blocks of {n:,} atoms", flush=True)
            for name, array in evaluate(structure, True).items():
                yield f"{number} {turn} {name}", array
        print(f"{STAGE}evaluating energies alone", flush=True)
        yield f"{number} 0 alone", evaluate(structure, False)["energies"]


def main(folder: Path) -> int:
    """Evaluate what the request asks for; returns the exit status."""
    request = json.loads((folder / "request.json").read_text())
    with np.load(folder / "structures.npz") as stored:
        structures = [
            {name: stored[f"{k} {name}"] for name in request["arrays"]}
            for k in range(request["structures"])
        ]
    try:
        results = dict(results_of(request, structures))
    except Exception as problem:  # whatever torch and the model's code raise
        print(" ".join(str(problem).split()) or type(problem).__name__, file=sys.stderr)
        return REFUSED
    np.savez(folder / "results.npz", **results)  # type: ignore[arg-type]
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
