"""Running the real ``nequip-train`` quickly, and reading what it left behind.

A fork server imports torch and nequip once; every run is then nequip-train's own ``main`` in a
fresh process with its own command line, folder and output file.
"""

import csv
import math
import multiprocessing
import os
import random
import socket
import sys
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Callback
from models import METRICS, tiny_config

__all__ = ["RecordWeights", "Run", "free_port", "largest_difference", "nequip_train", "settings"]

_TYPES = ["Al", "Cu"]


@dataclass
class Run:
    """A finished nequip-train."""

    folder: Path
    returncode: int
    output: str

    @property
    def checkpoint(self) -> dict[str, Any]:
        """The last checkpoint."""
        return torch.load(self.folder / "last.ckpt", map_location="cpu", weights_only=False)

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        """Everything in the module's state that is a tensor: weights, averages, buffers."""
        state = self.checkpoint["state_dict"]
        return {k: v for k, v in state.items() if isinstance(v, torch.Tensor)}

    def logged(self, name: str) -> list[float]:
        """The values that the CSV logger got for ``name``, in order."""
        with (self.folder / "metrics.csv").open() as file:
            return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


def settings(
    data: Path,
    *,
    sam: dict[str, Any] | None = None,
    training_module: dict[str, Any] | None = None,
    trainer: dict[str, Any] | None = None,
    batch_size: int = 2,
    shuffle: bool = False,
    model: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Configuration for nequip-train: a tiny Allegro model on the frames in ``data``."""
    trainer = dict(trainer or {})
    callbacks = [
        {
            "_target_": "lightning.pytorch.callbacks.ModelCheckpoint",
            "dirpath": ".",
            "filename": "epoch{epoch}",
            "auto_insert_metric_name": False,
            "save_top_k": -1,
            "save_last": True,
        }
    ]
    if sam is not None:
        callbacks.append({"_target_": "nequip_legato.SAM", **sam})
    callbacks += trainer.pop("callbacks", [])
    loader = {"_target_": "torch.utils.data.DataLoader", "batch_size": batch_size}
    config = tiny_config(
        str(data / "{}.extxyz"),
        _TYPES,
        model={
            "seed": 3,
            "model_dtype": "float64",
            "num_layers": 1,
            "avg_num_neighbors": 12.0,
            **(model or {}),
        },
        trainer={
            "max_epochs": 2,
            "devices": 1,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "log_every_n_steps": 1,
            "logger": {
                "_target_": "lightning.pytorch.loggers.CSVLogger",
                "save_dir": ".",
                "name": "",
                "version": "",
            },
            "callbacks": callbacks,
            **trainer,
        },
        training_module={"train_metrics": METRICS, **(training_module or {})},
        data={
            "seed": 1,
            "train_dataloader": {**loader, "shuffle": shuffle},
            "val_dataloader": {**loader, "batch_size": 2},
            "stats_manager": {
                "_target_": "nequip.data.CommonDataStatisticsManager",
                "type_names": _TYPES,
            },
        },
    )
    return config | {"hydra": {"run": {"dir": "hydra"}}}


def nequip_train(
    folder: Path, config: dict[str, Any], *overrides: str, ranks: int = 1, timeout: float = 400
) -> Run:
    """Run nequip-train in ``folder``; with several ``ranks`` as their launcher would start them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(deepcopy(config)))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sam_harness", "nequip.scripts.train", "allegro.model"])
    parallel = {}
    if ranks > 1:
        parallel = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    processes = []
    for rank in range(ranks):
        environment = {"OMP_NUM_THREADS": "1", **parallel}
        if ranks > 1:
            environment |= {"NODE_RANK": "0", "LOCAL_RANK": str(rank)}
        process = context.Process(target=_main, args=(str(folder), overrides, environment, rank))
        process.start()
        processes.append(process)
    for process in processes:
        process.join(timeout)
        if process.is_alive():
            process.kill()
            process.join()
    output = "".join((folder / f"output{rank}.txt").read_text() for rank in range(ranks))
    return Run(folder, max(abs(p.exitcode) for p in processes), output)


class RecordWeights(Callback):
    """Writes ``weights.pt``: weights and averaged weights after every step."""

    def __init__(self):
        self.steps = []

    def on_train_batch_end(self, trainer, pl_module, *_):
        weights = [p.detach().clone() for p in pl_module.model.parameters()]
        self.steps.append((weights, [w.clone() for w in pl_module.ema.ema_weights]))

    def on_train_end(self, trainer, pl_module):
        torch.save(self.steps, "weights.pt")


def free_port() -> int:
    """A port for processes that find one another there.

    It lies below those that the system gives away by itself: one of these may be another program's
    before the first process listens.
    """
    while True:
        port = random.SystemRandom().randrange(20_000, 32_768)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _main(folder: str, overrides: tuple[str, ...], environment: dict[str, str], rank: int) -> None:
    os.environ.update(environment)
    os.chdir(folder)
    output = os.open(f"output{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    torch.set_num_threads(1)
    sys.argv = ["nequip-train", "-cp", folder, "-cn", "config", *overrides]
    from nequip.scripts.train import main

    main()


def largest_difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Over all tensors of two states with the same names."""
    if one.keys() != other.keys():
        return math.inf
    return max((one[k] - other[k]).abs().max().item() for k in one if one[k].numel())
