"""Evaluations of energies and forces in one process, all ways of evaluating in turn.

    python evaluate.py JOB.json        one process, its threads pinned by the caller

Each repeat goes once through all cases, so that disturbances affect all of them alike. Times are
wall-clock seconds, and processor seconds of all threads of this process, which do not include other
programs.
"""

import json
import resource
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from clocks import OtherPrograms
from models import POSITION_INPUTS, static_inputs
from nequip.data import AtomicDataDict
from structures import Periodic, ammonia, start

from nequip_legato.deploy.target import INPUTS
from nequip_legato.files import write_atomically
from nequip_legato.native.engine import load_binding

__all__ = ["Case", "main"]


class Case:
    """One way of evaluating one structure.

    Args:
        name: as in the tables.
        file: compiled model.
        repeat: of the box of 432 atoms, three numbers.
        threads: threads of torch, or number of blocks at the same time.
        block: centers in a block.
    """

    def __init__(self, *, name: str, file: str, repeat: list[int], threads: int, block: int = 0):
        self.settings = {"name": name, "repeat": repeat, "threads": threads, "block": block}
        self.file = file
        self.threads = threads
        self.block = block
        self.system = _system(tuple(repeat))
        self.settings["atoms"] = self.system.n_atoms
        self.engine = None
        self.call: Callable[[], tuple[float, np.ndarray]] = getattr(
            self, "_" + name.split(":")[0]
        )()

    def run(self) -> dict:
        """Evaluate once; returns times and other results."""
        torch.set_num_threads(self.threads if self.engine is None else 1)
        inside = self.engine.model_seconds() if self.engine else 0.0
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        others, wall, cpu = OtherPrograms(), time.perf_counter(), time.process_time()
        energy, _ = self.call()
        row = self.settings | {
            "wall": time.perf_counter() - wall,
            "cpu": time.process_time() - cpu,
            "energy": energy,
            "faults": resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults,
        }
        row["others"] = others.cores(row["cpu"])
        if self.engine:
            row["model"] = self.engine.model_seconds() - inside
            row["engine"] = self.in_engine
        return row

    def _blocks(self, with_forces: bool = True):
        system = self.system
        self.engine = load_binding().Engine(self.file, threads=self.threads, block=self.block)
        types = system.types[system.owner].astype(np.int32)
        neighbor = system.neighbor.astype(np.int32)

        def call():
            begin = time.process_time()
            # LAMMPS needs per-atom virials only on some steps
            result = self.engine.compute(
                system.positions,
                types,
                system.offsets,
                neighbor,
                with_forces,
                with_atomic_virials=False,
            )
            self.in_engine = time.process_time() - begin  # without adding up images in numpy
            if not with_forces:
                return result["energy"], None
            return result["energy"], self._on_owners(result["forces"])

        return call

    def _energy(self):
        return self._blocks(with_forces=False)

    def _whole(self):
        """All atoms at once from positions, with ghosts, as in ``pair_allegro``."""
        data = self.system.by_positions()
        if self.file.endswith(".pth"):
            module = torch.jit.freeze(torch.jit.load(self.file).eval())

            def model(data):
                # as in pair_allegro and our style, because shapes change
                with torch.jit.optimized_execution(False):
                    return module(data)
        else:
            compiled = torch._inductor.aoti_load_package(self.file)

            def model(data):
                energies, forces, _ = compiled(*(data[key] for key in POSITION_INPUTS))
                return {"atomic_energy": energies, "forces": forces}

        def call():
            copied = {key: value.clone() for key, value in data.items()}
            result = model(copied)
            energy = result["atomic_energy"][: self.system.n_atoms].sum()
            return float(energy), self._on_owners(result["forces"].detach().numpy())

        return call

    def _ase(self):
        """Nequip's own calculator with the TorchScript file, including its neighbor list."""
        from nequip.integrations.ase import NequIPCalculator

        atoms = start().repeat(self.settings["repeat"])
        names = {"H": "H", "N": "N"}
        atoms.calc = NequIPCalculator.from_compiled_model(
            self.file, device="cpu", chemical_species_to_atom_type_map=names
        )

        def call():
            atoms.calc.results = {}
            return atoms.get_potential_energy(), atoms.get_forces()

        return call

    def _static(self):
        """Blocks of a fixed shape: the first block, padded, is evaluated for all blocks."""
        compiled = torch._inductor.aoti_load_package(self.file)
        data = static_inputs(self.system, self.block)
        inputs = [data[key] for key in INPUTS]
        self.settings["padding"] = data[AtomicDataDict.EDGE_INDEX_KEY].shape[1] / (
            self.block * self.system.neighbors_per_atom
        )
        n_blocks = self.system.n_atoms // self.block
        # compared per atom: the atoms are those of whole blocks
        self.settings["atoms"] = n_blocks * self.block

        def call():
            for _ in range(n_blocks):
                result = compiled(*(value.clone() for value in inputs))
            return float(result[0][: self.block].sum()), None

        return call

    def _dynamic(self):
        """As `_static`, but with a file for any shape, without padding."""
        compiled = torch._inductor.aoti_load_package(self.file)
        data = self.system.block(0, self.block)
        inputs = [data[key] for key in INPUTS]
        n_blocks = self.system.n_atoms // self.block
        self.settings["atoms"] = n_blocks * self.block

        def call():
            for _ in range(n_blocks):
                result = compiled(*(value.clone() for value in inputs))
            return float(result[0][: self.block].sum()), None

        return call

    def _on_owners(self, forces: np.ndarray) -> np.ndarray:
        total = np.zeros((self.system.n_atoms, 3))
        np.add.at(total, self.system.owner, forces)
        return total


_SYSTEMS: dict[tuple, Periodic] = {}


def _system(repeat: tuple) -> Periodic:
    if repeat not in _SYSTEMS:
        _SYSTEMS[repeat] = ammonia(repeat)
    return _SYSTEMS[repeat]


def main(path: Path) -> None:
    """Do a job: {"cases": [...], "repeats": n, "compare": bool, "out": file}."""
    warnings.simplefilter("ignore")
    job = json.loads(path.read_text())
    cases = [Case(**case) for case in job["cases"]]
    rows = []
    for case in cases:  # a first evaluation that is not timed, to compare forces
        _, forces = case.call()
        case.forces = forces
    if job.get("compare"):
        for case in cases:
            same = [c for c in cases if c.system is case.system and c.forces is not None]
            if case.forces is not None:
                difference = float(np.abs(case.forces - same[0].forces).max())
                case.settings["force_difference"] = difference
    for repeat in range(job["repeats"]):
        for case in cases:
            row = case.run() | {"repeat": repeat}
            rows.append(row)
            cpu, wall = (1e6 * row[clock] / row["atoms"] for clock in ("cpu", "wall"))
            print(
                f"  {row['name']:20s} {row['atoms']:6d} atoms, {row['threads']} threads, block "
                f"{row['block']:4d}: {cpu:7.1f} us per atom cpu, {wall:7.1f} wall",
                flush=True,
            )
        write_atomically(Path(job["out"]), json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
