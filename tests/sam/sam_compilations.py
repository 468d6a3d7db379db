"""A callback that counts what torch has compiled."""

import json
from pathlib import Path

import torch
from lightning.pytorch import Callback

__all__ = ["CountCompilations"]


class CountCompilations(Callback):
    """Writes ``compilations.json`` at the end of training: graphs traced, looked up or compiled."""

    def on_train_end(self, *_) -> None:
        counters = torch._dynamo.utils.counters
        inductor = counters["inductor"]
        counted = {
            "graphs": counters["stats"]["unique_graphs"],
            "inductor": sum(inductor[f"fxgraph_cache_{k}"] for k in ("hit", "miss", "bypass")),
            "aot": counters["aot_autograd"]["ok"],  # with an empty cache it is tried twice
        }
        Path("compilations.json").write_text(json.dumps(counted))
