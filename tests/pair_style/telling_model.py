"""A deployed model that says on the terminal whenever it is differentiated."""

import zipfile
from pathlib import Path

import torch

__all__ = ["WITH_FORCES", "telling"]

WITH_FORCES = "evaluated with forces"


class _Telling(torch.nn.Module):
    def __init__(self, inner: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.inner = inner
        self.model = inner.model  # where the engine looks for energies alone

    def forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        print("evaluated with forces")
        return self.inner(data)


def telling(model: Path, path: Path) -> Path:
    """Write a deployed TorchScript model that prints a line for each block with forces."""
    with zipfile.ZipFile(model) as archive:
        names = [name.partition("/extra/")[2] for name in archive.namelist()]
    entries = {name: "" for name in names if name}
    inner = torch.jit.load(model, map_location="cpu", _extra_files=entries)
    torch.jit.save(torch.jit.script(_Telling(inner).eval()), path, _extra_files=entries)
    return path
