"""The study: does SAM increase times to failure? See README.md.

    python run.py                 everything, continuing where an earlier call stopped
    python run.py --only train    one stage; train, deploy, choose, campaign, feed, remedies,
                                  methods, sharpness, collect

Several hours on two cores. Models and runs go to work/ (or --work), results to results/.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import Any

import collect
import more_frames
import yaml
from omegaconf import OmegaConf
from training import HERE, TRAINING_FRAMES, Training, train_all

from nequip_legato.sharpness import Settings, measure
from nequip_legato.stability.report.report import report
from nequip_legato.stability.run.campaign import run_campaign
from nequip_legato.stability.run.progress import show_progress

STAGES = ("train", "deploy", "choose", "campaign", "feed", "remedies", "methods")
STAGES += ("sharpness", "collect")
PROGRAMS = Path(sys.executable).parent


def main() -> None:
    """Parse the options and do the stages."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=STAGES)
    parser.add_argument("--work", type=Path, default=HERE / "work")
    parser.add_argument("--study", type=Path, default=HERE / "study.yaml")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--workers", type=int, default=2, help="processes at the same time")
    chosen = parser.parse_args()
    study = Study(chosen.study, chosen.work.absolute(), chosen.results.absolute(), chosen.workers)
    for stage in STAGES if chosen.only is None else (chosen.only,):
        print(f"== {stage}", flush=True)
        getattr(study, stage)()


class Study:
    """The stages; each does only what is not yet done.

    Args:
        path: the study's YAML file.
        work: folder of models and campaigns.
        results: folder of the results.
        workers: processes at the same time.
    """

    def __init__(self, path: Path, work: Path, results: Path, workers: int) -> None:
        self.settings: Any = OmegaConf.to_container(OmegaConf.load(path))
        self.work = work
        self.results = results
        self.workers = workers

    def trainings(self, part: str) -> list[Training]:
        """The models of a part of the study, seed by seed."""
        found = []
        for seed in self.settings[part]["seeds"]:
            for name in self.settings[part]["variants"]:
                variant = self.settings["variants"][name]
                frames = variant.get("frames")
                found.append(
                    Training(
                        variant=name,
                        seed=seed,
                        epochs=variant.get("epochs", self.settings["epochs"]),
                        callback=variant.get("callback", {}),
                        folder=self.work / "models" / f"{name}-{seed}",
                        overrides=variant.get("overrides", {}),
                        frames=more_frames.path(self.work, frames) if frames else TRAINING_FRAMES,
                    )
                )
        return found

    def train(self) -> None:
        """Train the models of the choice and of the report."""
        self._train("choice", "report")

    def _train(self, *parts: str) -> None:
        train_all([t for part in parts for t in self.trainings(part)], workers=self.workers)
        path = self.results / "models.json"
        errors = json.loads(path.read_text()) if path.is_file() else {}
        errors |= {part: collect.errors(self.trainings(part)) for part in parts}
        collect.write_json(path, errors)

    def deploy(self) -> None:
        """Deploy the models of the choice and of the report."""
        self._deploy("choice", "report")

    def _deploy(self, *parts: str) -> None:
        """Deploy to AOTInductor, all with the domain of the original frames, for equal criteria."""
        trainings = [t for part in parts for t in self.trainings(part)]
        with ThreadPoolExecutor(self.workers) as pool:
            list(pool.map(_deploy, [t for t in trainings if not t.deployed.is_file()]))

    def choose(self) -> None:
        """Time to failure of the models for choosing rho."""
        self._campaign("choice")

    def campaign(self) -> None:
        """Time to failure of the models that are reported."""
        self._campaign("report")

    def feed(self) -> None:
        """More training frames: failed states and displaced atoms, labeled."""
        self._campaign("feed", models="choice", keep=False)
        kept = {key: self.settings["feed"][key] for key in ("frames", "displacement")}
        more_frames.make(self.work, self.results, TRAINING_FRAMES, **kept)

    def remedies(self) -> None:
        """Train, deploy and run the remedies; also run the paper's criterion."""
        self._train("remedies")
        self._deploy("remedies")
        self._campaign("remedies")
        self._campaign("criterion")

    def methods(self) -> None:
        """Train, deploy and run the other methods."""
        for part in ("methods", "gentler"):
            self._train(part)
            self._deploy(part)
            self._campaign(part)

    def _campaign(self, part: str, *, models: str | None = None, keep: bool = True) -> None:
        campaign = deepcopy(self.settings["campaign"]) | self.settings[part].get("campaign", {})
        campaign["structure"] = f"{TRAINING_FRAMES}@{campaign.pop('frame')}"
        reference = campaign["equilibration"]["model"]
        campaign["equilibration"]["model"] = str(
            self.work / "models" / reference / "model.nequip.pt2"
        )
        campaign["models"] = [
            {
                "name": t.name,
                "file": str(t.deployed),
                "group": t.variant,
                "training_seed": str(t.seed),
            }
            for t in self.trainings(models or part)
        ]
        path = self.work / f"{part}.yaml"
        path.write_text(yaml.safe_dump(campaign, sort_keys=False))
        with show_progress() as progress:
            run_campaign(path, workers=self.workers, watch=progress.watch, report=progress.report)
        if keep:
            collect.keep_campaign(self.work / part, self.results)

    def sharpness(self) -> None:
        """Sharpness of all models that are reported, on the same training frames."""
        found: dict[str, Any] = {}
        for part in ("report", "remedies", "methods", "gentler"):
            trainings = self.trainings(part)
            measured = measure(
                [t.checkpoint for t in trainings],
                out=self.work / "sharpness",
                n_frames=self.settings["sharpness"]["frames"],
                settings=Settings(
                    measures=tuple(self.settings["sharpness"][part]),
                    samples=self.settings["sharpness"]["samples"],
                ),
                report=print,
            )
            for training, result in zip(trainings, measured, strict=True):
                found[training.name] = {"weights": result.weights} | result.values
        collect.write_json(self.results / "sharpness.json", found)

    def collect(self) -> None:
        """Tables and figures from the files in results/."""
        traces = self.work / "report"  # not kept one by one
        source = traces if traces.is_dir() else self.results / "report.jsonl"
        # Relative paths, because the report names its sources.
        report([os.path.relpath(source)], out=self.results / "report", reference="plain")
        collect.collect(self.results, self.settings["compare"])


def _deploy(training: Training) -> None:
    command = [str(PROGRAMS / "nequip-deploy"), "build", str(training.checkpoint)]
    command += [str(training.deployed), "--frames", str(TRAINING_FRAMES)]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
