"""The cost of analyzing a long path-integral run.

    python analysis.py [--frames 100000] [--beads 32]

Writes synthetic frames of 64 atoms of ammonia (atoms spread by 0.1 Angstrom around a frame of
examples/nh3, forces of springs) as LAMMPS' binary dumps do, one file for each bead, and analyzes
them as `nequip-legato quantum report` does: both kinetic energies, radii of gyration, bond lengths,
angles, and distributions of pair distances. Needs 98 kB of disk for each frame of 32 beads. Prints,
and writes to results.json, processor time, wall time and the peak memory of the analysis alone.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from nequip_legato.files import write_atomically
from nequip_legato.quantum.estimators import measure
from nequip_legato.quantum.frames import write_frames
from nequip_legato.quantum.geometry import Geometry, bonded_sites
from nequip_legato.quantum.isotopes import standard_mass
from nequip_legato.quantum.records import QuantumRecord

HERE = Path(__file__).resolve().parent
STRUCTURE = HERE.parents[1] / "examples" / "nh3" / "data" / "test.extxyz"
COLUMNS = "xu yu zu f_legato_force[1] f_legato_force[2] f_legato_force[3]"
SPRING = 20.0  # eV/Angstrom^2


def main() -> None:
    """Write the frames, analyze them in a process of its own, and write times and memory."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--beads", type=int, default=32)
    parser.add_argument("--work", type=Path, help="folder for the frames (default: temporary)")
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    parser.add_argument("--analyze", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.analyze:
        print(json.dumps(analyzed(options.work, options.frames, options.beads)))
        return
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        write_run(Path(folder), options.frames, options.beads)
        command = [sys.executable, __file__, "--analyze", "--work", folder]
        command += ["--frames", str(options.frames), "--beads", str(options.beads)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    print(done.stdout, end="")
    write_atomically(options.out, done.stdout)


def structure() -> tuple[Atoms, np.ndarray]:
    """The start structure, and the LAMMPS type of each atom."""
    atoms = ase.io.read(STRUCTURE, 0)
    return atoms, np.where(atoms.numbers == 1, 1, 2)


def write_run(folder: Path, frames: int, beads: int) -> None:
    """Write frames and energies of every bead."""
    atoms, _ = structure()
    generator = np.random.default_rng(0)
    steps = np.arange(frames)
    for bead in range(1, beads + 1):
        own = folder / f"bead{bead}"
        own.mkdir()
        moved = generator.normal(scale=0.1, size=(frames, len(atoms), 3))
        energy = 0.5 * SPRING * (moved**2).sum(axis=(1, 2))
        data = np.concatenate([atoms.positions + moved, -SPRING * moved], axis=2)
        write_frames(own / "frames.bin", steps, data, COLUMNS)
        rows = [f"{n},0,{e:.6f},0,0" for n, e in zip(steps.tolist(), energy, strict=True)]
        (own / "trace.csv").write_text("\n".join(["step,temperature,energy,a,b", *rows]) + "\n")


def analyzed(folder: Path, frames: int, beads: int) -> dict[str, float]:
    """Analyze a run; returns times and memory."""
    atoms, types = structure()
    record = QuantumRecord(
        run="synthetic",
        model="synthetic",
        group="synthetic",
        training_seed="0",
        atoms=len(atoms),
        velocity_seed=1,
        ensemble="pimd",
        temperature=300.0,
        timestep=0.5,
        step_limit=frames,
        outcome="censored",
        steps=frames,
        wall=0.0,
        system="ammonia",
        isotopes="H",
        method="pimd",
        beads=beads,
        equilibration_steps=0,
        sample_every=1,
        velocity_every=1,
        species=["H", "N"],
        elements=["H", "N"],
        model_types=["H", "N"],
        masses=[standard_mass("H"), standard_mass("N")],
    )
    before, begun = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    sites = bonded_sites(atoms, atoms.numbers == 7, atoms.numbers == 1, 1.3)
    geometry = Geometry(atoms, sites, frames, beads, atoms.get_chemical_symbols(), 4.0)
    series = measure(folder, record, types, geometry)
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "frames": frames,
        "beads": beads,
        "atoms": len(atoms),
        "gigabytes": sum(p.stat().st_size for p in folder.rglob("*.bin")) / 1e9,
        "processor_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "wall_seconds": time.perf_counter() - begun,
        "peak_megabytes": peak_memory() / 1e6,
        "kinetic_energy_of_hydrogen_eV": float(series.virial[:, 0].mean() / series.counts[0]),
    }


def peak_memory() -> int:
    """Peak memory in bytes; ru_maxrss would include that of the process that started this one."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return 1024 * int(peak)


if __name__ == "__main__":
    main()
