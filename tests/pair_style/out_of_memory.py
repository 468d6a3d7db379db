"""Deployed models that run out of memory, really, when a block is larger than they like."""

import zipfile
from pathlib import Path

import torch

__all__ = ["limited"]


class _Limited(torch.nn.Module):
    """A model that asks torch for too much memory when a block has more nodes than a limit."""

    def __init__(self, model: torch.jit.ScriptModule, limit: int) -> None:
        super().__init__()
        self.inner = model
        self.limit = limit
        self.far_too_many = 1 << 56  # numbers, which no machine has the memory for

    def forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if data["atom_types"].size(0) > self.limit:
            data["pos"] = data["pos"] + torch.empty([self.far_too_many])[0]
        return self.inner(data)


def limited(model: Path, path: Path, *, centers: int, types: int = 2) -> Path:
    """Write a deployed TorchScript model that fails above a number of centers.

    Args:
        model: deployed file.
        path: file to write.
        centers: largest block that fits.
        types: number of the model's types, each of which is a node of every block.
    """
    with zipfile.ZipFile(model) as archive:
        names = [name.partition("/extra/")[2] for name in archive.namelist()]
    entries = {name: "" for name in names if name}
    inner = torch.jit.load(model, map_location="cpu", _extra_files=entries)
    script = torch.jit.script(_Limited(inner, centers + types).eval())
    torch.jit.save(script, path, _extra_files=entries)
    return path
