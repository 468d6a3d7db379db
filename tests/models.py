"""Tiny models for tests, trained by the real ``nequip-train`` in about ten seconds each."""

from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import yaml
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from processes import PROGRAMS, run_process

__all__ = [
    "CUTOFF",
    "METRICS",
    "THIRD_TYPE",
    "TYPE_NAMES",
    "ammonia_frames",
    "tiny_config",
    "train_tiny",
    "training_config",
    "with_third_type",
]

TYPE_NAMES = ["H", "N"]
THIRD_TYPE = ["O"]
CUTOFF = 4.0
_SHIPPED = Path(__file__).parents[1] / "examples" / "nh3" / "data" / "train.extxyz"
METRICS = {
    "_target_": "nequip.train.EnergyForceMetrics",
    "coeffs": {"total_energy_mae": 1.0, "forces_mae": 1.0},
}
# what every training has, but for the metrics of validation
_TRAINING = {
    "loss": {
        "_target_": "nequip.train.EnergyForceLoss",
        "per_atom_energy": True,
        "coeffs": {"total_energy": 1.0, "forces": 1.0},
    },
    "val_metrics": METRICS,
    "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.01},
}
_ALLEGRO = {
    "_target_": "allegro.model.AllegroModel",
    "num_scalar_features": 8,
    "num_tensor_features": 4,
    "radial_chemical_embed": {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 4},
    "scalar_embed_mlp_hidden_layers_width": 8,
    "allegro_mlp_hidden_layers_width": 8,
    "readout_mlp_hidden_layers_width": 8,
}
_NEQUIP = {
    "_target_": "nequip.model.NequIPGNNModel",
    "num_features": 4,
    "num_bessels": 4,
    "radial_mlp_width": 8,
}


def ammonia_frames(count: int = 10) -> list[Atoms]:
    """Labeled periodic frames of liquid ammonia (64 atoms each), far apart from one another.

    They come from the example's training data; without those, from a rattled lattice of molecules
    labeled with ASE's EMT, whose forces have no meaning but belong to its energies.
    """
    if _SHIPPED.is_file():
        frames = ase.io.read(_SHIPPED, ":")
        chosen = np.linspace(0, len(frames) - 1, count).round().astype(int)
        return [frames[i] for i in chosen]
    rng = np.random.default_rng(7)
    return [_lattice_of_molecules(rng) for _ in range(count)]


def _lattice_of_molecules(rng: np.random.Generator) -> Atoms:
    box = Atoms(cell=[8.74] * 3, pbc=True)
    sites = [(x, y, z) for x in range(3) for y in range(3) for z in range(2)]
    for site in sites[:16]:
        ammonia = molecule("NH3")
        ammonia.euler_rotate(*rng.uniform(0, 180, 3))
        ammonia.translate(np.array(site) * 8.74 / np.array([3, 3, 2]))
        box += ammonia
    box.rattle(0.05, rng=rng)
    box.calc = EMT()
    labels = {
        "energy": box.get_potential_energy(),
        "forces": box.get_forces(),
        "stress": box.get_stress(),
    }
    box.calc = SinglePointCalculator(box, **labels)
    return box


def with_third_type(atoms: Atoms) -> Atoms:
    """A copy, labels included, in which every fifth hydrogen is an oxygen by name."""
    changed = atoms.copy()
    hydrogens = np.flatnonzero(changed.numbers == 1)
    changed.numbers[hydrogens[::5]] = 8
    changed.calc = SinglePointCalculator(changed, **atoms.calc.results)
    return changed


def tiny_config(
    data_path: str,
    type_names: list[str],
    *,
    model: dict[str, Any],
    trainer: dict[str, Any],
    training_module: dict[str, Any],
    data: dict[str, Any] | None = None,
    neighbors: dict[str, Any] | None = None,
    kind: str = "allegro",
) -> dict[str, Any]:
    """The nequip-train configuration of a tiny model.

    Args:
        data_path: of the frames, ``{}`` standing for ``train`` and ``val``.
        type_names: of the model.
        model: its other keys, such as ``seed``.
        trainer: its keys.
        training_module: its other keys; ``optimizer``, for instance, instead of the usual one.
        data: other keys of the data, such as ``seed`` and data loaders.
        neighbors: other keys of the neighbor lists.
        kind: ``allegro``, or ``nequip`` for a message-passing model.
    """
    transforms = "nequip.data.transforms"
    mapper = {"_target_": f"{transforms}.ChemicalSpeciesToAtomTypeMapper"}
    lists = {"_target_": f"{transforms}.NeighborListTransform", "r_max": CUTOFF}
    common = {"type_names": type_names, "r_max": CUTOFF, "l_max": 1}
    module = {"_target_": "nequip.train.NequIPLightningModule", **_TRAINING, **training_module}
    return {
        "run": ["train"],
        "data": {
            "_target_": "nequip.data.datamodule.ASEDataModule",
            "train_file_path": data_path.format("train"),
            "val_file_path": data_path.format("val"),
            "transforms": [
                {**mapper, "model_type_names": type_names},
                {**lists, **(neighbors or {})},
            ],
            **(data or {}),
        },
        "trainer": {
            "_target_": "lightning.Trainer",
            "accelerator": "cpu",
            "enable_progress_bar": False,
            **trainer,
        },
        "training_module": {
            **module,
            "model": {**{"allegro": _ALLEGRO, "nequip": _NEQUIP}[kind], **common, **model},
        },
    }


def training_config(
    folder: Path,
    *,
    dtype: str = "float64",
    seed: int = 0,
    kind: str = "allegro",
    ema: bool = False,
    per_edge_type_cutoff: dict[str, Any] | None = None,
    sam: dict[str, Any] | None = None,
    data_path: str | None = None,
    zbl: bool = False,
    third_type: bool = False,
    layers: int = 2,
) -> dict[str, Any]:
    """The nequip-train configuration of :func:`train_tiny`, which see."""
    type_names = [*TYPE_NAMES, *THIRD_TYPE] if third_type else TYPE_NAMES
    checkpoint = {
        "_target_": "lightning.pytorch.callbacks.ModelCheckpoint",
        "dirpath": str(folder),
        "filename": "model",
        "save_last": False,
    }
    callbacks = [checkpoint]
    if sam is not None:
        callbacks.append({"_target_": "nequip_legato.SAM", **sam})
    model = {
        "seed": seed,
        "model_dtype": dtype,
        "per_edge_type_cutoff": per_edge_type_cutoff,
        "num_layers": layers,
        "avg_num_neighbors": "${training_data_stats:num_neighbors_mean}",
        "per_type_energy_shifts": "${training_data_stats:per_atom_energy_mean}",
        "per_type_energy_scales": "${training_data_stats:forces_rms}",
    }
    if zbl:
        model["pair_potential"] = {
            "_target_": "nequip.nn.pair_potential.ZBL",
            "units": "metal",
            "chemical_species": type_names,
        }
    loader = {"_target_": "torch.utils.data.DataLoader", "batch_size": 2}
    averaged = {"_target_": "nequip.train.EMALightningModule", "ema_decay": 0.8}
    config = tiny_config(
        data_path or str(folder / "{}.extxyz"),
        type_names,
        model=model,
        trainer={"max_epochs": 1, "logger": False, "callbacks": callbacks},
        training_module=averaged if ema else {},
        data={
            "seed": seed,
            "train_dataloader": loader,
            "val_dataloader": loader,
            "stats_manager": {
                "_target_": "nequip.data.CommonDataStatisticsManager",
                "type_names": type_names,
                "dataloader_kwargs": {"batch_size": 4},
            },
        },
        neighbors={"per_edge_type_cutoff": per_edge_type_cutoff, "type_names": type_names},
        kind=kind,
    )
    return config | {"hydra": {"run": {"dir": str(folder / "hydra")}}}


def train_tiny(folder: Path, *, third_type: bool = False, **options) -> Path:
    """Train a tiny model for one epoch of four steps.

    Args:
        folder: where data, configuration and checkpoint go; made if need be.
        third_type: every fifth hydrogen is an oxygen by name, a type of its own.
        options: dtype: ``float32`` or ``float64`` (default).
            seed: of weights and data order.
            kind: ``allegro``, or ``nequip`` for a message-passing model.
            ema: keep an exponential moving average of the weights.
            per_edge_type_cutoff: nequip's option, e.g. ``{"H": {"H": 3.0, "N": 3.5}, "N": 4.0}``.
            sam: options of ``nequip_legato.SAM``; none for plain training.
            zbl: add nequip's ZBL pair potential.
            layers: of the model; with one it is compiled sooner.
            data_path: what the configuration names, ``{}`` standing for ``train`` and ``val``;
                default the absolute path of the files in ``folder``. Training runs in ``folder``.

    Returns:
        Path of the checkpoint.
    """
    folder = Path(folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    frames = ammonia_frames()
    if third_type:
        frames = [with_third_type(atoms) for atoms in frames]
    ase.io.write(folder / "train.extxyz", frames[:8])
    ase.io.write(folder / "val.extxyz", frames[8:])
    config = training_config(folder, third_type=third_type, **options)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    run_process(PROGRAMS / "nequip-train", "-cp", folder, "-cn", "tiny", cwd=folder)
    return folder / "model.ckpt"
