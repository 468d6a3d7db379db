"""The training of a round: its loss, its configuration, and the names of labels."""

import math

import numpy as np
import pytest
import torch
import yaml
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from hydra.utils import instantiate
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel, RandomDataset
from nequip.data import from_ase
from torch.utils.data import DataLoader

from nequip_legato.errors import LegatoError
from nequip_legato.improve.campaigns import merged
from nequip_legato.improve.knowledge import errors_of, open_origin, write_original_frames
from nequip_legato.improve.settings import Training
from nequip_legato.improve.structures import read_structures
from nequip_legato.improve.training import (
    robust_loss,
    steps_of,
    training_config,
    with_training_keys,
)

DELTA = 0.3
BOTH = {"delta": DELTA, "energy_delta": DELTA}
PLAIN = {
    "_target_": "nequip.train.EnergyForceStressLoss",
    "per_atom_energy": True,
    "coeffs": {"total_energy": 2.0, "forces": 1.0, "stress": 3.0},
}


def batch(generator: torch.Generator, scale: float) -> tuple[dict, dict]:
    """Predictions and labels of two structures of three atoms, so far apart."""

    def numbers(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64) - 0.5

    common = {
        "num_atoms": torch.tensor([3, 3]),
        "batch": torch.tensor([0, 0, 0, 1, 1, 1]),
        "atom_types": torch.tensor([0, 0, 1, 0, 0, 1]),
        "pos": numbers(6, 3),
    }
    labels = {"total_energy": numbers(2, 1), "forces": numbers(6, 3), "stress": numbers(2, 3, 3)}
    found = {key: value + scale * numbers(*value.shape) for key, value in labels.items()}
    return common | found, common | labels


@pytest.mark.parametrize("per_type", [None, {"H": 4.0, "N": 1.0}])
def test_small_errors_count_as_in_the_old_loss(per_type):
    config = PLAIN | ({"per_type_forces_coeffs": per_type} if per_type else {})
    losses = [
        instantiate(c, type_names=["H", "N"], _convert_="all")
        for c in (config, robust_loss(config, delta=DELTA), robust_loss(config, **BOTH))
    ]
    generator = torch.Generator().manual_seed(3)
    values = []
    for scale in (0.1, 0.3):  # |errors| below delta
        found, labels = batch(generator, scale)
        values.append([float(loss(found, labels)["weighted_sum"]) for loss in losses])
    # the same but for one factor, since weights are normalized: sums of the weights, those of
    # Huber's terms doubled
    for weight, ratios in (
        (7.0, [v[1] / v[0] for v in values]),
        (9.0, [v[2] / v[0] for v in values]),
    ):
        np.testing.assert_allclose(ratios, 6.0 / weight, rtol=1e-10)


def test_an_outlier_pulls_with_a_bounded_force():
    loss = instantiate(robust_loss(PLAIN, delta=DELTA), type_names=["H", "N"], _convert_="all")
    found, labels = batch(torch.Generator().manual_seed(3), 0.1)
    slopes = []
    for off in (1.0, 10.0, 100.0):
        forces = labels["forces"].clone()
        forces[0, 0] += off
        forces.requires_grad_(True)
        loss(found | {"forces": forces}, labels)["weighted_sum"].backward()
        slopes.append(float(forces.grad[0, 0]))
    np.testing.assert_allclose(slopes, slopes[0], rtol=1e-9)
    assert slopes[0] == pytest.approx(2 / 7 * DELTA / 18, rel=1e-9)


def test_an_outlier_of_the_energy_pulls_with_a_bounded_force():
    config = robust_loss(PLAIN, delta=DELTA, energy_delta=0.1)
    loss = instantiate(config, type_names=["H", "N"], _convert_="all")
    found, labels = batch(torch.Generator().manual_seed(3), 0.1)
    slopes = []
    for off in (3.0, 30.0, 300.0):
        energy = labels["total_energy"].clone()
        energy[0] += off
        energy.requires_grad_(True)
        loss(found | {"total_energy": energy}, labels)["weighted_sum"].backward()
        slopes.append(float(energy.grad[0]))
    # weight, slope of Huber's loss, three atoms, two structures
    np.testing.assert_allclose(slopes, 4 / 9 * 0.1 / 3 / 2, rtol=1e-6)


def test_total_energies_keep_their_squares():
    config = robust_loss(PLAIN | {"per_atom_energy": False}, delta=DELTA, energy_delta=0.1)
    assert next(term["name"] for term in config["metrics"]) == "energy_mse"


def test_losses_that_are_kept_or_refused():
    assert robust_loss(PLAIN, delta=0.0) == PLAIN
    assert robust_loss(PLAIN, delta=0.0, partial_stress=True)["ignore_nan"] == {"stress": True}
    other = {"_target_": "my.Loss"}
    assert robust_loss(other, delta=0.0) == other
    with pytest.raises(LegatoError, match=r"the loss of the training is Loss.*robust: off"):
        robust_loss(other, delta=0.1)


def test_missing_stress_is_ignored():
    config = robust_loss(PLAIN, delta=DELTA, partial_stress=True)
    loss = instantiate(config, type_names=["H", "N"], _convert_="all")
    found, labels = batch(torch.Generator().manual_seed(3), 0.1)
    labels["stress"][1] = math.nan
    assert math.isfinite(float(loss(found, labels)["weighted_sum"]))


def test_labels_get_the_names_of_the_training():
    atoms = molecule("NH3")
    atoms.set_cell([9.0] * 3)
    atoms.pbc = True
    rng = np.random.default_rng(0)
    values = {"energy": -1.5, "forces": rng.normal(size=(4, 3)), "stress": rng.normal(size=6)}
    atoms.calc = SinglePointCalculator(atoms, **values)
    mapping = {"REF_energy": "total_energy", "REF_forces": "forces", "REF_stress": "stress"}
    plain = from_ase(with_training_keys([atoms], {})[0])
    (frame,) = with_training_keys([atoms], {"key_mapping": mapping})
    assert frame.calc is None
    named = from_ase(frame, key_mapping=mapping)
    for key in ("total_energy", "forces", "stress"):
        torch.testing.assert_close(named[key].view(-1), plain[key].view(-1))
    with pytest.raises(LegatoError, match="virials"):
        with_training_keys([atoms], {"key_mapping": {"v": "virial"}})


@pytest.fixture(scope="module")
def origin(checkpoint, tmp_path_factory):
    source = checkpoint()
    return open_origin(source, test_frames=str(source.parent / "val.extxyz"))


def config_of(origin, folder, **changes):
    """The configuration of a round with 8 old and 3 added frames."""
    return training_config(
        folder,
        origin,
        checkpoint=origin.source.path,
        added=folder / "added.extxyz",
        n_old=8,
        n_added=3,
        settings=Training(epochs=2, copies=2, **changes),
        delta=0.1,
    )


def test_a_round_goes_on_from_the_old_configuration(origin, tmp_path):
    config = config_of(origin, tmp_path)
    module, old = config["training_module"], origin.record["training_module"]
    assert module["model"]["_target_"] == "nequip.model.ModelFromCheckpoint"
    assert module["model"]["checkpoint_path"] == str(origin.source.path)
    assert module["val_metrics"] == old["val_metrics"]
    assert module["optimizer"]["lr"] == pytest.approx(0.2 * old["optimizer"]["lr"])
    # 8 + 2 * 3 frames in batches of two, twice
    assert module["lr_scheduler"]["scheduler"]["T_max"] == 14
    (saving,) = config["trainer"]["callbacks"]
    assert saving["dirpath"] == str(tmp_path)
    assert saving["monitor"] == "val0_epoch/weighted_sum"
    files = [d["file_path"] for d in config["data"]["train_dataset"]["datasets"]]
    assert files[0] == origin.record["data"]["train_file_path"]
    assert files[1:] == 2 * [str(tmp_path / "added.extxyz")]
    assert yaml.safe_load(yaml.safe_dump(config)) == config
    # the record itself is as it was
    assert origin.record["training_module"]["model"]["_target_"] == "allegro.model.AllegroModel"


def test_overrides_come_last(origin, tmp_path):
    changes = {"training_module": {"optimizer": {"lr": 0.5}}, "trainer": {"max_epochs": 7}}
    config = config_of(origin, tmp_path, overrides=changes)
    assert config["training_module"]["optimizer"]["lr"] == 0.5
    assert config["training_module"]["optimizer"]["_target_"] == "torch.optim.Adam"
    assert config["trainer"]["max_epochs"] == 7


def test_original_frames_have_the_distances_and_forces_of_the_training(origin, tmp_path):
    path = tmp_path / "original.extxyz"
    assert write_original_frames(origin, path) == 8
    frames = read_structures(path, "test")
    trained = read_structures(origin.source.path.parent / "train.extxyz", "test")
    for frame, old in zip(frames, trained, strict=True):
        assert frame.get_chemical_formula() == old.get_chemical_formula()
        np.testing.assert_allclose(frame.get_forces(), old.get_forces(), atol=1e-6)
        pairs = [np.sort(a.get_all_distances(mic=True).ravel()) for a in (frame, old)]
        np.testing.assert_allclose(*pairs, atol=1e-6)


def test_errors_are_those_of_the_eager_model(origin, deployed):
    from nequip_legato import LegatoCalculator

    frames = origin.test
    found = errors_of(origin.source.path, frames, origin)
    calculator = LegatoCalculator(deployed())
    off, energies, stresses = [], [], []
    for frame in frames:
        copy = frame.copy()
        copy.calc = calculator
        stresses.append(copy.get_stress(voigt=False) - frame.get_stress(voigt=False))
        off.append(copy.get_forces() - frame.get_forces())
        energies.append((copy.get_potential_energy() - frame.get_potential_energy()) / len(frame))
    assert found.frames == len(frames)
    assert found.force_rmse == pytest.approx(np.sqrt(np.mean(np.square(off))), rel=1e-6)
    assert found.force_mae == pytest.approx(np.mean(np.abs(off)), rel=1e-6)
    assert found.force_largest == pytest.approx(np.abs(off).max(), rel=1e-6)
    assert found.energy_rmse == pytest.approx(np.sqrt(np.mean(np.square(energies))), rel=1e-4)
    assert found.stress_rmse == pytest.approx(np.sqrt(np.mean(np.square(stresses))), rel=1e-4)


@pytest.mark.parametrize(
    ("trainer", "loader"),
    [
        ({"max_epochs": 2}, {"batch_size": 3}),
        ({"max_epochs": 2}, {"batch_size": 3, "drop_last": True}),
        ({"max_epochs": 3, "limit_train_batches": 2}, {}),
        ({"max_epochs": 3, "limit_train_batches": 0.35}, {"batch_size": 1}),
        ({"max_epochs": 2, "accumulate_grad_batches": 4}, {}),
        ({"max_epochs": 2, "accumulate_grad_batches": 4, "limit_train_batches": 6}, {}),
        ({"max_epochs": 2, "max_steps": 5}, {}),
        ({"max_epochs": -1, "max_steps": 5}, {}),
        ({"max_epochs": 1, "max_steps": -1}, {}),
    ],
)
def test_steps_are_those_of_lightning(trainer, loader, tmp_path):
    """For the learning rate, which falls over them, and for the cost in the report."""
    quiet = {f"enable_{x}": False for x in ("progress_bar", "model_summary", "checkpointing")}
    done = Trainer(**trainer, **quiet, logger=False, accelerator="cpu", default_root_dir=tmp_path)
    model = BoringModel()
    model.val_dataloader = None
    done.fit(model, DataLoader(RandomDataset(32, 10), **loader))
    config = {"trainer": trainer, "data": {"train_dataloader": loader}}
    assert steps_of(config, frames=10) == done.global_step > 0


def test_a_training_without_end_is_refused():
    config = {"trainer": {"max_epochs": -1}, "data": {}}
    with pytest.raises(LegatoError, match="neither max_epochs nor max_steps"):
        steps_of(config, frames=10)


def test_another_target_takes_the_place_of_the_old_one():
    """Adam's keywords are none of SGD's; those of the same class are merged."""
    old = {"optimizer": {"_target_": "torch.optim.Adam", "lr": 0.1, "betas": [0.9, 0.99]}}
    assert merged(old, {"optimizer": {"lr": 0.2}})["optimizer"]["betas"] == [0.9, 0.99]
    new = {"_target_": "torch.optim.SGD", "lr": 0.2}
    assert merged(old, {"optimizer": new}) == {"optimizer": new}
