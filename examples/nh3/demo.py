#!/usr/bin/env python
"""From training data to a running simulation of ammonia, and a check of every number on the way.

Trains a small Allegro model with sharpness-aware minimization, deploys it to TorchScript and
AOTInductor, runs molecular dynamics of 432 atoms in LAMMPS on one and two MPI ranks, and compares
energy, forces and virial with nequip's own ASE calculator. Writes everything to a folder and prints
a summary. Nothing is reused from an earlier run.

    python demo.py --out demo_out
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import ase.io
import numpy as np
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent.absolute()
PROGRAMS = Path(sys.executable).parent
BAR_PER_EV_A3 = 1.602176634e6
# for float32: forces in eV/A, energy in eV per atom, stress in eV/A^3
FORCE_TOLERANCE, ENERGY_TOLERANCE, STRESS_TOLERANCE = 5e-5, 1e-5, 1e-6

# Built one after the other, because training uses the other core.
BUILD = """
from nequip_legato.native import builder
for artifact in (builder.plugin(), builder.binding()):
    builder.ensure(artifact)
"""

console = Console()


class DemoError(Exception):
    """A step of the demo failed."""


@dataclass
class Simulation:
    """One LAMMPS run."""

    name: str
    folder: Path
    seconds: float = 0.0
    atom_steps_per_second: float = 0.0
    deviations: dict[str, float] = field(default_factory=dict)

    @property
    def record(self) -> np.ndarray:
        """Columns time (ps), temperature (K), potential and total energy (eV), pressure (bar)."""
        return np.loadtxt(self.folder / "md.txt")


class Running:
    """A program that was started, whose output goes to the terminal or to ``log``."""

    def __init__(
        self, title: str, command: list[str], log: Path | None = None, **environment: str
    ) -> None:
        console.rule(f"[bold]{title}")
        console.print("$ " + " ".join(command), style="dim", highlight=False, soft_wrap=True)
        self._program, self._log = command[0], log
        self._started = time.perf_counter()
        output = None if log is None else log.open("w")
        self._process = subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, **environment}, cwd=HERE
        )

    def wait(self) -> float:
        """Wait for its end; returns its wall-clock time in s.

        Raises:
            DemoError: if it failed.
        """
        status = self._process.wait()
        if status != 0:
            lines = [] if self._log is None else self._log.read_text().splitlines()[-15:]
            raise DemoError(
                "\n".join([f"{self._program} failed with exit status {status}", *lines])
            )
        return time.perf_counter() - self._started

    def stop(self) -> None:
        """End it, if it is still running."""
        self._process.terminate()
        self._process.wait()


@contextmanager
def running(
    title: str, command: list[str], log: Path | None = None, **environment: str
) -> Iterator[Running]:
    """A program that is stopped if an error ends the context; see `Running`."""
    started = Running(title, command, log, **environment)
    try:
        yield started
    except BaseException:
        started.stop()
        raise


def run(title: str, command: list[str], log: Path | None = None, **environment: str) -> float:
    """Run a program; see `Running`. Returns its wall-clock time in s."""
    with running(title, command, log, **environment) as started:
        return started.wait()


def simulate(name: str, out: Path, model: Path, steps: int, ranks: int) -> Simulation:
    """Molecular dynamics with ``in.nh3``."""
    simulation = Simulation(name, out / name.replace(" ", "_"))
    simulation.folder.mkdir()
    command = [str(PROGRAMS / "lmp"), "-in", "in.nh3", "-log", "none"]
    for variable, value in (("model", model), ("steps", steps), ("out", simulation.folder)):
        command += ["-var", variable, str(value)]
    if ranks > 1:
        command = [str(PROGRAMS / "mpiexec"), "-n", str(ranks), *command]
    log = simulation.folder / "log.txt"
    simulation.seconds = run(f"LAMMPS: {name}", command, log, OMP_NUM_THREADS="1")
    loops = [line.split() for line in log.read_text().splitlines() if line.startswith("Loop time")]
    loop, n_atoms = float(loops[-1][3]), int(loops[-1][-2])
    simulation.atom_steps_per_second = n_atoms * steps / loop
    return simulation


def reference(checkpoint: Path) -> dict[str, np.ndarray]:
    """Energy, forces and stress of the start structure from nequip's ASE calculator."""
    warnings.simplefilter("ignore")
    from nequip.integrations.ase import NequIPCalculator

    atoms = ase.io.read(HERE / "data" / "start_432.extxyz")
    atoms.calc = NequIPCalculator._from_saved_model(str(checkpoint), device="cpu")
    return {
        "energy": atoms.get_potential_energy(),
        "forces": atoms.get_forces(),
        "stress": atoms.get_stress(),
    }


def start_forces(simulation: Simulation) -> np.ndarray:
    """Forces of LAMMPS' first step, shape (432, 3), eV/A."""
    return np.loadtxt(simulation.folder / "start.dump", skiprows=9)[:, 2:]


def compare(simulation: Simulation, expected: dict[str, np.ndarray]) -> None:
    """Largest deviations of LAMMPS' first step from the reference; a DemoError if too large."""
    lines = (simulation.folder / "start.txt").read_text().split()
    energy = float(lines[1])
    first = lines.index("virial_pressure") + 1
    stress = -np.array([float(word) for word in lines[first : first + 6]]) / BAR_PER_EV_A3
    forces = start_forces(simulation)
    simulation.deviations = {
        "energy": abs(energy - expected["energy"]) / len(forces),
        "forces": float(np.abs(forces - expected["forces"]).max()),
        "stress": float(np.abs(stress - expected["stress"]).max()),
    }
    limits = {
        "energy": ENERGY_TOLERANCE,
        "forces": FORCE_TOLERANCE,
        "stress": STRESS_TOLERANCE,
    }
    for name, limit in limits.items():
        if not simulation.deviations[name] < limit:
            raise DemoError(
                f"{simulation.name}: {name} differ from nequip's calculator by "
                f"{simulation.deviations[name]:.2e}, more than {limit:.0e}"
            )


def test_errors(folder: Path) -> dict[str, float]:
    """Errors on the test frames, from the training log."""
    import csv

    found = {}
    with (folder / "metrics.csv").open() as file:
        for row in csv.DictReader(file):
            found.update({k: float(v) for k, v in row.items() if k.startswith("test0") and v})
    return {k.partition("/")[2]: v for k, v in found.items()}


def draw(path: Path, simulations: list[Simulation], expected: dict[str, np.ndarray]) -> None:
    """Temperature and energy over time, and LAMMPS' forces against nequip's."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    for k, simulation in enumerate(simulations):
        record = simulation.record
        style = {"lw": 3 - k, "ls": ["-", "--", ":"][k % 3], "label": simulation.name}
        left.plot(record[:, 0], record[:, 1], **style)
        middle.plot(record[:, 0], record[:, 2] - record[0, 2], **style)
    left.set(xlabel="time (ps)", ylabel="temperature (K)", title="432 atoms of NH$_3$, NVT 200 K")
    middle.set(xlabel="time (ps)", ylabel="potential energy - first (eV)", title="Energy")
    left.legend(fontsize="small")
    mine = start_forces(simulations[0]).ravel()
    right.plot(expected["forces"].ravel(), mine, ".", ms=3, alpha=0.6)
    ends = [mine.min(), mine.max()]
    right.plot(ends, ends, "k-", lw=0.7)
    largest = simulations[0].deviations["forces"]
    right.set(
        xlabel="nequip's ASE calculator (eV/Å)",
        ylabel="LAMMPS (eV/Å)",
        title=f"Forces, largest difference {largest:.1e} eV/Å",
    )
    figure.savefig(path, dpi=130)


def processor_minutes() -> float:
    """Processor time of all programs of the demo so far, minutes."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used) / 60


def summary(
    simulations: list[Simulation], times: dict[str, float], errors: dict[str, float], whole: float
):
    """The tables at the end."""
    steps = Table(title="What was done")
    steps.add_column("step")
    steps.add_column("seconds", justify="right")
    for name, seconds in times.items():
        steps.add_row(name, f"{seconds:.0f}")
    steps.add_row("[bold]all", f"[bold]{whole:.0f}")
    console.print(steps)
    console.print(f"Processor time: {processor_minutes():.1f} minutes", highlight=False)
    console.print(
        f"Model on the test frames: force RMSE {1e3 * errors['forces_rmse']:.0f} meV/Å, "
        f"energy MAE {1e3 * errors['per_atom_energy_mae']:.1f} meV/atom (a short training)",
        highlight=False,
    )
    table = Table(title="LAMMPS against nequip's ASE calculator, 432 atoms, largest differences")
    for column in ("run", "energy (eV/atom)", "forces (eV/Å)", "stress (eV/Å³)", "atom-steps/s"):
        table.add_column(column, justify="left" if column == "run" else "right")
    for simulation in simulations:
        values = [f"{simulation.deviations[k]:.1e}" for k in ("energy", "forces", "stress")]
        table.add_row(simulation.name, *values, f"{simulation.atom_steps_per_second:.0f}")
    console.print(table)


def empty(out: Path) -> None:
    """Make the folder of the results; only those of an earlier demo are removed.

    Raises:
        DemoError: if something else is in it.
    """
    if out.exists():
        if not (out / "training").is_dir() and any(out.iterdir()):
            raise DemoError(f"{out} is not empty, nor from a demo; give another folder with --out")
        shutil.rmtree(out)
    out.mkdir(parents=True)


def train(out: Path, epochs: int, overrides: list[str]) -> float:
    """Train the model, and build the plugin; returns the seconds of the training."""
    # At the same time, each on one core: a second thread gains little for such a small model, and
    # on a busy machine threads lose time waiting for one another.
    with running(
        "Building the LAMMPS plugin and the engine that checks files, meanwhile",
        [sys.executable, "-c", BUILD],
        out / "plugin.txt",
    ) as plugin:
        seconds = run(
            "Training with SAM",
            [
                str(PROGRAMS / "nequip-train"),
                *("-cp", str(HERE), "-cn", "train_sam", f"hydra.run.dir={out / 'training'}"),
                f"trainer.max_epochs={epochs}",
                # as many steps as twice the epochs of train_sam.yaml
                "data.train_dataloader.batch_size=2",
                *overrides,
            ],
            OMP_NUM_THREADS="1",
        )
        plugin.wait()
    return seconds


def deploy(
    out: Path, checkpoint: Path, models: dict[str, Path], steps: int
) -> tuple[Simulation, dict[str, np.ndarray]]:
    """Deploy to both kinds of files; meanwhile, run the first, and compute what is expected."""
    command = [str(PROGRAMS / "nequip-deploy"), "build", str(checkpoint)]
    # AOTInductor compiles for most of a minute on one core; TorchScript uses the other one.
    with running(
        "Deploying to AOTInductor, meanwhile",
        [*command, str(models["AOTInductor"])],
        out / "aotinductor.txt",
        OMP_NUM_THREADS="1",
    ) as compiling:
        run("Deploying to TorchScript", [*command, str(models["TorchScript"])], OMP_NUM_THREADS="1")
        simulation = simulate("TorchScript, 1 rank", out, models["TorchScript"], steps, 1)
        expected = reference(checkpoint)
        compiling.wait()
    return simulation, expected


def demo(out: Path, epochs: int, steps: int, overrides: list[str]) -> None:
    """All steps; see the module's description."""
    empty(out)
    times, started_demo = {}, time.perf_counter()
    times["training with SAM, building the plugin"] = train(out, epochs, overrides)
    models = {"TorchScript": out / "nh3.nequip.pth", "AOTInductor": out / "nh3.nequip.pt2"}
    started = time.perf_counter()
    first, expected = deploy(out, out / "training" / "best.ckpt", models, steps)
    times["deploying; TorchScript in LAMMPS; nequip's calculator"] = time.perf_counter() - started
    simulations = [
        first,
        simulate("AOTInductor, 1 rank", out, models["AOTInductor"], steps, 1),
        simulate("AOTInductor, 2 ranks", out, models["AOTInductor"], steps, 2),
    ]
    times["AOTInductor in LAMMPS"] = sum(simulation.seconds for simulation in simulations[1:])
    console.rule("[bold]Checking")
    started = time.perf_counter()
    for simulation in simulations:
        compare(simulation, expected)
    draw(out / "demo.png", simulations, expected)
    times["checking and drawing"] = time.perf_counter() - started
    errors = test_errors(out / "training")
    summary(simulations, times, errors, time.perf_counter() - started_demo)
    console.print(f"Models, trajectories and picture: {out} (see demo.png)", soft_wrap=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("demo_out"),
        help="folder of the results; an earlier demo there is replaced",
    )
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--steps", type=int, default=100, help="steps of molecular dynamics")
    parser.add_argument(
        "overrides", nargs="*", help="overrides of the training configuration: key=value"
    )
    arguments = parser.parse_args()
    try:
        demo(arguments.out.absolute(), arguments.epochs, arguments.steps, arguments.overrides)
    except DemoError as problem:
        sys.exit(f"demo: {problem}")
    except KeyboardInterrupt:
        sys.exit("demo: interrupted")


if __name__ == "__main__":
    main()
