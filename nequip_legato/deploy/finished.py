"""Checking a finished file by the engine that LAMMPS uses, in a process of its own.

Compiled code can crash, hang, or be wrong, and torch's loader has crashed in the process that had
compiled. None of that may end a deployment without an explanation, or leave a file that LAMMPS
cannot run: every such failure becomes one line that says what happened.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from nequip_legato.deploy.blocks import Sums
from nequip_legato.deploy.check import Deviations, Reference, judge, judge_energies
from nequip_legato.deploy.check_process import FRAME, REFUSED, STAGE
from nequip_legato.errors import LegatoError
from nequip_legato.files import scratch_folder
from nequip_legato.native import builder
from nequip_legato.native.linkage import readable

__all__ = ["CHECK_LIMIT", "LARGEST_BLOCKS", "FinishedFile", "check_finished", "find_engine"]

CHECK_LIMIT = 600.0
"""Default time limit of the check, s."""
LARGEST_BLOCKS = {"cpu": 64, "cuda": 32768}
"""Atoms of the largest block that the engine chooses, as in lammps_plugin/core/block_size.h."""

# Uneven on purpose: single centers, and a size that does not divide the number of atoms.
_SMALL_BLOCKS = (1, 7)
_FEW_ATOMS = 512  # small blocks of larger structures take long and test nothing new
_ARRAYS = ("positions", "types", "edge_index", "displacements", "cutoffs")


@dataclass(frozen=True)
class FinishedFile:
    """A deployed file before it gets its name.

    Attributes:
        path: where it is now.
        device: where it is to run, ``cpu`` or ``cuda``.
        dtype: ``float32`` or ``float64``.
        cutoffs: (T, T), Angstrom.
        remedy: what a user may change if it does not work.
        energy_model: whether it holds a second model, for energies alone.
    """

    path: Path
    device: str
    dtype: str
    cutoffs: torch.Tensor
    remedy: str
    energy_model: bool = False


def find_engine(report: Callable[[str], None]) -> Path | None:
    """The compiled engine, built if it is not there.

    Building takes a C++ compiler and CMake. Without them, that is reported, and the check uses
    torch's own loader (None), so that a file for another machine can still be made.
    """
    try:
        return builder.ensure(builder.binding())
    except LegatoError as problem:
        reason = str(problem).partition(";")[0]
        report(
            f"note: the engine of LAMMPS cannot be built here ({reason}); the finished file will "
            "be checked by torch's own loader instead"
        )
        return None


def check_finished(
    file: FinishedFile,
    references: Sequence[Reference],
    *,
    engine: Path | None,
    limit: float = CHECK_LIMIT,
) -> Deviations:
    """Evaluate a file in a process of its own, and compare with the eager model.

    Blocks have 1 and 7 atoms, and as many as the engine chooses: 64 on the CPU; on a GPU 2,048 and
    then up to 32,768, as memory allows. For those the largest structure is repeated.

    Args:
        file: what to check.
        references: structures and what they should give.
        engine: the compiled engine, or None for torch's own loader.
        limit: seconds until a check counts as hanging.

    Raises:
        LegatoError: if the file crashes, hangs, cannot be used, or gives other numbers.
    """
    cases = _cases(references, LARGEST_BLOCKS[file.device])
    request = {
        "model": str(file.path.absolute()),
        "device": file.device,
        "engine": None if engine is None else str(engine),
        "energy_model": file.energy_model and file.path.name.endswith(".pt2"),
        "automatic": LARGEST_BLOCKS[file.device],
        "arrays": _ARRAYS,
        "structures": len(references),
        "cases": cases,
    }
    results = _run(file, request, [_arrays(r, file.cutoffs) for r in references], limit)
    found, alone = [], []
    for number, case in enumerate(cases):
        reference = _repeated(references[case["structure"]], case["copies"])
        alone.append((reference, torch.as_tensor(results[f"{number} 0 alone"])))
        for turn in range(2):
            if f"{number} {turn} forces" in results:
                found.append((reference, _sums(results, f"{number} {turn}")))
    words = {"what": "the deployed file", "dtype": file.dtype, "remedy": file.remedy}
    judge_energies(alone, **words)
    deviations = judge(found, cutoffs=file.cutoffs, **words)
    return Deviations(**{**vars(deviations), "n_frames": len(references)})


def _cases(references: Sequence[Reference], largest_block: int) -> list[dict]:
    """What to evaluate, sorted so that cases with the same block size share a loaded model."""
    sizes = [reference.frame.n_atoms for reference in references]
    largest = max(range(len(sizes)), key=lambda k: references[k].frame.n_edges)
    enough = -(-largest_block // sizes[largest])
    cases = [{"structure": largest, "copies": enough, "block": None}]
    cases += [{"structure": k, "copies": 1, "block": None} for k in range(len(sizes))]
    for block in _SMALL_BLOCKS:
        few = [k for k in range(len(sizes)) if sizes[k] <= _FEW_ATOMS]
        cases += [{"structure": k, "copies": 1, "block": block} for k in few]
    return cases


def _arrays(reference: Reference, cutoffs: torch.Tensor) -> dict[str, np.ndarray]:
    frame = reference.frame
    displacements = torch.zeros(frame.n_edges, 3, dtype=torch.float64)
    if frame.cell is not None and frame.shifts is not None:
        displacements = frame.shifts @ frame.cell
    tensors = (frame.positions, frame.types, frame.edge_index, displacements, cutoffs)
    return {name: t.cpu().numpy() for name, t in zip(_ARRAYS, tensors, strict=True)}


def _repeated(reference: Reference, count: int) -> Reference:
    sums = reference.sums
    many = Sums(
        sums.energies.repeat(count), sums.forces.repeat(count, 1), (count * sums.virial).clone()
    )
    return Reference(reference.frame, many)


def _sums(results: dict[str, np.ndarray], name: str) -> Sums:
    xx, yy, zz, xy, xz, yz = results[f"{name} virial"]
    virial = torch.tensor([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]], dtype=torch.float64)
    energies, forces = (torch.as_tensor(results[f"{name} {k}"]) for k in ("energies", "forces"))
    return Sums(energies, forces, virial)


def _run(
    file: FinishedFile, request: dict, structures: Sequence[dict[str, np.ndarray]], limit: float
) -> dict[str, np.ndarray]:
    command = [sys.executable, "-m", "nequip_legato.deploy.check_process", "."]
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()  # the other process needs that memory
    # A prefix of its own: making a scratch folder removes abandoned ones with the same prefix.
    with scratch_folder("nequip-check-", Path(tempfile.gettempdir())) as folder:
        (folder / "request.json").write_text(json.dumps(request))
        named = {f"{k} {n}": a for k, arrays in enumerate(structures) for n, a in arrays.items()}
        np.savez(folder / "structures.npz", **named)  # type: ignore[arg-type]
        try:
            # In the temporary folder: there torch's loader unpacks, so nothing is left after a
            # crash, and no file of the user can hide a Python module.
            done = subprocess.run(
                command,
                cwd=folder,
                env=_environment(folder),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=limit,
                check=False,
            )
        except subprocess.TimeoutExpired as problem:
            printed = (problem.stdout or b"").decode(errors="replace")
            raise LegatoError(
                f"the deployed file gave no result within {limit:g} s, {_stage(printed)}; nothing "
                f"was written; give it more time with --check-limit, or {file.remedy}"
            ) from problem
        if done.returncode == 0:
            with np.load(folder / "results.npz") as stored:
                return dict(stored)
    raise _failure(file, done)


def _environment(folder: Path) -> dict[str, str]:
    paths = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    absolute = os.pathsep.join(os.path.abspath(p) for p in paths)
    return {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": absolute}


def _stage(stdout: str) -> str:
    stages = [line.removeprefix(STAGE) for line in stdout.splitlines() if line.startswith(STAGE)]
    return f"while {stages[-1]}" if stages else "before it was loaded"


def _failure(file: FinishedFile, done: subprocess.CompletedProcess) -> LegatoError:
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    last_line = lines[-1].replace(str(file.path.absolute()), file.path.name) if lines else ""
    if "executable stack" in last_line:
        return LegatoError(
            "the model is so large that its library needs an executable stack, which glibc >= 2.41 "
            "refuses; set GLIBC_TUNABLES=glibc.rtld.execstack=2, here and where LAMMPS runs"
        )
    stage = _stage(done.stdout)
    if done.returncode == REFUSED:
        happened = f"the deployed file cannot be used, {stage}: {last_line}"
    elif done.returncode < 0:
        number = -done.returncode
        name = signal.Signals(number).name if number in set(signal.Signals) else str(number)
        text = signal.strsignal(number) or "signal"
        memory = "; out of memory?" if name == "SIGKILL" else ""
        happened = f"the deployed file crashed ({name}: {text}{memory}), {stage}{_place(lines)}"
    else:
        happened = f"the check of the deployed file ended with status {done.returncode}, {stage}"
        happened += f" ({last_line})" if last_line else ""
    return LegatoError(f"{happened}; nothing was written; {file.remedy}")


def _place(lines: list[str]) -> str:
    """The innermost named functions of a crash, if they were reported."""
    frames = [line.removeprefix(FRAME) for line in lines if line.startswith(FRAME)]
    shown = []
    for frame in frames:
        library, _, place = frame.partition("(")
        symbol = place.partition("+")[0].partition(")")[0]
        if symbol:
            shown.append(f"{readable(symbol).partition('(')[0]} of {Path(library).name}")
    return f", in {', called by '.join(shown[:3])}" if shown else ""
