#!/usr/bin/env python
"""Nuclear quantum effects in ammonia: from the shipped data to tables and pictures.

Trains a small Allegro model on ../nh3/data, together with frames as quantum beads visit them
(beads.extxyz), deploys it with a fence, runs the campaigns of this folder (the liquid, numbers of
beads, the molecule, spectra, failures), reports on them, and compares the molecule's quantum
kinetic energy with the harmonic one of the model's own Hessian.

    python quantum.py --workers 2                    # hours
    python quantum.py --small --model plain=nh3.nequip.pth
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from stretch import CM, molecule_masses, relaxed_molecule

from nequip_legato.calculator import LegatoCalculator
from nequip_legato.errors import LegatoError
from nequip_legato.quantum.hessian import hessian, kinetic_energies, normal_modes
from nequip_legato.quantum.report import Report, report

HERE = Path(__file__).parent.absolute()
DATA = HERE.parent / "nh3"
PROGRAMS = Path(sys.executable).parent
CAMPAIGNS = ("structure", "convergence", "molecule", "spectra", "failures")
# only a few steps, to test that everything works
SMALL = {
    "equilibration_steps": 0,  # i-PI and LAMMPS would start once more for it
    "steps": 60,
    "sample_every": 2,
    "velocity_every": 1,
    "beads": [4],
    "temperatures": [220],
    "velocity_seeds": 1,
}
QUICK_TRAINING = (
    *("run=[train]", "trainer.max_epochs=1", "+trainer.limit_train_batches=0.3"),
    *("+trainer.limit_val_batches=2", "training_module.model.num_layers=1"),
)


def run(*command: str | Path, **environment: str) -> None:
    words = [str(word) for word in command]
    print("$ " + " ".join(words), flush=True)
    done = subprocess.run(words, env=os.environ | environment, check=False)
    if done.returncode != 0:
        sys.exit(f"quantum.py: {Path(words[0]).name} ended with status {done.returncode}")


def training_data(out: Path) -> Path:
    """The example's data, whose training frames are followed by those of beads."""
    folder = out / "data"
    folder.mkdir(exist_ok=True)
    for name in ("val", "test"):
        shutil.copyfile(DATA / "data" / f"{name}.extxyz", folder / f"{name}.extxyz")
    texts = [(DATA / "data" / f"{name}.extxyz").read_text() for name in ("train", "beads")]
    (folder / "train.extxyz").write_text("".join(texts))
    return folder


def trained(out: Path, epochs: int, small: bool) -> Path:
    """A model of the example's training data and of beads, deployed with a fence."""
    # TorchScript needs no compiling, AOTInductor takes half the time in dynamics
    model = out / ("plain.nequip.pth" if small else "plain.nequip.pt2")
    if not model.is_file():
        run(
            *(PROGRAMS / "nequip-train", "-cp", DATA, "-cn", "train"),
            *(f"hydra.run.dir={out / 'training'}", f"trainer.max_epochs={epochs}"),
            *(QUICK_TRAINING if small else []),
            NH3_DATA=str(training_data(out)),
        )
        checkpoint = out / "training" / "best.ckpt"
        run(PROGRAMS / "nequip-deploy", "build", checkpoint, model, "--fence=wall")
    return model


def campaign(name: str, out: Path, models: dict[str, Path], workers: int, small: bool) -> Report:
    """Run a campaign of this folder to its end, and report on it."""
    content = yaml.safe_load((HERE / f"{name}.yaml").read_text())
    content["models"] = [
        {"name": key, "file": str(path.absolute()), "group": key.partition("-")[0]}
        for key, path in models.items()
    ]
    for system in content["systems"]:
        system["structure"] = str(HERE / system["structure"])
    if small:
        content |= SMALL
        if name != "molecule":
            content["isotopes"] = content["isotopes"][:1]
    path = out / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    run(PROGRAMS / "nequip-legato", "quantum", "run", path, f"--workers={workers}")
    return report(out / name)


def harmonic_table(model: Path, done: Report) -> str:
    """Kinetic energies per atom of the molecule: from the campaign, and from the Hessian."""
    matrix = hessian(relaxed_molecule(LegatoCalculator(model)))
    lines = [
        "### Kinetic energy per atom of the molecule against the model's own Hessian, meV",
        "",
        "| runs of | species | simulated | harmonic, as many beads | harmonic, quantum |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for isotope in ("H", "D"):
        try:
            omega, modes = normal_modes(matrix, molecule_masses(isotope))
        except LegatoError as problem:
            return f"No harmonic values: {problem}.\n"
        frequencies = ", ".join(f"{w / CM:.0f}" for w in omega[6:])
        lines.append(f"| harmonic frequencies of N{isotope}3, 1/cm: {frequencies} | | | | |")
        for cell in done.cells:
            if isotope in cell.virial and cell.key.method != "classical":
                beads = None if cell.key.method == "piglet" else cell.key.beads
                some = kinetic_energies(omega, modes, cell.key.temperature, beads)
                all_ = kinetic_energies(omega, modes, cell.key.temperature)
                for name, atom in (("N", 0), (isotope, 1)):
                    got = cell.virial[name].scaled(1000)
                    lines.append(
                        f"| {cell.key.label} | {name} | {got.value:.1f} ± {got.error:.1f} | "
                        f"{1000 * some[atom]:.1f} | {1000 * all_[atom]:.1f} |"
                    )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("quantum_out"))
    parser.add_argument("--small", action="store_true", help="a few steps of everything")
    parser.add_argument(
        "--epochs", type=int, default=20, help="epochs of training, without --model"
    )
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="deployed model instead of training one, e.g. plain-1=a.nequip.pt2; may be repeated",
    )
    parser.add_argument("--workers", type=int, default=1, help="runs at a time")
    arguments = parser.parse_args()
    out = arguments.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    named = (text.partition("=") for text in arguments.model)
    models = {name: Path(file).absolute() for name, _, file in named}
    if not models:
        models = {"plain": trained(out, arguments.epochs, arguments.small)}
    parts = []
    try:
        for name in CAMPAIGNS:
            done = campaign(name, out, models, arguments.workers, arguments.small)
            parts.append(f"## {name.capitalize()}\n\n{done.text}")
            if name == "molecule":
                parts.append(harmonic_table(next(iter(models.values())), done))
            for picture in done.page.parent.glob("*.png"):
                shutil.copyfile(picture, out / f"{name}_{picture.name}")
    except LegatoError as problem:
        sys.exit(f"quantum.py: {problem}")
    (out / "summary.md").write_text("\n".join(parts))
    print(f"Tables: {out / 'summary.md'}; pictures beside it; pages in */report/report.html")


if __name__ == "__main__":
    main()
