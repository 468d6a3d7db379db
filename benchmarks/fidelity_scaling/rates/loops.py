"""Models that have learned from their failures: rounds of `nequip-legato improve`."""

import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from training import DATA, Training, metrics, run_logged

__all__ = ["Loop", "improve_all"]


@dataclass(frozen=True)
class Loop:
    """A model that a loop has made from a trained one.

    Attributes:
        variant: name of the method.
        origin: the training that it starts from.
        folder: where it runs.
        settings: of `nequip-legato improve`, without checkpoint and output; the structure is a file
            in the folder of the data.
    """

    variant: str
    origin: Training
    folder: Path
    settings: Mapping[str, Any]

    @property
    def seed(self) -> int:
        """Training seed of the model that it starts from."""
        return self.origin.seed

    @property
    def name(self) -> str:
        """Name of the model."""
        return f"{self.variant}-{self.seed}"

    @property
    def checkpoint(self) -> Path:
        """The weights of the last round."""
        return self._round(self.settings["rounds"]) / "model.ckpt"

    @property
    def deployed(self) -> Path:
        """The model of the last round for LAMMPS."""
        return self._round(self.settings["rounds"]) / self.settings["file"]

    @property
    def done(self) -> bool:
        """Whether the last round has been tested."""
        return (self._round(self.settings["rounds"]) / "errors.json").is_file()

    def _round(self, number: int) -> Path:
        return self.folder / "loop" / f"round-{number}"

    def run(self) -> None:
        """Do the loop, or what is left of it.

        Raises:
            SystemExit: if it fails, or finds nothing to learn from.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        campaign = self.settings["campaign"]
        settings = self.settings | {
            "checkpoint": str(self.origin.checkpoint),
            "campaign": campaign | {"structure": str(DATA / campaign["structure"])},
        }
        path = self.folder / "loop.yaml"
        path.write_text(yaml.safe_dump(settings))
        command = [str(Path(sys.executable).parent / "nequip-legato"), "improve", str(path)]
        if run_logged(command, self.folder / "output.txt") != 0 or not self.done:
            raise SystemExit(f"the loop {self.name} failed; see {self.folder / 'output.txt'}")

    def errors(self) -> dict[str, Any]:
        """Cost in gradient evaluations, with those of the first training, and test errors."""
        rounds = range(1, self.settings["rounds"] + 1)
        trained = [_json(self._round(n) / "trained.json") for n in rounds]
        test = _json(self._round(self.settings["rounds"]) / "errors.json")["test"]
        return {
            "model": self.name,
            "variant": self.variant,
            "seed": self.seed,
            "gradient_evaluations": round(metrics(self.origin)["step"])
            + sum(t["steps"] for t in trained),
            "labels": trained[-1]["added"],
            "force_rmse_meV_A": round(1000 * test["force_rmse"], 4),
            "force_mae_meV_A": round(1000 * test["force_mae"], 4),
            "energy_rmse_meV_atom": round(1000 * test["energy_rmse"], 4),
            "stress_rmse_meV_A3": round(1000 * test["stress_rmse"], 4),
        }


def improve_all(loops: Sequence[Loop], *, workers: int) -> None:
    """Do all loops whose first model is trained; an interrupted one goes on."""
    waiting = [loop for loop in loops if loop.origin.done and not loop.done]
    with ThreadPoolExecutor(workers) as pool:
        for loop, _ in zip(waiting, pool.map(Loop.run, waiting), strict=True):
            print(f"improved {loop.name}", flush=True)


def _json(path: Path) -> Any:
    return json.loads(path.read_text())
