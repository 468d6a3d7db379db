#!/usr/bin/env python
"""Makes the ammonia data set: liquid NH3 at 200 to 800 K, labeled with GFN1-xTB.

Labeling a frame of 64 atoms takes half a second, so molecular dynamics with GFN1-xTB itself would
give only a few correlated frames. Three steps give uncorrelated frames instead:

1. ``classical``: dynamics with a flexible classical force field in LAMMPS, one run for each
   temperature; some of its frames are labeled.
2. ``learn``: a small Allegro model is trained on those with ``nequip-train`` and deployed. Outside
   of its training data it forms wrong bonds between molecules. So frames of a short dynamics with
   it are labeled too, and a model is trained on all of them.
3. ``sample``: dynamics with the last model in LAMMPS, so that the frames follow GFN1-xTB's own
   distribution closely. They are labeled, the model's forces are compared with the labels, and
   broken frames are discarded.

``beads`` makes further frames of the low temperatures, as quantum nuclei visit them, for
../nh3_quantum; see nh3_beads.py.

Configurational averages of classical dynamics do not depend on the masses, so hydrogen weighs 10 u
in steps 2 and 3, which allows steps of 2 fs. Every step resumes where it stopped.

    python make_data.py all --work DIR --jobs 2      # everything; writes data/
    python make_data.py beads --work DIR --jobs 2    # writes data/beads.extxyz
    python make_data.py check                        # finite differences of the labels
    python make_data.py stats                        # a table of the frames' properties
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed
from nh3_beads import moved, moved_molecules, pressed_pairs
from nh3_dynamics import (
    MASSES,
    PROGRAMS,
    classical_run,
    model_run,
    program,
    write_atomic_data,
)
from nh3_labels import (
    LONGEST_BOND,
    SHORTEST_CONTACT,
    DataError,
    check,
    gfn1,
    has_good_label,
    is_broken,
    label_all,
    measure,
    print_table,
    read_frames,
)
from tqdm import tqdm

HERE = Path(__file__).parent
TEMPERATURES = (200, 300, 400, 500, 600, 800)  # K
N_CLASSICAL = 25  # labeled frames per temperature in step 1
N_EXPLORED = 16  # frames per temperature and round in step 2
ROUNDS = 1  # of exploring in step 2
N_SAMPLED = 115  # frames per temperature in step 3
# At 800 K a molecule of the first trajectory falls apart; a second one replaces the lost frames.
N_MORE, MORE_AT = 60, (800,)
SPLIT = {"train": 78, "val": 12, "test": 14}  # frames per temperature, blocks in time
SMALLEST_GAP = 4  # frames left out between two blocks, at least
LARGEST_MODEL_ERROR = 0.25  # eV/A, rms; a worse model does not sample GFN1-xTB's liquid
N_BEADS = {200: 40, 300: 20}  # training frames that are moved like beads, by temperature
N_ALONE = 60  # molecules alone that are moved
N_PAIRS = 160  # of molecules that are pressed together


# === step 1: classical dynamics ===


def classical_runs(work: Path) -> dict[int, list[Atoms]]:
    """The frames of step 1, unlabeled, by temperature."""
    runs = {}
    for k, temperature in enumerate(tqdm(TEMPERATURES, desc="classical dynamics")):
        runs[temperature] = classical_run(
            work / f"classical_{temperature}",
            n_molecules=16,
            temperature=temperature,
            n_frames=N_CLASSICAL,
            seed=101 + k,
        )
    return runs


def classical(work: Path, jobs: int) -> list[Atoms]:
    """Step 1: labeled frames of the classical force field."""
    frames = []
    for temperature, run in classical_runs(work).items():
        for frame in run:
            frame.info.update(temperature=temperature, source="classical")
        frames += run
    labeled = label_all(work / "labels_classical", frames, jobs, "labels, classical")
    return [frame for frame in labeled if not is_broken(frame)]


# === step 2: a model ===


def train(folder: Path, frames: list[Atoms]) -> Path:
    """Train on frames and deploy; returns the deployed file."""
    model = folder / "model.nequip.pth"
    if model.is_file():
        return model
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"val": frames[::8], "test": frames[1::8]}
    parts["train"] = [frame for i, frame in enumerate(frames) if i % 8 > 1]
    for name, part in parts.items():
        ase.io.write(folder / f"{name}.extxyz", part)
    # Lightning would write best-v1.ckpt beside a best.ckpt that an interrupted training left.
    for leftover in folder.glob("*.ckpt"):
        leftover.unlink()
    command = [program("nequip-train"), "-cp", str(HERE.absolute()), "-cn", "train"]
    subprocess.run(
        [*command, f"hydra.run.dir={folder}", "trainer.max_epochs=20", "data.seed=7"],
        env={**os.environ, "NH3_DATA": str(folder)},
        check=True,
    )
    command = [program("nequip-deploy"), "build"]
    subprocess.run([*command, str(folder / "best.ckpt"), str(model)], check=True)
    return model


def model_runs(
    work: Path,
    name: str,
    model: Path,
    n_frames: int,
    jobs: int,
    *,
    temperatures: tuple[int, ...] = TEMPERATURES,
    trajectory: int = 0,
) -> list[Atoms]:
    """Labeled frames of a model's dynamics, in order of temperature and time.

    Trajectories of one temperature differ in start and seed; frames of the second are counted from
    1000. Broken frames are included. Raises DataError if LAMMPS fails.
    """
    frames = []
    starts = classical_runs(work)
    run_name = f"{name}{trajectory or ''}"
    for temperature in tqdm(temperatures, desc=f"{name}, dynamics"):
        run = model_run(
            work / f"{run_name}_{temperature}",
            starts[temperature][-1 - trajectory],
            model,
            temperature=temperature,
            seed=201 + TEMPERATURES.index(temperature) + 100 * trajectory,
            n_frames=n_frames,
        )
        for i, frame in enumerate(run):
            frame.info.update(temperature=temperature, source=name, frame=1000 * trajectory + i)
        frames += run
    labeled = label_all(work / f"labels_{run_name}", frames, jobs, f"{name}, labels")
    errors = model_errors(labeled).items()
    print(f"{name}, rms force errors: " + ", ".join(f"{t} K {e:.3f} eV/A" for t, e in errors))
    return labeled


def model_errors(frames: list[Atoms]) -> dict[int, float]:
    """Rms deviation of the model's forces from the labels in eV/A, by temperature."""
    squares = {temperature: [] for temperature in TEMPERATURES}
    for frame in frames:
        if frame.calc is not None:
            difference = frame.get_forces() - frame.arrays["model_forces"]
            squares[frame.info["temperature"]].append(np.mean(difference**2))
    return {t: float(np.sqrt(np.mean(each))) for t, each in squares.items() if each}


def learn(work: Path, jobs: int) -> Path:
    """Step 2: the deployed model of the last round."""
    frames = classical(work, jobs)
    model = train(work / "model_0", frames)
    for i in range(1, ROUNDS + 1):
        # keep broken molecules: the model has to learn their energies
        explored = model_runs(work, f"explore{i}", model, N_EXPLORED, jobs)
        frames += [frame for frame in explored if has_good_label(frame)]
        model = train(work / f"model_{i}", frames)
    return model


# === step 3: dynamics with that model ===


def sample(work: Path, model: Path, jobs: int) -> list[Atoms]:
    """Step 3: labeled frames; raises DataError if the model's forces deviate from the labels."""
    frames = model_runs(work, "sample", model, N_SAMPLED, jobs)
    more = {"temperatures": MORE_AT, "trajectory": 1}
    frames += model_runs(work, "sample", model, N_MORE, jobs, **more)
    for temperature, error in model_errors(frames).items():
        if not error < LARGEST_MODEL_ERROR:
            raise DataError(
                f"the rms error of the model's forces at {temperature} K is {error:.2f} eV/A, more "
                f"than {LARGEST_MODEL_ERROR}: its liquid is not GFN1-xTB's; more ROUNDS are needed"
            )
    for frame in frames:
        del frame.arrays["model_forces"]
    return frames


def start_structure(work: Path, model: Path) -> Atoms:
    """108 molecules at 200 K: classical liquid, then 4 ps of the model's dynamics."""
    liquid = classical_run(
        work / "classical_432", n_molecules=108, temperature=200, n_frames=1, seed=301
    )
    run = model_run(
        work / "start_432", liquid[-1], model, temperature=200, seed=302, n_frames=1, interval=1000
    )
    return run[-1]


def write_start(folder: Path, atoms: Atoms) -> None:
    """Write the start structure for ASE and for LAMMPS (with real masses)."""
    found = measure(atoms)
    if found["bond"] > LONGEST_BOND or found["N-N"] < SHORTEST_CONTACT:
        raise DataError("molecules of the start structure fell apart or stuck together")
    atoms = atoms.copy()
    del atoms.arrays["model_forces"]
    ase.io.write(folder / "start_432.extxyz", atoms)
    title = "108 NH3, equilibrated at 200 K; units metal; types 1 = H, 2 = N"
    write_atomic_data(folder / "start_432.data", atoms, MASSES["H"], title=title)


def blocks(frames: list[Atoms]) -> dict[str, list[Atoms]]:
    """Consecutive blocks of one trajectory, by split, with the spare frames between them.

    Successive frames are correlated; the gaps keep correlated frames out of different splits.
    """
    spare = len(frames) - sum(SPLIT.values())
    gap = spare // (len(SPLIT) - 1)
    if gap < SMALLEST_GAP:
        raise DataError(f"{len(frames)} good frames are too few; make N_SAMPLED larger")
    parts, first = {}, 0
    for name, count in SPLIT.items():
        parts[name] = frames[first : first + count]
        first += count + gap
    return parts


def write_frames(path: Path, frames: list[Atoms]) -> None:
    """Write a file that appears when it is complete."""
    scratch = path.with_name(f".{path.name}")
    ase.io.write(scratch, frames)
    scratch.rename(path)
    print(f"{path.stem}: {len(frames)} frames")


def write_splits(folder: Path, frames: list[Atoms]) -> None:
    """Discard broken frames and write train, val and test, ordered by temperature and time."""
    splits = {name: [] for name in SPLIT}
    for temperature in TEMPERATURES:
        mine = [frame for frame in frames if frame.info["temperature"] == temperature]
        good = [frame for frame in mine if not is_broken(frame)]
        print(f"{temperature} K: {len(mine)} frames, {len(mine) - len(good)} broken")
        for name, part in blocks(good).items():
            splits[name] += part
    for name, part in splits.items():
        write_frames(folder / f"{name}.extxyz", part)


# === frames as of quantum nuclei ===


def beads(work: Path, out: Path, jobs: int) -> None:
    """Write beads.extxyz: training frames, molecules alone and pressed pairs, with good labels."""
    rng = np.random.default_rng(401)
    known = read_frames(out / "train.extxyz")
    frames = []
    for temperature, count in N_BEADS.items():
        mine = [frame for frame in known if frame.info["temperature"] == temperature]
        for i in np.linspace(0, len(mine) - 1, count).astype(int):
            frame = moved(mine[i], rng)
            frame.info.update(temperature=temperature, source="beads", frame=mine[i].info["frame"])
            frames.append(frame)
    for i, frame in enumerate(moved_molecules(N_ALONE, rng)):
        frame.info.update(temperature=0, source="beads, alone", frame=i)
        frames.append(frame)
    # a proton that came closer to another nitrogen would be an ion pair
    whole = [frame for frame in frames if np.isfinite(measure(frame)["bond"])]
    for i, frame in enumerate(pressed_pairs(N_PAIRS, rng)):
        frame.info.update(temperature=0, source="beads, pressed", frame=i)
        whole.append(frame)
    labeled = label_all(work / "labels_beads", whole, jobs, "beads, labels")
    good = [frame for frame in labeled if has_good_label(frame)]
    print(f"beads: {len(frames) + N_PAIRS} frames, {len(whole)} labeled, {len(good)} good")
    write_frames(out / "beads.extxyz", good)


# === together ===


def make_all(work: Path, out: Path, jobs: int) -> None:
    """Every step; see the module's description."""
    # Missing programs should fail now, not after half an hour.
    gfn1()
    for name in PROGRAMS:
        program(name)
    out.mkdir(parents=True, exist_ok=True)
    model = learn(work, jobs)
    write_start(out, start_structure(work, model))
    write_splits(out, sample(work, model, jobs))


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not a positive number")
    return value


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("all", "make the whole data set"),
        ("beads", "move its training frames as quantum nuclei move"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--work", type=Path, default=Path("nh3_work"), help="scratch folder")
        command.add_argument("--out", type=Path, default=HERE / "data", help="where the data go")
        command.add_argument("--jobs", type=_count, default=1, help="labeling processes")
    command = commands.add_parser("check", help="finite differences of the labels of some frames")
    command.add_argument("--data", type=Path, default=HERE / "data" / "test.extxyz", help="frames")
    command.add_argument("--frames", type=_count, default=3, help="number of frames to check")
    command = commands.add_parser("stats", help="a table of energies, forces and distances")
    command.add_argument("--data", type=Path, default=HERE / "data", help="folder of the splits")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        if arguments.command == "all":
            make_all(arguments.work.absolute(), arguments.out, arguments.jobs)
        elif arguments.command == "beads":
            beads(arguments.work.absolute(), arguments.out, arguments.jobs)
        elif arguments.command == "check":
            check(arguments.data, arguments.frames)
        else:
            paths = [arguments.data / f"{name}.extxyz" for name in SPLIT]
            print_table([frame for path in paths for frame in read_frames(path)])
    except (DataError, OSError, CalculationFailed) as problem:
        sys.exit(f"make_data.py: {problem}")
    except subprocess.CalledProcessError as problem:
        name = Path(problem.cmd[0]).name
        sys.exit(f"make_data.py: {name} failed with status {problem.returncode}; see above")


if __name__ == "__main__":
    main()
