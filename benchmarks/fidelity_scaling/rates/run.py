"""Failure rates of models with and without a fence; see README.md.

    python run.py                    everything, continuing where an earlier call stopped
    python run.py --only campaign --arms plain plain_gaps
                                     one stage, some arms; stages: train, choose, develop,
                                     improve, campaign, large, interpolate, trajectories, collect

Models and runs go to work/ (or --work), results to results/.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

# The trainings are those of the first study.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import collect as first_study
import frames
import tables
import trajectories
from loops import Loop, improve_all
from training import DATA, TRAINING_FRAMES, Training, train_all

from nequip_legato.stability.records import read_records
from nequip_legato.stability.run.campaign import run_campaign
from nequip_legato.stability.run.progress import show_progress

STAGES = (
    *("train", "choose", "develop", "improve", "campaign", "large", "interpolate"),
    *("trajectories", "collect"),
)
HERE = Path(__file__).resolve().parent
PARTS = ("choice", "development", "report", "interpolating", "interpolating_large")
PROGRAMS = Path(sys.executable).parent


def main() -> None:
    """Parse the options and do the stages."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=STAGES, nargs="+", default=STAGES)
    parser.add_argument("--arms", nargs="+", help="some of those in the study's file")
    parser.add_argument("--seeds", nargs="+", type=int, help="some of those in the study's file")
    parser.add_argument("--work", type=Path, default=HERE / "work")
    parser.add_argument("--study", type=Path, default=HERE / "study.yaml")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--workers", type=int, default=2, help="processes at the same time")
    options = parser.parse_args()
    study = Study(options)
    for stage in STAGES:
        if stage in options.only:
            print(f"== {stage}", flush=True)
            getattr(study, stage)()


@dataclass(frozen=True)
class Arm:
    """One model of one arm: trained weights, deployed with or without a fence.

    Attributes:
        name: name of the arm.
        training: the weights: a training, or a loop that goes on from one.
        fence: ``wall``, ``gaps`` or empty.
    """

    name: str
    training: Training | Loop
    fence: str

    @property
    def deployed(self) -> Path:
        """The model for LAMMPS; a loop has deployed its own, with its fence."""
        if isinstance(self.training, Loop):
            return self.training.deployed
        return self.training.folder / f"{self.fence or 'bare'}.nequip.pt2"

    def deploy(self) -> None:
        """Deploy it unless that has been done."""
        if self.deployed.is_file():
            return
        command = [str(PROGRAMS / "nequip-deploy"), "build", str(self.training.checkpoint)]
        command += [str(self.deployed), "--frames", str(TRAINING_FRAMES)]
        command += [f"--fence={self.fence}"] if self.fence else []
        subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


class Study:
    """The stages; each does only what is not yet done.

    Args:
        options: the command's options.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.settings: Any = OmegaConf.to_container(OmegaConf.load(options.study))
        self.work: Path = options.work.absolute()
        self.results: Path = options.results.absolute()
        self.workers: int = options.workers
        self._arms: list[str] | None = options.arms
        self._seeds: list[int] | None = options.seeds

    def arms(self, part: str, *, of: str | None = None) -> list[Arm]:
        """The models of a part, seed by seed; ``of``: the part that names the seeds."""
        wanted = self.settings[part]["arms"]
        seeds = self.settings[of or part]["seeds"]
        return [
            self.arm(name, seed)
            for seed in seeds
            if self._seeds is None or seed in self._seeds
            for name in wanted
            if self._arms is None or name in self._arms
        ]

    def arm(self, name: str, seed: int) -> Arm:
        """One model."""
        arm = self.settings["arms"][name]
        found = self.loop if "loop" in arm else self.training
        return Arm(name, found(arm.get("loop") or arm["training"], seed), arm.get("fence", ""))

    def loop(self, name: str, seed: int) -> Loop:
        """One loop that improves a training."""
        settings = dict(self.settings["loops"][name])
        origin = self.training(settings.pop("origin"), seed)
        return Loop(name, origin, self.work / "models" / f"{name}-{seed}", settings)

    def training(self, name: str, seed: int) -> Training:
        """One training."""
        settings = self.settings["trainings"][name]
        file = TRAINING_FRAMES
        if settings.get("contacts"):
            file = self.work / "contacts.extxyz"
            frames.with_contacts(file, self.settings["contacts"], workers=self.workers)
        elif "frames" in settings:
            file = frames.few_frames(self.work / f"{name}.extxyz", settings["frames"])
        return Training(
            variant=name,
            seed=seed,
            epochs=settings.get("epochs", self.settings["epochs"]),
            callback=settings.get("callback", {}),
            folder=self.work / "models" / f"{name}-{seed}",
            overrides=settings.get("overrides", {}),
            frames=file,
        )

    def train(self) -> None:
        """Train all models."""
        wanted = [arm.training for part in PARTS for arm in self.arms(part)]
        trainings = [one.origin if isinstance(one, Loop) else one for one in wanted]
        train_all(list({t.name: t for t in trainings}.values()), workers=self.workers)
        self._keep_errors()

    def improve(self) -> None:
        """Let models learn from their failures."""
        found = [arm.training for arm in self.arms("report") if isinstance(arm.training, Loop)]
        improve_all(found, workers=self.workers)
        self._keep_errors()

    def _keep_errors(self) -> None:
        """Write the errors of all models that are there; what is known of others stays."""
        wanted = [arm.training for part in PARTS for arm in self.arms(part)]
        found = list({one.name: one for one in wanted if one.done}.values())
        trainings = [one for one in found if isinstance(one, Training)]
        rows = first_study.errors(trainings)
        for row, training in zip(rows, trainings, strict=True):
            if "frames" in self.settings["trainings"][training.variant]:
                row["training_force_rmse_meV_A"] = frames.training_error(training)
        rows += [one.errors() for one in found if isinstance(one, Loop)]
        path = self.results / "models.json"
        names = {row["model"] for row in rows}
        known = json.loads(path.read_text()) if path.is_file() else []
        kept = [row for row in known if row["model"] not in names]
        first_study.write_json(path, kept + rows)

    def choose(self) -> None:
        """Rates of the fences from which one is chosen."""
        self._campaigns("choice")
        self._campaigns("choice_hot")

    def develop(self) -> None:
        """Rates on the seeds on which walls were softened."""
        self._campaigns("development")

    def campaign(self) -> None:
        """Rates of the arms that are reported."""
        self._campaigns("report")

    def large(self) -> None:
        """The check at 4,096 atoms."""
        self._campaigns("large")

    def interpolate(self) -> None:
        """Rates of models that fit their few training frames."""
        self._campaigns("interpolating")
        self._campaigns("interpolating_large")

    def _campaigns(self, part: str) -> None:
        """One campaign for each start frame; models that are not trained yet are left for later."""
        arms = [arm for arm in self.arms(part) if arm.training.done]
        reference = self._equilibration_model()
        for arm in [reference, *arms]:
            arm.deploy()
        for frame in self.settings[part]["frames"]:
            path = self.work / f"{part}-{frame}.yaml"
            path.write_text(yaml.safe_dump(self._campaign(part, frame, arms, reference)))
            with show_progress() as progress:
                run_campaign(
                    path, workers=self.workers, watch=progress.watch, report=progress.report
                )
        folders = [self.work / f"{part}-{frame}" for frame in self.settings[part]["frames"]]
        tables.keep(folders, self.results, part)

    def _equilibration_model(self) -> Arm:
        chosen = self.settings["campaign"]["equilibration_model"]
        training = self.training(chosen["training"], chosen["seed"])
        return Arm("equilibration", training, chosen["fence"])

    def _campaign(
        self, part: str, frame: int, arms: Sequence[Arm], reference: Arm
    ) -> dict[str, Any]:
        campaign: dict[str, Any] = deepcopy(self.settings["campaign"])
        del campaign["equilibration_model"]
        campaign |= self.settings[part].get("campaign", {})
        campaign["structure"] = f"{DATA / 'test.extxyz'}@{frame}"
        # Other velocity seeds for each frame, so that names of runs differ, too.
        campaign["first_velocity_seed"] = 1000 + frame
        campaign["equilibration"] |= {"model": str(reference.deployed), "seed": 1000 + frame}
        campaign["models"] = [
            {
                "name": f"{arm.name}-{arm.training.seed}",
                "file": str(arm.deployed),
                "group": arm.name,
                "training_seed": str(arm.training.seed),
            }
            for arm in arms
        ]
        return campaign

    def trajectories(self) -> None:
        """NVE trajectories: drift, molecules, structure, and errors against GFN1-xTB."""
        settings = self.settings["trajectories"]
        starts = {
            frame: next((self.work / f"report-{frame}" / "starts").glob("64-*")) / "start.data"
            for frame in self.settings["report"]["frames"]
        }
        arms = [a for a in self.arms("trajectories", of="report") if a.deployed.is_file()]
        trajectories.run(
            {f"{arm.name}-{arm.training.seed}": arm.deployed for arm in arms},
            list(starts.values()),
            folder=self.work / "trajectories",
            results=self.results,
            masses=self.settings["campaign"]["masses"],
            settings=settings,
            workers=self.workers,
        )

    def collect(self) -> None:
        """Tables from what is kept in ``results``; nothing else is read."""
        tables.collect(self.results, self.settings, read_records)


if __name__ == "__main__":
    main()
