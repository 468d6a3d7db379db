"""GFN1-xTB labels of ammonia frames: computing, checking and summarizing them."""

import contextlib
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.calculator import CalculationFailed, Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.optimize import BFGS
from ase.stress import full_3x3_to_voigt_6_stress
from tqdm import tqdm

__all__ = [
    "LONGEST_BOND",
    "SHORTEST_CONTACT",
    "DataError",
    "check",
    "check_labels",
    "gfn1",
    "has_good_label",
    "is_broken",
    "label",
    "label_all",
    "measure",
    "print_table",
    "read_frames",
]

LONGEST_BOND = 1.5  # A; a frame with a longer N-H bond is broken
SHORTEST_CONTACT = 2.2  # A; nitrogens of two molecules that are closer have bonded
LARGEST_FORCE = 25.0  # eV/A
# Deviations from differences of the energy, in eV/A and eV/A^3. For 64 atoms the stress deviates by
# 1e-6 to 2e-6 at any convergence, and more with smaller steps, so the bounds are not tighter.
LARGEST_DEVIATION = {"forces": 2e-4, "stress": 1e-5}


class DataError(Exception):
    """An error that the user can fix."""


def gfn1() -> Calculator:
    """GFN1-xTB calculator, converged well beyond its defaults."""
    try:
        from tblite.ase import TBLite
    except ImportError as problem:
        raise DataError("tblite is not installed; pip install tblite") from problem
    return TBLite(method="GFN1-xTB", accuracy=0.1, verbosity=0)


def label(atoms: Atoms) -> Atoms:
    """A copy with GFN1-xTB energy (eV), forces (eV/A) and stress (eV/A^3, tension positive)."""
    atoms = atoms.copy()
    atoms.calc = gfn1()
    results = {
        "energy": atoms.get_potential_energy(),
        "forces": atoms.get_forces(),
        "stress": atoms.get_stress(),
    }
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def _label_file(target: Path) -> None:
    """Label the frame in ``target`` with suffix .in; it stays unlabeled if it does not converge."""
    frame = ase.io.read(target.with_suffix(".in"), format="extxyz")
    with contextlib.suppress(CalculationFailed):
        frame = label(frame)
    scratch = target.with_suffix(".tmp")
    ase.io.write(scratch, frame, format="extxyz")
    scratch.rename(target)


def label_all(folder: Path, frames: list[Atoms], jobs: int, title: str) -> list[Atoms]:
    """Label frames in worker processes; labels of the same positions in ``folder`` are reused."""
    folder.mkdir(parents=True, exist_ok=True)
    targets = [folder / f"{i:05d}.extxyz" for i in range(len(frames))]
    waiting = []
    for frame, target in zip(frames, targets, strict=True):
        if target.is_file() and np.array_equal(ase.io.read(target).positions, frame.positions):
            continue
        ase.io.write(target.with_suffix(".in"), frame, format="extxyz")
        waiting.append(target)
    known = len(frames) - len(waiting)
    # not by fork: OpenMP hangs in the copy of a process that has used it
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        work = pool.map(_label_file, waiting)  # an error in one cancels the rest
        for _ in tqdm(work, total=len(frames), initial=known, desc=title):
            pass
    labeled = [ase.io.read(target) for target in targets]
    for frame, origin in zip(labeled, frames, strict=True):
        frame.info.update(origin.info)
        for name in origin.arrays.keys() - {"numbers", "positions"}:
            frame.set_array(name, origin.arrays[name])
    return labeled


def measure(atoms: Atoms) -> dict[str, float]:
    """Distances in A, each hydrogen belonging to the nearest nitrogen.

    Returns:
        ``bond``, the longest N-H distance in a molecule (inf if a nitrogen does not have three
        hydrogens); ``N-H``, ``H-H`` and ``N-N``, the shortest distances between molecules.
    """
    distances = atoms.get_all_distances(mic=True)
    n, h = (np.flatnonzero(atoms.symbols == symbol) for symbol in "NH")
    owner = n[distances[:, n].argmin(axis=1)]
    intact = np.all(np.bincount(owner[h], minlength=len(atoms))[n] == 3)
    between = np.where(owner[:, None] == owner, np.inf, distances)
    return {
        "bond": distances[h, owner[h]].max() if intact else np.inf,
        "N-H": between[np.ix_(n, h)].min(),
        "H-H": between[np.ix_(h, h)].min(),
        "N-N": between[np.ix_(n, n)].min(),
    }


def has_good_label(atoms: Atoms) -> bool:
    """Whether there is a label with finite forces below 25 eV/A."""
    # NaN compares false
    return atoms.calc is not None and bool(np.abs(atoms.get_forces()).max() < LARGEST_FORCE)


def is_broken(atoms: Atoms) -> bool:
    """Whether the label is bad, a molecule is dissociated or two nitrogens have bonded."""
    if not has_good_label(atoms):
        return True
    found = measure(atoms)
    return bool(found["bond"] > LONGEST_BOND or found["N-N"] < SHORTEST_CONTACT)


def read_frames(path: Path) -> list[Atoms]:
    """All frames of an extxyz file; raises DataError if it cannot be read."""
    try:
        frames = ase.io.read(path, ":", format="extxyz")
    except (OSError, ValueError, KeyError, IndexError) as problem:
        raise DataError(f"cannot read frames from {path}: {problem}") from problem
    if not frames:
        raise DataError(f"{path} holds no frames")
    return frames


def check_labels(atoms: Atoms, step: float = 1e-3) -> dict[str, float]:
    """Largest deviations of labels from central differences of the energy.

    Args:
        atoms: a periodic structure; its own labels are checked, or new ones if it has none.
        step: displacement in A, and strain.

    Returns:
        ``forces`` in eV/A over six coordinates, ``stress`` in eV/A^3 over all components.
    """
    labeled = label(atoms) if atoms.calc is None else atoms

    def energy(structure: Atoms) -> float:
        structure.calc = gfn1()
        return structure.get_potential_energy()

    forces = []
    rng = np.random.default_rng(0)
    for _ in range(6):
        i, k = rng.integers(len(atoms)), rng.integers(3)
        sides = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[i, k] += sign * step
            sides.append(energy(moved))
        forces.append(labeled.get_forces()[i, k] + (sides[0] - sides[1]) / (2 * step))
    numerical = np.zeros((3, 3))
    for a in range(3):
        for b in range(a, 3):
            sides = []
            for sign in (1, -1):
                strain = np.eye(3)
                strain[a, b] += 0.5 * sign * step
                strain[b, a] += 0.5 * sign * step
                strained = atoms.copy()
                strained.set_cell(atoms.cell.array @ strain, scale_atoms=True)
                sides.append(energy(strained))
            slope = (sides[0] - sides[1]) / (2 * step) / atoms.get_volume()
            numerical[a, b] = numerical[b, a] = slope
    stress = labeled.get_stress() - full_3x3_to_voigt_6_stress(numerical)
    return {"forces": float(np.abs(forces).max()), "stress": float(np.abs(stress).max())}


def check(path: Path, count: int) -> None:
    """Check the labels of some frames of a file; raises DataError if they deviate."""
    frames = read_frames(path)
    for i in np.linspace(0, len(frames) - 1, min(count, len(frames))).astype(int):
        found = check_labels(frames[i])
        print(f"frame {i}: " + ", ".join(f"{name} {value:.1e}" for name, value in found.items()))
        for name, value in found.items():
            if not value < LARGEST_DEVIATION[name]:
                raise DataError(
                    f"{path}, frame {i}: {name} deviate by {value:.1e} from differences of the "
                    f"energy, more than {LARGEST_DEVIATION[name]:.0e}"
                )


def print_table(frames: list[Atoms]) -> None:
    """Print properties of the frames as a Markdown table, one row for each temperature."""
    if not all("temperature" in frame.info and frame.calc for frame in frames):
        raise DataError("some frames have no labels or no temperature")
    isolated = molecule("NH3")
    isolated.calc = gfn1()
    BFGS(isolated, logfile=None).run(fmax=1e-3)
    reference = isolated.get_potential_energy()
    print(f"isolated molecule: {reference:.4f} eV")
    print("| T (K) | frames | E per molecule (eV) | spread | rms force (eV/A) | largest | ", end="")
    print("pressure (GPa) | longest bond (A) | N-H | H-H | N-N |\n" + "| ---: " * 11 + "|")
    for temperature in sorted({frame.info["temperature"] for frame in frames}):
        mine = [frame for frame in frames if frame.info["temperature"] == temperature]
        energies = [4 * f.get_potential_energy() / len(f) - reference for f in mine]
        forces = np.concatenate([f.get_forces() for f in mine])
        pressure = -np.mean([f.get_stress()[:3] for f in mine]) / units.GPa
        distances = [measure(f) for f in mine]
        bond = max(d["bond"] for d in distances)
        shortest = [min(d[pair] for d in distances) for pair in ("N-H", "H-H", "N-N")]
        cells = [f"{temperature}", f"{len(mine)}", f"{np.mean(energies):.3f}"]
        cells += [f"{np.std(energies):.3f}", f"{np.sqrt(np.mean(forces**2)):.2f}"]
        cells += [f"{np.abs(forces).max():.1f}", f"{pressure:.2f}", f"{bond:.3f}"]
        print("| " + " | ".join([*cells, *(f"{d:.2f}" for d in shortest)]) + " |")
