"""Trains the study's models with nequip-train, several at once with one thread each."""

import csv
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

import nequip_legato

__all__ = ["TRAINING_FRAMES", "Training", "metrics", "run_logged", "train_all"]

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "examples" / "nh3" / "data"
TRAINING_FRAMES = DATA / "train.extxyz"


@dataclass(frozen=True)
class Training:
    """One training run of the study.

    Attributes:
        variant: name of the method, e.g. ``sam_0.01``.
        seed: seed of weights and of the order of the data.
        epochs: number of epochs.
        callback: the callback of nequip_legato, ``SAM`` if it names none; empty for plain training.
        folder: where it runs.
        overrides: settings of train.yaml that differ, e.g. ``training_module.ema_decay: 0``.
        frames: training frames.
    """

    variant: str
    seed: int
    epochs: int
    callback: dict[str, object]
    folder: Path
    overrides: dict[str, object] = field(default_factory=dict)
    frames: Path = TRAINING_FRAMES

    @property
    def name(self) -> str:
        """Name of the model."""
        return f"{self.variant}-{self.seed}"

    @property
    def checkpoint(self) -> Path:
        """The weights with the lowest validation error."""
        return self.folder / "best.ckpt"

    @property
    def deployed(self) -> Path:
        """The model for LAMMPS."""
        return self.folder / "model.nequip.pt2"

    @property
    def gradients_per_step(self) -> float:
        """Forward and backward passes per step, mean over the training."""
        if not self.callback:
            return 1.0
        settings = dict(self.callback)
        kind = str(settings.pop("_target_", "nequip_legato.SAM")).rpartition(".")[2]
        return getattr(nequip_legato, kind)(**settings).cost()

    @property
    def done(self) -> bool:
        """Whether the run has finished, including its test."""
        return self.checkpoint.is_file() and bool(metrics(self).get("test0_epoch/forces_rmse"))

    def config(self) -> DictConfig:
        """The configuration for nequip-train."""
        config = OmegaConf.load(HERE / "train.yaml")
        config.data_folder = str(DATA)
        config.data.train_file_path = str(self.frames)
        config.trainer.max_epochs = self.epochs
        config.data.seed = self.seed
        config.training_module.model.seed = self.seed
        if self.callback:
            config.trainer.callbacks.append({"_target_": "nequip_legato.SAM", **self.callback})
        for key, value in self.overrides.items():
            OmegaConf.update(config, key, value, merge=False)
        return config


def metrics(training: Training) -> dict[str, float]:
    """The last value of everything that the run logged; empty without a log."""
    path = training.folder / "metrics.csv"
    found: dict[str, float] = {}
    if path.is_file():
        with path.open() as stream:
            for row in csv.DictReader(stream):
                found |= {key: float(value) for key, value in row.items() if value}
    return found


def train_all(trainings: list[Training], *, workers: int) -> None:
    """Train what is not yet trained; an interrupted run starts again."""
    with ThreadPoolExecutor(workers) as pool:
        for name, seconds in pool.map(_train, [t for t in trainings if not t.done]):
            print(f"trained {name} ({seconds:.0f} s)", flush=True)


def _train(training: Training) -> tuple[str, float]:
    shutil.rmtree(training.folder, ignore_errors=True)
    training.folder.mkdir(parents=True)
    OmegaConf.save(training.config(), training.folder / "config.yaml")
    command = [str(Path(sys.executable).parent / "nequip-train"), "-cp", str(training.folder)]
    command += ["-cn", "config", f"hydra.run.dir={training.folder}"]
    started = os.times().elapsed
    if run_logged(command, training.folder / "output.txt") != 0 or not training.done:
        raise SystemExit(f"training {training.name} failed; see {training.folder / 'output.txt'}")
    return training.name, os.times().elapsed - started


def run_logged(command: list[str], log: Path) -> int:
    """Run a program with one thread, its output at the end of ``log``; returns its status."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with log.open("a") as output:
        return subprocess.call(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
