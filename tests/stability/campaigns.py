"""Campaigns for tests: written, run by the real program, and compared with LAMMPS step by step."""

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import yaml
from ase import Atoms
from ase.io.lammpsrun import read_lammps_dump_text
from models import ammonia_frames
from processes import PROGRAMS, Done, run_process

from nequip_legato.stability.records import Record, read_records

__all__ = [
    "LMP",
    "PROGRAM",
    "Trajectory",
    "base_settings",
    "change_settings",
    "contents",
    "counting_launcher",
    "finished",
    "kill",
    "lammps_starts",
    "launch",
    "outcomes",
    "reference_trajectory",
    "relaxed",
    "run_folder",
    "run_program",
    "start_atoms",
    "write_campaign",
]

PROGRAM = PROGRAMS / "nequip-legato"
LMP = PROGRAMS / "lmp"
_ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def write_campaign(
    folder: Path, models: dict[str, Path], /, *, atoms: Atoms | None = None, **changes: Any
) -> Path:
    """Write ``campaign.yaml`` and its start structure.

    Args:
        folder: where; made if need be.
        models: name -> deployed file.
        atoms: start structure; default 64 atoms of ammonia from the training data.
        changes: settings other than those of `base_settings`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    atoms = ammonia_frames(2)[1] if atoms is None else atoms
    ase.io.write(folder / "start.extxyz", Atoms(atoms.symbols, atoms.positions, cell=atoms.cell,
                                                pbc=atoms.pbc))  # fmt: skip
    path = folder / "campaign.yaml"
    path.write_text(yaml.safe_dump(base_settings(models) | changes, sort_keys=False))
    return path


def base_settings(models: dict[str, Path]) -> dict[str, Any]:
    """A campaign of one short run for each model in which no criterion with a threshold is on."""
    return {
        "models": [{"name": name, "file": str(path)} for name, path in models.items()],
        "structure": "start.extxyz",
        "types": ["H", "N"],
        "velocity_seeds": 1,
        "temperature": 300.0,
        "timestep": 0.5,
        "steps": 20,
        "equilibration": {"steps": 0},
        "criteria": {"temperature_window": "off", "largest_force": "off", "closest_ratio": "off"},
        "trace_every": 5,
        "workers": 1,
    }


def run_program(*arguments: object, timeout: float = 300, **environment: str) -> Done:
    """Run ``nequip-legato stability ARGUMENTS`` to its end; text of both streams is captured."""
    command = [PROGRAM, "stability", *arguments]
    return run_process(*command, environment=environment, timeout=timeout, check=False)


def launch(*arguments: object, output: Path) -> subprocess.Popen:
    """Start ``nequip-legato stability ARGUMENTS`` and return at once."""
    # Where the tests run in the background SIGINT is ignored, under nohup SIGHUP: not here.
    signals = "--default-signal=INT,HUP"
    command = ["env", signals, str(PROGRAM), "stability", *map(str, arguments)]
    with output.open("ab") as stream:
        return subprocess.Popen(
            command,
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )


def finished(campaign: Path) -> dict[str, Record]:
    """Name -> record of the finished runs."""
    folder = campaign.with_suffix("")
    return {r.run: r for r in read_records(folder)} if folder.is_dir() else {}


def outcomes(campaign: Path) -> dict[str, tuple]:
    """Name -> what must not depend on how often a campaign was interrupted."""
    return {
        name: (r.outcome, r.steps, r.criterion, r.value, r.threshold)
        for name, r in finished(campaign).items()
    }


@dataclass
class Trajectory:
    """What happened on every step of an independent LAMMPS run.

    Attributes:
        temperature: (steps + 1,) K.
        energy: (steps + 1,) eV.
        frames: the atoms of each step with ``forces``, sorted by id.
    """

    temperature: np.ndarray
    energy: np.ndarray
    frames: list[Atoms]

    @property
    def largest_force(self) -> np.ndarray:
        """(steps + 1,) largest force on an atom, eV/Angstrom."""
        return np.array([np.linalg.norm(a.arrays["forces"], axis=1).max() for a in self.frames])


def reference_trajectory(
    folder: Path,
    campaign: Path,
    model: Path,
    *,
    steps: int,
    seed: int = 1,
) -> Trajectory:
    """Do what a campaign's run of this seed should do, with an input of our own, without criteria.

    For campaigns of one size, without equilibration, in an orthorhombic cell.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = yaml.safe_load(campaign.read_text())
    temperature, timestep = settings["temperature"], settings["timestep"]
    masses = settings.get("masses", [1.008, 14.007])
    atoms = start_atoms(campaign)
    rows = [
        f"{n} {settings['types'].index(symbol) + 1} {x:.16g} {y:.16g} {z:.16g}"
        for n, (symbol, (x, y, z)) in enumerate(zip(atoms.symbols, atoms.positions, strict=True), 1)
    ]
    box = "".join(f"0 {atoms.cell[k, k]:.16g} {d}lo {d}hi\n" for k, d in enumerate("xyz"))
    (folder / "data").write_text(
        f"reference\n\n{len(atoms)} atoms\n2 atom types\n{box}\nMasses\n\n1 {masses[0]}\n"
        f"2 {masses[1]}\n\nAtoms # atomic\n\n" + "\n".join(rows) + "\n"
    )
    target = f"{temperature} {temperature} {100 * timestep / 1000}"
    integrate = {
        "nvt": f"fix run all nvt temp {target}",
        "nve": "fix run all nve",
        "langevin": f"fix bath all langevin {target} {seed}\nfix run all nve",
    }[settings.get("ensembles", ["nvt"])[0]]
    (folder / "in.reference").write_text(f"""
units metal
atom_style atomic
read_data data
pair_style allegro_legato
pair_coeff * * "{model}" {" ".join(settings["types"])}
neighbor 1.0 bin
neigh_modify every 1 delay 0 check yes
velocity all create {temperature} {seed} mom yes rot no dist gaussian
timestep {timestep / 1000}
{integrate}
thermo_style custom step temp pe
thermo 1
thermo_modify lost ignore format float %.15g
dump every all custom 1 every.dump id type x y z fx fy fz
dump_modify every sort id format float %.15g
run {steps}
""")
    text = _lammps(folder, "in.reference")
    table = [line.split() for line in text.splitlines()]
    first = table.index(["Step", "Temp", "PotEng"]) + 1
    values = np.array(table[first : first + steps + 1], dtype=float)
    assert values[:, 0].tolist() == list(range(steps + 1))
    with (folder / "every.dump").open() as stream:
        raw = read_lammps_dump_text(stream, index=slice(None))
    frames = []
    for frame in raw:
        symbols = [settings["types"][t - 1] for t in frame.numbers]
        frames.append(Atoms(symbols, frame.positions, cell=frame.cell, pbc=True))
        frames[-1].arrays["forces"] = frame.get_forces()
    return Trajectory(values[:, 1], values[:, 2], frames)


def relaxed(folder: Path, campaign: Path, model: Path) -> Atoms:
    """The campaign's start structure in a minimum of the model's energy."""
    reference_trajectory(folder, campaign, model, steps=0)
    text = (folder / "in.reference").read_text()
    head = text[: text.index("velocity")]
    (folder / "in.minimize").write_text(
        f"{head}minimize 0 1e-2 60 120\nwrite_dump all custom end.dump id type x y z "
        'modify sort id format float "%.15g"\n'
    )
    _lammps(folder, "in.minimize")
    with (folder / "end.dump").open() as stream:
        raw = read_lammps_dump_text(stream, index=-1)
    atoms = start_atoms(campaign)
    atoms.positions = raw.positions
    return atoms


def _lammps(folder: Path, script: str) -> str:
    return run_process(LMP, "-in", script, "-log", "none", cwd=folder, timeout=300).stdout


def lammps_starts(log: Path) -> list[str]:
    """Folders in which the launcher of `counting_launcher` has started LAMMPS, in order."""
    return log.read_text().splitlines() if log.is_file() else []


def counting_launcher(folder: Path, log: Path, *, before: str = "") -> Path:
    """A script that notes each start of LAMMPS in ``log`` and becomes it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "counted-lmp"
    path.write_text(f'#!/bin/bash\npwd >> "{log}"\n{before}\nexec "{LMP}" "$@"\n')
    path.chmod(0o755)
    return path


def kill(process: subprocess.Popen, number: int = signal.SIGKILL) -> int:
    """Send a signal and return the exit status."""
    process.send_signal(number)
    return process.wait(60)


def change_settings(campaign: Path, **changes: Any) -> None:
    """Rewrite a campaign's YAML with some settings changed; None removes one."""
    content = yaml.safe_load(campaign.read_text()) | changes
    kept = {key: value for key, value in content.items() if value is not None}
    campaign.write_text(yaml.safe_dump(kept, sort_keys=False))


def contents(folder: Path) -> dict[str, bytes]:
    """Relative path -> content of every file below ``folder``."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def run_folder(campaign: Path, name: str) -> Path:
    """Where a run lies."""
    return campaign.with_suffix("") / "runs" / name


def start_atoms(campaign: Path) -> Atoms:
    """The start structure as LAMMPS gets it, that is, as rounded by its file."""
    return ase.io.read(campaign.parent / "start.extxyz")
