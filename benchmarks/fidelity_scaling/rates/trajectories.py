"""NVE trajectories of every model: accuracy, energy drift and structure.

Unlike failures, these results do not depend on the definition of a fence. Units: eV, Angstrom, ps.
"""

import csv
import gzip
import io
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.io.lammpsrun import read_lammps_dump_text
from matscipy.neighbours import neighbour_list
from training import DATA, HERE

from nequip_legato.stability.run.inputs import linked_model
from nequip_legato.stability.run.lammps_process import launch_command

sys.path.insert(0, str(HERE.parents[1] / "examples" / "nh3"))
from nh3_labels import has_good_label, label_all

__all__ = ["RADII", "histograms", "intact", "run"]

RADII = np.linspace(0.5, 4.3, 77)
"""Edges of the bins of radial distribution functions, Angstrom."""

_BOND = 1.6  # the criterion of the campaigns, Angstrom
_INPUT = """units metal
atom_style atomic
read_data {data} nocoeff
pair_style allegro_legato
pair_coeff * * {model} H N
neighbor 1.0 bin
neigh_modify every 1 delay 0 check yes
velocity all create 600 {seed} mom yes rot no dist gaussian
timestep {timestep}
fix integrate all nve
thermo {every}
thermo_style custom step temp pe etotal
thermo_modify lost ignore flush yes format float %.8f
dump all all custom {every} all.dump id type x y z fx fy fz
dump_modify all sort id format float %.8g
run {steps}
"""


def run(
    models: Mapping[str, Path],
    starts: Sequence[Path],
    *,
    folder: Path,
    results: Path,
    masses: Sequence[float],
    settings: Mapping[str, Any],
    workers: int,
) -> None:
    """One trajectory for each model; models of one training seed share start and velocities.

    Writes ``trajectories.csv`` (one row for each model: drift, mean temperature, steps before a
    molecule broke, errors against GFN1-xTB), ``force_errors.npz`` (eV/Angstrom, all components of
    the labeled frames) and ``rdf.csv.gz`` (counts of pairs by distance).

    Args:
        models: name (arm, hyphen, seed) -> deployed file.
        starts: LAMMPS data files of the equilibrated starts.
        folder: where it runs.
        results: where the files go.
        masses: g/mol of H and N.
        settings: ``timestep`` (fs), ``steps``, ``every``, ``labeled``.
        workers: processes at the same time.
    """
    seeds = sorted({name.rpartition("-")[2] for name in models})
    start_of = {seed: starts[k % len(starts)] for k, seed in enumerate(seeds)}

    def dynamics(name: str) -> None:
        seed = name.rpartition("-")[2]
        _dynamics(folder / name, models[name], start_of[seed], int(seed), settings, masses)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(dynamics, models))
    rows, errors, counts = [], {}, []
    for name in models:
        frames = _frames(folder / name)
        good = next((k for k, frame in enumerate(frames) if not intact(frame)), len(frames))
        whole = frames[:good]
        chosen = [whole[k] for k in _spread(good, settings["labeled"])]
        error = _errors(chosen, folder / "labels" / name, workers)
        errors[name] = error.astype(np.float32)
        thermo = _thermo(folder / name)[:good]
        rows.append(
            {
                "model": name,
                "frames": len(frames),
                "intact": good,
                "temperature_K": round(float(thermo[:, 1].mean()), 1),
                "drift_meV_atom_ps": round(_drift(thermo, frames[0], settings["timestep"]), 4),
                "labeled": len(chosen),
                **_accuracy(error),
            }
        )
        counts += [[name, pair, good, *h] for pair, h in histograms(whole).items()]
        print(rows[-1], flush=True)
    reference = _reference()
    counts += [["GFN1-xTB", p, len(reference), *h] for p, h in histograms(reference).items()]
    _write(results, rows, errors, counts)


def _accuracy(error: np.ndarray) -> dict[str, float]:
    """Of the errors of force components, eV/Angstrom, in meV/Angstrom."""
    return {
        "force_rmse_meV_A": round(1000 * float(np.sqrt((error**2).mean())), 2),
        "force_999_meV_A": round(1000 * float(np.quantile(abs(error), 0.999)), 1),
        "force_largest_meV_A": round(1000 * float(abs(error).max()), 1),
    }


def _reference() -> list[Atoms]:
    """Frames of the data at the temperature of the trajectories."""
    return [
        frame
        for part in ("train", "val", "test")
        for frame in ase.io.read(DATA / f"{part}.extxyz", ":")
        if frame.info["temperature"] == 600
    ]


def _write(
    results: Path, rows: list[dict], errors: Mapping[str, np.ndarray], counts: list[list]
) -> None:
    results.mkdir(parents=True, exist_ok=True)
    with (results / "trajectories.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    np.savez_compressed(results / "force_errors.npz", **errors)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(counts)
    (results / "rdf.csv.gz").write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


def _dynamics(
    folder: Path,
    model: Path,
    start: Path,
    seed: int,
    settings: Mapping[str, Any],
    masses: Sequence[float],
) -> None:
    if (folder / "done").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    text = _INPUT.format(
        data=start,
        model=linked_model(str(model), folder),
        seed=seed,
        timestep=settings["timestep"] / 1000,
        every=settings["every"],
        steps=settings["steps"],
    )
    (folder / "in.lammps").write_text(text)
    with (folder / "screen.txt").open("w") as screen:
        # Lost atoms or an energy that is not finite end it; the frames before are used.
        subprocess.run(launch_command([], 1), cwd=folder, stdout=screen, stderr=screen)
    (folder / "done").touch()


def _frames(folder: Path) -> list[Atoms]:
    with (folder / "all.dump").open() as stream:
        frames = read_lammps_dump_text(stream, index=slice(None), specorder=["H", "N"])
    return [frame for frame in frames if np.isfinite(frame.positions).all()]


def _thermo(folder: Path) -> np.ndarray:
    """Step, temperature (K), potential and total energy (eV) of each row."""
    rows = []
    for line in (folder / "log.lammps").read_text().splitlines():
        words = line.split()
        if len(words) == 4 and words[0].isdigit():
            rows.append([float(word) for word in words])
    return np.array(rows)


def _drift(thermo: np.ndarray, frame: Atoms, timestep: float) -> float:
    """Slope of the total energy in meV per atom and ps; NaN for fewer than 3 rows."""
    if len(thermo) < 3:
        return float("nan")
    slope = np.polyfit(thermo[:, 0] * timestep / 1000, thermo[:, 3], 1)[0]
    return 1000 * float(slope) / len(frame)


def _spread(available: int, count: int) -> list[int]:
    # Not the first: it is the same for all models.
    return sorted(set(np.linspace(1, available - 1, count).astype(int))) if available > 1 else [0]


def _errors(frames: list[Atoms], folder: Path, workers: int) -> np.ndarray:
    """Force components of the model minus GFN1-xTB, of converged frames, eV/Angstrom."""
    bare = [Atoms(f.numbers, positions=f.positions, cell=f.cell, pbc=True) for f in frames]
    labeled = label_all(folder, bare, workers, folder.name)
    found = [
        frame.get_forces() - label.get_forces()
        for frame, label in zip(frames, labeled, strict=True)
        if has_good_label(label)
    ]
    return np.concatenate(found).ravel() if found else np.zeros(1)


def intact(frame: Atoms) -> bool:
    """Whether every nitrogen has exactly three hydrogens within 1.6 Angstrom."""
    i, j = neighbour_list("ij", frame, _BOND)
    numbers = frame.numbers
    bonds = np.bincount(i[(numbers[i] == 7) & (numbers[j] == 1)], minlength=len(frame))
    return bool((bonds[numbers == 7] == 3).all())


def histograms(frames: Sequence[Atoms]) -> dict[str, np.ndarray]:
    """Histograms of distances with the bins `RADII` for each pair of elements, over all frames."""
    kinds = {"N-N": (7, 7), "N-H": (7, 1), "H-H": (1, 1)}
    found = {name: np.zeros(len(RADII) - 1, dtype=int) for name in kinds}
    for frame in frames:
        i, j, d = neighbour_list("ijd", frame, float(RADII[-1]))
        for name, (a, b) in kinds.items():
            own = (frame.numbers[i] == a) & (frame.numbers[j] == b)
            found[name] += np.histogram(d[own], RADII)[0]
    return found
