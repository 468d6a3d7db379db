"""The models that are compared: compiled forms of one checkpoint, each made once."""

import io
import os
import subprocess
import sys
from pathlib import Path

import torch
from nequip.data import AtomicDataDict
from nequip.scripts._compile_utils import COMPILE_TARGET_DICT
from nequip.utils.aot import aot_export_model
from structures import Periodic, ammonia

from nequip_legato import deploy
from nequip_legato.deploy.channels import repeat_weights
from nequip_legato.deploy.contraction import contract_centers_first
from nequip_legato.deploy.export import save_torchscript, without_executable_stack
from nequip_legato.deploy.metadata import model_entries
from nequip_legato.deploy.target import INPUTS, OUTPUTS
from nequip_legato.files import replacing
from nequip_legato.trained.checkpoint import open_source

__all__ = ["POSITION_INPUTS", "Models"]

HERE = Path(__file__).parent.absolute()
NH3 = HERE.parents[1] / "examples" / "nh3"
_TARGET = COMPILE_TARGET_DICT["pair_allegro"]
POSITION_INPUTS: list[str] = _TARGET["input"]
PADDING = 1.15
"""Edges of the fixed-shape block over the average number, so that dense regions fit, too."""


class Models:
    """Compiled forms of one model in a folder; each property makes its file if it is missing.

    Args:
        folder: where they are kept.
        checkpoint: of ``nequip-train``; None trains the example's model for one epoch, because
            speed does not depend on the values of the weights.
    """

    def __init__(self, folder: Path, checkpoint: Path | None = None) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._given = checkpoint

    @property
    def checkpoint(self) -> Path:
        """The trained model."""
        if self._given is not None:
            return self._given
        path = self.folder / "training" / "best.ckpt"
        if not path.is_file():
            command = [str(Path(sys.executable).parent / "nequip-train"), "-cp", str(NH3)]
            command += ["-cn", "train", f"hydra.run.dir={path.parent}", "trainer.max_epochs=1"]
            subprocess.run(command, cwd=NH3, check=True)
        return path

    @property
    def torchscript(self) -> Path:
        """TorchScript for blocks; it takes positions as well."""
        return self._deployed("block.nequip.pth")

    @property
    def nequips_torchscript(self) -> Path:
        """TorchScript of nequip's own graph, as from ``nequip-compile`` for ``pair_allegro``."""
        path = self.folder / "nequip.nequip.pth"
        if not path.is_file():
            model = self._model()
            with replacing(path) as hidden:
                save_torchscript(model, model_entries(model), hidden, device="cpu")
        return path

    @property
    def aotinductor(self) -> Path:
        """AOTInductor for blocks."""
        return self._deployed("block.nequip.pt2")

    @property
    def without_kernels(self) -> Path:
        """The same by the compiler's kernels alone."""
        return self._deployed("block-without.nequip.pt2", kernels="off")

    def whole_aotinductor(self, threads: int) -> Path:
        """AOTInductor from positions, nequip's target ``pair_allegro``, multithreaded."""
        path = self.folder / f"whole-{threads}.nequip.pt2"
        if not path.is_file():
            data = ammonia((1, 1, 1)).by_positions()
            data = {key: value for key, value in data.items() if key in POSITION_INPUTS}
            sizes = {
                "graph": torch.export.Dim.STATIC,
                "node": torch.export.Dim("num_nodes", min=2),
                "edge": torch.export.Dim("num_edges", min=2),
            }
            model = self._model()
            self._compile(path, model, data, POSITION_INPUTS, _TARGET["output"], sizes, threads)
        return path

    def static_block(self, block: int) -> Path:
        """AOTInductor for blocks of exactly this many centers, and a fixed number of edges.

        By the compiler's kernels.
        """
        path = self.folder / f"static-{block}.nequip.pt2"
        if not path.is_file():
            data = static_inputs(ammonia((1, 1, 1)), block)
            sizes = dict.fromkeys(("graph", "node", "edge"), torch.export.Dim.STATIC)
            model = repeat_weights(contract_centers_first(self._model()))
            self._compile(path, model, data, INPUTS, OUTPUTS, sizes, 1)
        return path

    def _deployed(self, name: str, **options: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            frames = NH3 / "data" / "train.extxyz"
            deploy.build(self.checkpoint, path, frames=frames, energy_model=True, **options)
        return path

    def _model(self) -> torch.nn.Module:
        """The eager model."""
        return open_source(self.checkpoint, model_key="sole_model").model

    def _compile(self, path, model, data, inputs, outputs, sizes, threads: int) -> None:
        content = io.BytesIO()
        aot_export_model(
            model=model,
            device="cpu",
            input_fields=inputs,
            output_fields=outputs,
            data=data,
            batch_map=sizes,
            output_path=content,
            inductor_configs={
                "cpp.threads": threads,
                "aot_inductor.metadata": model_entries(model),  # pair_allegro reads it
                **without_executable_stack(model),
            },
        )
        with replacing(path) as hidden:
            hidden.write_bytes(content.getbuffer())


def static_inputs(system: Periodic, block: int) -> AtomicDataDict.Type:
    """The first ``block`` atoms as a block whose edges are padded to a fixed number."""
    data = system.block(0, block)
    wanted = round(PADDING * block * system.neighbors_per_atom / 16) * 16
    index, vectors = data[AtomicDataDict.EDGE_INDEX_KEY], data[AtomicDataDict.EDGE_VECTORS_KEY]
    missing = wanted - index.shape[1]
    if missing < 0:
        raise ValueError(f"{index.shape[1]} edges do not fit into {wanted}")
    data[AtomicDataDict.EDGE_INDEX_KEY] = torch.cat(
        [index, torch.full((2, missing), block, dtype=index.dtype)], dim=1
    )
    padding = torch.tensor([[2.0, 0.0, 0.0]], dtype=vectors.dtype).expand(missing, 3)
    data[AtomicDataDict.EDGE_VECTORS_KEY] = torch.cat([vectors, padding])
    return data


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    models = Models(HERE / "work" / "models", Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    print(models.torchscript, models.aotinductor, models.whole_aotinductor(2))
    print(models.without_kernels, models.static_block(64))
