"""Configurations of the original Allegro-Legato, migrated, taken apart and really trained."""

import argparse
import csv
import math
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
import yaml
from hydra.utils import instantiate
from nequip.data import AtomicDataDict as Keys
from nequip.data.dataset import ASEDataset
from nequip.utils.global_state import set_global_state
from omegaconf import OmegaConf
from processes import PROGRAMS, run_process

from nequip_legato import SAM
from nequip_legato.cli import main
from nequip_legato.cli.migrate import add_migrate
from nequip_legato.errors import LegatoError
from nequip_legato.migrate import migrate
from nequip_legato.migrate.npz import npz_to_extxyz

DATA = Path(__file__).parents[1] / "examples" / "nh3" / "data"
N_FRAMES = 8  # of small.extxyz

# Every kind of key that a configuration of the ammonia study had, for a small model.
OLD = """\
root: results/ammonia
run_name: flat
seed: 31415
dataset_seed: 2718
append: true
default_dtype: float32

with_sam: true
rho: 0.01
adaptive_sam: false

model_builders:
  - allegro.model.Allegro
  - PerSpeciesRescale
  - ForceOutput
  - RescaleEnergyEtc

r_max: 3.5
avg_num_neighbors: auto
num_basis: 6
BesselBasis_trainable: true
PolynomialCutoff_p: 7
l_max: 1
parity: o3_full
num_layers: 1
env_embed_multiplicity: 4
embed_initial_edge: true
two_body_latent_mlp_latent_dimensions: [8, 16, 32]
two_body_latent_mlp_nonlinearity: silu
two_body_latent_mlp_initialization: uniform
latent_mlp_latent_dimensions: [32]
latent_mlp_nonlinearity: silu
latent_mlp_initialization: uniform
latent_resnet: true
env_embed_mlp_latent_dimensions: []
env_embed_mlp_nonlinearity: null
env_embed_mlp_initialization: uniform
edge_eng_mlp_latent_dimensions: [16]
edge_eng_mlp_nonlinearity: null
edge_eng_mlp_initialization: uniform

dataset: ase
dataset_file_name: small.extxyz
key_mapping:
  forces: forces
  stress: virial
  energy: total_energy
ase_args:
  format: extxyz
chemical_symbol_to_type:
  H: 0
  N: 1

wandb: false
wandb_project: ammonia
verbose: info
log_batch_freq: 1

n_train: 5
n_val: 2
train_val_split: random
shuffle: true
batch_size: 2
validation_batch_size: 1
max_epochs: 4
learning_rate: 0.004
metrics_key: validation_loss

use_ema: true
ema_decay: 0.99
ema_use_num_updates: true

loss_coeffs:
  forces: 3.
  total_energy:
    - 1.
    - PerAtomMSELoss

optimizer_name: Adam
optimizer_params:
  amsgrad: true
  betas: !!python/tuple
    - 0.9
    - 0.99
  eps: 1e-08
  weight_decay: 0.

metrics_components:
  - - forces
    - mae
  - - forces
    - rmse
    - PerSpecies: True
      report_per_component: False
  - - total_energy
    - rmse
    - PerAtom: True

lr_scheduler_name: ReduceLROnPlateau
lr_scheduler_patience: 50
lr_scheduler_factor: 0.5

early_stopping_lower_bounds:
  LR: 1.0e-5
early_stopping_upper_bounds:
  cumulative_wall: 604800.
early_stopping_patiences:
  validation_loss: 100
early_stopping_delta:
  validation_loss: 0.005
"""

# Further keys of nequip 0.5 and Allegro 0.2 and some that neither had: key -> value.
FURTHER = {
    "allow_tf32": True,
    "dataloader_num_workers": 2,
    "dataset_statistics_stride": 5,
    "dataset_url": "https://example.org/frames.zip",
    "dataset_include_keys": ["charge"],
    "device": "cpu",
    "e3nn_optimization_defaults": {"explicit_backward": True},
    "early_stopping_cumulative_delta": False,
    "equivariance_test": True,
    "exclude_keys": ["dipole"],
    "global_rescale_scale": "dataset_forces_rms",
    "global_rescale_shift": "dataset_total_energy_mean",
    "grad_anomaly_mode": True,
    "include_keys": ["charge"],
    "init_callbacks": ["my.callback"],
    "log_epoch_freq": 2,
    "lr_scheduler_kwargs": {"threshold": 0.01, "verbose": True},
    "max_gradient_norm": 10.0,
    "model_debug_mode": True,
    "monkey_business": {"a": 1},
    "nequip_version": "0.5.5",
    "npz_fixed_field_keys": ["atomic_numbers"],
    "num_types": 2,
    "optimizer_kwargs": {"foreach": True, "nonsense": 1},
    "optimizer_eps": 1e-7,
    "per_species_rescale_arguments_in_dataset_units": True,
    "per_species_rescale_scales": "dataset_per_species_forces_rms",
    "per_species_rescale_shifts": "dataset_per_species_total_energy_mean",
    "per_species_rescale_trainable": True,
    "report_init_validation": True,
    "save_checkpoint_freq": 10,
    "save_ema_checkpoint_freq": 20,
    "train_idcs": [0, 2],
    "train_on_keys": ["forces"],
    "val_idcs": [1],
    "validation_dataset": "ase",
    "validation_dataset_file_name": "other.extxyz",
    "validation_key_mapping": {"energy": "total_energy"},
    "wandb_resume": True,
    "workdir": "here",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a few frames of ammonia in it."""
    monkeypatch.chdir(tmp_path)
    frames = ase.io.read(DATA / "train.extxyz", f":{N_FRAMES}")
    ase.io.write("small.extxyz", frames, format="extxyz")
    return tmp_path


def old_values(**changes):
    """The configuration as a mapping, changed; None takes a key away."""
    values = yaml.safe_load(OLD.replace("!!python/tuple", "")) | changes
    return {key: value for key, value in values.items() if value is not None}


def migrated(folder, **changes):
    path = Path(folder) / "old.yaml"
    path.write_text(yaml.safe_dump(old_values(**changes)))
    return migrate(path)


def section(done, name):
    """A section of the new configuration with its references resolved."""
    config = {key: value for key, value in done.config.items() if key != "hydra"}
    return OmegaConf.to_container(OmegaConf.create(config)[name], resolve=True)


def module_of(done, stage="fit"):
    config = {k: v for k, v in done.config.items() if k not in ("hydra", "trainer")}
    set_global_state()
    module = instantiate(
        OmegaConf.to_container(OmegaConf.create(config).data, resolve=True), _recursive_=False
    )
    module.setup(stage)
    return module


def accounted(done, keys):
    """Every key is used or named, none both."""
    used, named = set(done.used), set(done.without)
    assert not used & named
    assert set(keys) <= used | named
    assert used <= set(keys)
    assert all(reason.strip() and "\n" not in reason for reason in done.without.values())


def test_every_key_is_used_or_named(tmp_path):
    path = tmp_path / "old.yaml"
    path.write_text(OLD)
    done = migrate(path)
    accounted(done, yaml.safe_load(OLD.replace("!!python/tuple", "")))
    assert "rho" in done.used
    assert "latent_resnet" in done.without
    for key in FURTHER:
        changes = {key: FURTHER[key], "validation_dataset_file_name": "other.extxyz"}
        accounted(migrated(tmp_path, **changes), old_values(**changes))
    done = migrated(tmp_path, **FURTHER)
    accounted(done, old_values(**FURTHER))
    for key in ("monkey_business", "init_callbacks", "workdir", "npz_fixed_field_keys"):
        assert key in done.without
        assert f"- {key}: " in done.text
    assert "optimizer_kwargs.nonsense" in done.without


def test_any_key_may_be_missing(tmp_path):
    """Without it comes a default, or an error that says that it is needed."""
    needed = set()
    for key in yaml.safe_load(OLD.replace("!!python/tuple", "")):
        changes = {key: None}
        if key == "optimizer_name":
            changes["optimizer_params"] = None
        try:
            done = migrated(tmp_path, **changes)
        except LegatoError:
            needed.add(key)
        else:
            accounted(done, old_values(**changes))
    assert needed == {
        "chemical_symbol_to_type",
        "dataset",
        "dataset_file_name",
        "l_max",
        "latent_mlp_latent_dimensions",
        "model_builders",
        "n_train",
        "n_val",
        "num_layers",
        "r_max",
        "two_body_latent_mlp_latent_dimensions",
    }


def test_text_is_the_configuration(tmp_path):
    for changes in ({}, FURTHER, {"parity": "so3"}, {"train_val_split": "sequential"}):
        done = migrated(tmp_path, **changes)
        assert yaml.safe_load(done.text) == done.config
        assert "# with_sam:" in done.text


def test_sam_settings(tmp_path):
    def callbacks(**changes):
        done = migrated(tmp_path, **changes)
        found = done.config["trainer"]["callbacks"]
        return [c for c in found if c["_target_"] == "nequip_legato.SAM"], done

    (sam,), done = callbacks()
    assert (sam["rho"], sam["adaptive"]) == (0.01, False)
    built = instantiate(sam)
    assert isinstance(built, SAM)
    # the original's default where the file has no rho
    (sam,), done = callbacks(rho=None, adaptive_sam=True)
    assert (sam["rho"], sam["adaptive"]) == (0.05, True)
    assert any(line.startswith("rho: 0.05") for line in done.assumed)
    sam, done = callbacks(with_sam=False)
    assert sam == []
    assert {"rho", "adaptive_sam"} <= set(done.without)


def test_numbers_arrive(tmp_path):
    done = migrated(tmp_path, max_gradient_norm=5.0, allow_tf32=True, save_checkpoint_freq=10)
    config = done.config
    trainer, module = config["trainer"], config["training_module"]
    assert config["hydra"]["run"]["dir"] == "results/ammonia/flat"
    assert config["cutoff"] == 3.5
    assert config["type_names"] == ["H", "N"]
    assert config["global_options"] == {"allow_tf32": True}
    assert trainer["max_epochs"] == 4
    assert trainer["max_time"] == "07:00:00:00"
    assert trainer["gradient_clip_val"] == 5.0
    assert module["ema_decay"] == 0.99
    assert module["optimizer"] == {
        "_target_": "torch.optim.Adam",
        "lr": 0.004,
        "amsgrad": True,
        "betas": [0.9, 0.99],
        "eps": 1e-8,  # written 1e-08, which YAML 1.1 takes for a text
        "weight_decay": 0.0,
    }
    scheduler = module["lr_scheduler"]
    assert scheduler["monitor"] == "val0_epoch/weighted_sum"
    assert (scheduler["scheduler"]["patience"], scheduler["scheduler"]["factor"]) == (50, 0.5)
    model = module["model"]
    assert (model["seed"], model["model_dtype"], model["num_layers"]) == (31415, "float32", 1)
    assert (model["num_scalar_features"], model["num_tensor_features"]) == (32, 4)
    data = config["data"]
    assert (data["train_dataloader"]["batch_size"], data["val_dataloader"]["batch_size"]) == (2, 1)
    stops = [c for c in trainer["callbacks"] if c["_target_"].endswith(".EarlyStopping")]
    assert [c["monitor"] for c in stops] == ["val0_epoch/weighted_sum", "lr-Adam"]
    saved = [c for c in trainer["callbacks"] if c["_target_"].endswith(".ModelCheckpoint")]
    assert [c.get("every_n_epochs") for c in saved] == [None, 10]
    without = migrated(tmp_path, use_ema=False).config["training_module"]
    assert without["_target_"] == "nequip.train.NequIPLightningModule"


def test_wandb_and_metrics(tmp_path):
    done = migrated(tmp_path, wandb=True, metrics_key="validation_f_mae")
    loggers = done.config["trainer"]["logger"]
    assert [x["_target_"].rsplit(".")[-1] for x in loggers] == ["CSVLogger", "WandbLogger"]
    assert (loggers[1]["project"], loggers[1]["name"]) == ("ammonia", "flat")
    assert done.config["trainer"]["callbacks"][0]["monitor"] == "val0_epoch/forces_mae"
    done = migrated(tmp_path, metrics_key="validation_psavg_f_rmse")
    assert "metrics_key: validation_psavg_f_rmse" in done.without


def test_early_stopping_on_errors_keeps_its_delta(tmp_path):
    done = migrated(
        tmp_path,
        early_stopping_patiences={"f_mae": 20},
        early_stopping_delta={"f_mae": 0.002},
        early_stopping_upper_bounds={"f_mae": 10.0},
        early_stopping_lower_bounds={"validation_loss": 0.1},
    )
    (stop,) = [
        c for c in done.config["trainer"]["callbacks"] if c["_target_"].endswith("EarlyStopping")
    ]
    expected = {"patience": 20, "min_delta": 0.002, "divergence_threshold": 10.0}
    assert expected.items() <= stop.items()
    assert "early_stopping_lower_bounds.validation_loss" in done.without
    instantiate(stop)


def test_same_frames_as_before(folder):
    """One permutation from dataset_seed: first n_train, then n_val."""
    order = torch.randperm(N_FRAMES, generator=torch.Generator().manual_seed(2718)).tolist()
    energies = [f.get_potential_energy() for f in ase.io.read("small.extxyz", ":")]

    def taken(dataset):
        return [dataset[k][Keys.TOTAL_ENERGY_KEY].item() for k in range(len(dataset))]

    def check(train, val, **changes):
        module = module_of(migrated(folder, **changes))
        assert taken(module.train_dataset[0]) == pytest.approx([energies[k] for k in train])
        assert taken(module.val_dataset[0]) == pytest.approx([energies[k] for k in val])

    check(order[:5], order[5:7])
    check(range(5), range(5, 7), train_val_split="sequential")
    check([6, 1], [3], train_idcs=[6, 1], val_idcs=[3])
    check(
        range(5),
        range(2),
        train_val_split="sequential",
        validation_dataset_file_name="small.extxyz",
    )


def test_types(folder):
    module = module_of(migrated(folder, chemical_symbol_to_type={"N": 0, "H": 1}))
    types = module.train_dataset[0][0][Keys.ATOM_TYPE_KEY].reshape(-1).tolist()
    assert types.count(1) == 3 * types.count(0)
    # chemical_symbols are sorted by atomic number, type_names may be other than symbols
    done = migrated(folder, chemical_symbol_to_type=None, chemical_symbols=["N", "H"])
    assert done.config["type_names"] == ["H", "N"]
    done = migrated(folder, type_names=["light", "heavy"])
    assert done.config["type_names"] == ["light", "heavy"]
    module = module_of(done)
    types = module.train_dataset[0][0][Keys.ATOM_TYPE_KEY].reshape(-1).tolist()
    assert types.count(0) == 3 * types.count(1)


def npz_arrays():
    frames = ase.io.read("small.extxyz", ":")
    arrays = {
        "R": np.array([f.positions for f in frames]),
        "E": np.array([[f.get_potential_energy()] for f in frames]),
        "F": np.array([f.get_forces() for f in frames]),
        "z": frames[0].numbers,
        "CELL": np.array([f.cell.array for f in frames]),
        "PBC": np.array([f.pbc for f in frames]),
    }
    return frames, arrays


NPZ = {
    "dataset": "npz",
    "dataset_file_name": "small.npz",
    "ase_args": None,
    "train_val_split": "sequential",
    "npz_fixed_field_keys": ["atomic_numbers"],
    "key_mapping": {
        "R": "pos",
        "E": "total_energy",
        "F": "forces",
        "z": "atomic_numbers",
        "CELL": "cell",
        "PBC": "pbc",
    },
}


def check_data(done, frames):
    dataset = module_of(done).train_dataset[0]
    for k in range(len(dataset)):
        data = dataset[k]
        assert data[Keys.TOTAL_ENERGY_KEY].item() == pytest.approx(frames[k].get_potential_energy())
        np.testing.assert_allclose(data[Keys.POSITIONS_KEY], frames[k].positions, atol=1e-7)
        np.testing.assert_allclose(data[Keys.FORCE_KEY], frames[k].get_forces(), atol=1e-7)
        symbols = [done.config["type_names"][t] for t in data[Keys.ATOM_TYPE_KEY].reshape(-1)]
        assert symbols == frames[k].get_chemical_symbols()
        np.testing.assert_allclose(data[Keys.CELL_KEY].reshape(3, 3), frames[k].cell.array)
        assert data[Keys.EDGE_INDEX_KEY].shape[1] > len(frames[k])


def test_npz_is_read_as_it_is(folder):
    frames, arrays = npz_arrays()
    np.savez("small.npz", **arrays)
    done = migrated(folder, **NPZ)
    assert done.config["frames"]["_target_"] == "nequip.data.dataset.NPZDataset"
    check_data(done, frames)


@pytest.mark.parametrize("kind", ["numbers per frame", "fixed cell", "types", "default keys"])
def test_npz_that_must_be_converted(folder, kind, capsys):
    """The command that the migration names makes the file that the new configuration reads."""
    frames, arrays = npz_arrays()
    changes = dict(NPZ)
    if kind == "numbers per frame":
        arrays["z"] = np.array([f.numbers for f in frames])
        changes["npz_fixed_field_keys"] = None
    elif kind == "fixed cell":
        arrays |= {"CELL": arrays["CELL"][0], "PBC": arrays["PBC"][0]}
        for frame in frames:
            frame.cell = frames[0].cell
        changes["npz_fixed_field_keys"] = ["atomic_numbers", "cell", "pbc"]
    elif kind == "types":
        arrays["t"] = (arrays.pop("z") == 7).astype(int)
        mapping = {k: v for k, v in NPZ["key_mapping"].items() if k != "z"}
        changes["key_mapping"] = mapping | {"t": "atom_types"}
        changes["npz_fixed_field_keys"] = ["atom_types"]
    else:
        names = {"R": "positions", "E": "energy", "F": "forces", "z": "Z"}
        arrays = {names.get(k, k.lower()): v for k, v in arrays.items()}
        changes |= {"key_mapping": None, "include_keys": ["cell", "pbc"]}
        changes["npz_fixed_field_keys"] = ["Z"]
    if kind == "fixed cell":
        changes["key_mapping"] = dict(NPZ["key_mapping"])
        arrays = {{"CELL": "cell", "PBC": "pbc"}.get(k, k): v for k, v in arrays.items()}
        del changes["key_mapping"]["CELL"], changes["key_mapping"]["PBC"]
    np.savez("small.npz", **arrays)
    done = migrated(folder, **changes)
    (line,) = [x for x in done.assumed if "migrate old.yaml --npz" in x]
    assert "nequip-legato migrate old.yaml --npz small.extxyz" in line
    (folder / "small.extxyz").unlink()
    assert main(["migrate", "old.yaml", "--npz", "small.extxyz"]) == 0
    check_data(done, frames)


def test_npz_that_is_labeled_in_part(folder):
    """NaN in the npz file is NaN in the new data, neither zero nor left out."""
    frames, arrays = npz_arrays()
    stress = np.random.default_rng(1).normal(size=(len(frames), 3, 3))
    stress += stress.transpose(0, 2, 1)
    stress[0] = arrays["E"][1] = arrays["F"][1, 2:] = math.nan
    changes = NPZ | {"key_mapping": NPZ["key_mapping"] | {"S": "stress"}}
    np.savez("small.npz", **arrays, S=stress)
    migrated(folder, **changes)
    npz_to_extxyz(Path("old.yaml"), Path("out.extxyz"))
    dataset = ASEDataset(file_path="out.extxyz", transforms=[], ase_args={"format": "extxyz"})
    for k in range(len(frames)):
        data = dataset[k]
        for key, expected in (
            (Keys.TOTAL_ENERGY_KEY, arrays["E"][k]),
            (Keys.FORCE_KEY, arrays["F"][k]),
            (Keys.STRESS_KEY, stress[k]),
        ):
            np.testing.assert_allclose(data[key].reshape(expected.shape), expected, atol=1e-7)


def test_npz_mistakes(folder, capsys):
    _, arrays = npz_arrays()
    migrated(folder, **NPZ)
    for take, words in [(None, "cannot read"), ("R", "no array for pos"), ("z", "atomic numbers")]:
        if take is not None:
            np.savez("small.npz", **{k: v for k, v in arrays.items() if k != take})
        with pytest.raises(LegatoError, match=words):
            npz_to_extxyz(Path("old.yaml"), Path("out.extxyz"))
    assert main(["migrate", "none.yaml", "--npz", "out.extxyz"]) == 1
    assert "none.yaml" in capsys.readouterr().err
    assert not Path("out.extxyz").exists()


LOSSES = [
    {"forces": 3.0, "total_energy": [1.0, "PerAtomMSELoss"]},
    {"forces": 1.0, "total_energy": [2.0, "MSELoss"]},
    {"total_energy": "PerAtomMSELoss"},
    {"forces": [1.0, "PerSpeciesL1Loss"], "total_energy": ["L1Loss", 0.5]},
    {"forces": 1.0, "total_energy": [1.0, "PerAtomMSELoss"], "stress": 5.0},
    {"forces": [1.0, "MSELoss", {"ignore_nan": True}]},
    "total_energy",
]


@pytest.mark.parametrize("coefficients", LOSSES, ids=str)
def test_loss_is_the_old_one(tmp_path, coefficients):
    """Training loss and validation's weighted sum are the old loss, over the sum of weights."""
    done = migrated(tmp_path, loss_coeffs=coefficients)
    generator = torch.Generator().manual_seed(1)
    n_atoms = torch.tensor([4, 8])

    def labels():
        def random(*shape):
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        return {
            Keys.TOTAL_ENERGY_KEY: random(2, 1),
            Keys.FORCE_KEY: random(12, 3),
            Keys.STRESS_KEY: random(2, 3, 3),
            Keys.NUM_NODES_KEY: n_atoms,
            Keys.ATOM_TYPE_KEY: torch.arange(12) % 4 // 3,
        }

    predicted, true = labels(), labels()
    given = {coefficients: 1.0} if isinstance(coefficients, str) else coefficients
    total, weights = 0.0, 0.0
    for field, value in given.items():
        parts = value if isinstance(value, list) else [value]
        weight = next((p for p in parts if isinstance(p, float)), 1.0)
        function = next((p for p in parts if isinstance(p, str)), "MSELoss")
        difference = predicted[field] - true[field]
        if function.startswith("PerAtom"):
            difference = difference / n_atoms[:, None]
        error = difference.abs() if "L1" in function else difference**2
        if function.startswith("PerSpecies"):
            types = true[Keys.ATOM_TYPE_KEY]
            error = torch.stack([error[types == t].mean() for t in (0, 1)])
        total, weights = total + weight * error.mean().item(), weights + weight
    module = section(done, "training_module") if "stats" not in done.text else None
    module = module or done.config["training_module"]
    for name in ("loss", "val_metrics"):
        manager = instantiate(module[name], type_names=["H", "N"])
        found = manager(predicted, true)["weighted_sum"]
        assert float(found) == pytest.approx(total / weights, rel=1e-6), name


@pytest.mark.parametrize("parity", ["o3_full", "o3_restricted", "so3"])
def test_models_are_built(tmp_path, parity):
    """Real models, with the numbers of the file in the units of the data."""
    done = migrated(
        tmp_path,
        parity=parity,
        l_max=2,
        avg_num_neighbors=9.5,
        edge_eng_mlp_latent_dimensions=[],
        latent_mlp_latent_dimensions=[16, 24, 8],
        two_body_latent_mlp_nonlinearity="ssp",
        per_species_rescale_shifts=[-1.5, "-2.5"],
        per_species_rescale_scales={"H": 0.5, "N": 0.7},
        per_species_rescale_shifts_trainable=True,
        per_species_rescale_arguments_in_dataset_units=True,
    )
    assert "two_body_latent_mlp_nonlinearity: ssp" in done.without
    assert any("num_scalar_features: 8" in line for line in done.assumed)
    set_global_state()
    config = dict(done.config["training_module"]["model"], type_names=["H", "N"], r_max=3.5)
    model = instantiate(config, compile_mode="eager", _recursive_=False, _convert_="all")
    parameters = dict(model.named_parameters())
    (shift,) = [p for name, p in parameters.items() if name.endswith("shifts")]
    assert shift.reshape(-1).tolist() == [-1.5, -2.5]
    (scale,) = [b for name, b in model.named_buffers() if name.endswith("scales")]
    assert scale.reshape(-1).tolist() == [0.5, 0.7]


BAD = [
    ({"r_max": "far"}, "'r_max' is far, not a number"),
    ({"r_max": -1.0}, "r_max"),
    ({"num_layers": 0}, "num_layers"),
    ({"l_max": 1.5}, "l_max"),
    ({"parity": "o4"}, "parity"),
    ({"with_sam": "yes, please"}, "with_sam"),
    ({"rho": -0.1}, "rho"),
    ({"n_train": "70%"}, "n_train"),
    ({"train_val_split": "alternating"}, "train_val_split"),
    ({"dataset": "aspirin"}, "not migrated"),
    ({"optimizer_name": "Adamant"}, "optimizer_name"),
    ({"lr_scheduler_name": "Never"}, "lr_scheduler_name"),
    ({"loss_coeffs": {"forces": None}}, "loss_coeffs"),
    ({"loss_coeffs": {"dipole": 1.0}}, "loss_coeffs"),
    ({"chemical_symbol_to_type": {"H": 0, "Xx": 1}}, "Xx"),
    ({"chemical_symbol_to_type": {"H": 1, "N": 2}}, "chemical_symbol_to_type"),
    ({"latent_mlp_latent_dimensions": []}, "latent_mlp_latent_dimensions"),
    ({"two_body_latent_mlp_latent_dimensions": [8, "x"]}, "two_body"),
    ({"model_builders": ["SimpleIrrepsConfig", "EnergyModel"]}, "is not for an Allegro model"),
    ({"model_builders": ["allegro.model.Allegro"]}, "ForceOutput"),
    ({"default_dtype": "float16"}, "default_dtype"),
    ({"per_species_rescale_scales": [1.0]}, "per_species_rescale_scales"),
    ({"early_stopping_lower_bounds": [1]}, "early_stopping_lower_bounds"),
]


@pytest.mark.parametrize(("changes", "words"), BAD, ids=str)
def test_wrong_values(tmp_path, changes, words):
    with pytest.raises(LegatoError) as caught:
        migrated(tmp_path, **changes)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no keys"),
        ("- a\n- b\n", "no keys"),
        ("a: [1\n", "not valid YAML"),
        ("rho: 0.1\nrho: 0.2\n", "twice"),
        ("a: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
        ("training_module: {}\n", "already"),
        (b"\xff\xfe\xfa", "not a text file"),
    ],
)
def test_wrong_files(tmp_path, text, words):
    path = tmp_path / "old.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(LegatoError, match=words) as caught:
        migrate(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(LegatoError, match="cannot read"):
        migrate(tmp_path / "none.yaml")


def command(*words):
    parser = argparse.ArgumentParser()
    add_migrate(parser.add_subparsers(required=True))
    parsed = parser.parse_args(["migrate", *map(str, words)])
    parsed.run(parsed)


def test_command(tmp_path, capsys):
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(OLD + "my_own_key: 1\n")
    command(old)
    said = capsys.readouterr()
    assert yaml.safe_load(said.out) == migrate(old).config
    assert "without counterpart: my_own_key: " in said.err
    command(old, new)
    said = capsys.readouterr().out
    assert "without counterpart: my_own_key: " in said
    assert yaml.safe_load(new.read_text()) == migrate(old).config
    with pytest.raises(LegatoError, match="exists"):
        command(old, new)
    with pytest.raises(LegatoError, match="cannot write"):
        command(old, old / "new.yaml")


@pytest.mark.slow
def test_migrated_configuration_trains(folder):
    """Today's nequip-train runs it; the learning rate is below its bound, so one epoch is all."""
    bound = OLD.replace("LR: 1.0e-5", "LR: 0.005")
    assert bound != OLD
    (folder / "old.yaml").write_text(bound)
    command("old.yaml", "new.yaml")
    run_process(PROGRAMS / "nequip-train", "-cp", folder, "-cn", "new")
    run = folder / "results" / "ammonia" / "flat"
    with open(run / "metrics.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    sharpness = [float(row["legato/sharpness"]) for row in rows if row["legato/sharpness"]]
    assert len(sharpness) == 3  # 5 frames in batches of 2, and a single epoch of the four
    assert all(value > 0 for value in sharpness)
    (last,) = [row for row in rows if row["val0_epoch/weighted_sum"]]
    errors = float(last["val0_epoch/forces_mse"]), float(last["val0_epoch/per_atom_energy_mse"])
    expected = (3 * errors[0] + errors[1]) / 4
    assert float(last["val0_epoch/weighted_sum"]) == pytest.approx(expected)
    assert float(last["val0_epoch/per_type_forces_rmse_N"]) > 0
    saved = torch.load(run / "best.ckpt", map_location="cpu", weights_only=False)
    assert saved["nequip_legato_sam"]["rho"] == 0.01
    (optimizer,) = saved["optimizer_states"]
    assert optimizer["param_groups"][0]["amsgrad"] is True
