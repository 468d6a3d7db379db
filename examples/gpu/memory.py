"""The memory that a deployed model takes, so that it can be run with too little.

    python memory.py MODEL DEVICE BLOCK

prints a line of JSON: bytes for evaluating one atom (``base``) and a block of BLOCK atoms
(``peak``). It is a program of its own, because peak memory is that of the whole process.
"""

import json
import subprocess
import sys
from pathlib import Path

__all__ = ["FIRST_BLOCK", "TRIALS", "little_memory", "measured"]

FIRST_BLOCK = 2048
"""Atoms of the first block on a GPU, as in lammps_plugin/core/block_size.h."""
TRIALS = 4


def measured(model: Path, device: str, *, block: int = FIRST_BLOCK) -> dict[str, int]:
    """Bytes that a model takes for one atom (``base``) and for a block (``peak``).

    Raises:
        RuntimeError: if it cannot be evaluated.
    """
    command = [sys.executable, __file__, str(model), device, str(block)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError((done.stderr.strip().splitlines() or ["it crashed"])[-1])
    took: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    if took["peak"] <= took["base"]:
        raise RuntimeError(f"memory was not measured: {took}")
    return took


def little_memory(took: dict[str, int], trial: int) -> float:
    """A memory limit in bytes with which one atom fits and the first block does not.

    What torch counts differs a little from what it reserves, so later trials have less.
    """
    return took["base"] + (took["peak"] - took["base"]) * 0.5 ** (trial + 1)


def _bytes(device: str) -> int:
    """Peak memory of this process: on a GPU what torch has allocated, else all of it."""
    if device == "cpu":
        # ru_maxrss would also count what the process had before exec, its parent's memory.
        status = Path("/proc/self/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    import torch

    return torch.cuda.max_memory_allocated()


def _main(model: str, device: str, block: int) -> None:
    from ase.io import read
    from runs import START

    from nequip_legato.calculator import LegatoCalculator

    style = {"format": "lammps-data", "atom_style": "atomic", "Z_of_type": {1: 1, 2: 7}}
    atoms = read(START, **style)
    atoms.pbc = True
    if device == "cuda":
        import torch

        torch.cuda.init()  # until then torch's Python part counts nothing
    took = {}
    for name, size in (("base", 1), ("peak", block)):
        atoms = atoms if size == 1 else atoms.repeat((-(-size // len(atoms)), 1, 1))
        atoms.calc = LegatoCalculator(model, device=device, block=size)
        atoms.get_forces()
        took[name] = _bytes(device)
    print(json.dumps(took))


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
