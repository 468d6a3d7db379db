"""Frames labeled in part: what training takes, the tools take, and weigh as nequip does."""

import math
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
import yaml
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from models import ammonia_frames, training_config
from nequip.data import AtomicDataDict
from processes import PROGRAMS, run_process

from nequip_legato.errors import LegatoError
from nequip_legato.sharpness.frames import keep_frames, load_frames
from nequip_legato.sharpness.loss import TrainingLoss
from nequip_legato.sharpness.model import Trained, open_trained
from nequip_legato.trained.checkpoint import open_source
from nequip_legato.trained.dataset import find_frames

ADD_NAN = {"_target_": "nequip.data.transforms.AddNaNStressTransform"}
CUTOFF = 4.0


def molecules(count: int, *, cell: float | None = 15.0) -> list[Atoms]:
    """Isolated molecules without stress; half of the forces of the last are not known."""
    rng = np.random.default_rng(2)
    found = []
    for k in range(count):
        atoms = molecule("NH3")
        atoms.rattle(0.05, rng=rng)
        if cell is not None:
            atoms.cell = [cell] * 3
            atoms.center()
        forces = 0.3 * rng.normal(size=(4, 3))
        if k == count - 1:
            forces[:2] = np.nan
        energy = -131.5 + 0.1 * rng.normal()
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        found.append(atoms)
    return found


def loss(**ignored: bool) -> dict:
    return {
        "_target_": "nequip.train.EnergyForceStressLoss",
        "per_atom_energy": True,
        "coeffs": {"total_energy": 1.0, "forces": 1.0, "stress": 1.0},
        "ignore_nan": ignored,
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Checkpoint of the real nequip-train: molecules without stress before crystals with."""
    folder = tmp_path_factory.mktemp("partly")
    boxes = ammonia_frames()
    ase.io.write(folder / "train.extxyz", molecules(3))
    ase.io.write(folder / "more.extxyz", boxes[:4])
    ase.io.write(folder / "val.extxyz", boxes[8:])
    config = training_config(folder, sam={"rho": 0.01})
    config["data"]["train_file_path"] = None
    data = config["data"]
    transforms = [ADD_NAN, *data.pop("transforms")]
    config["data"] = {
        "_target_": "nequip.data.datamodule.NequIPDataModule",
        "seed": 1,
        "train_dataset": {
            "_target_": "torch.utils.data.ConcatDataset",
            "datasets": [
                {
                    "_target_": "nequip.data.dataset.ASEDataset",
                    "file_path": str(folder / name),
                    "transforms": transforms,
                }
                for name in ("train.extxyz", "more.extxyz")
            ],
        },
        "val_dataset": {
            "_target_": "nequip.data.dataset.ASEDataset",
            "file_path": str(folder / "val.extxyz"),
            "transforms": transforms,
        },
        **{k: data[k] for k in ("train_dataloader", "val_dataloader", "stats_manager")},
    }
    module = config["training_module"]
    module["loss"] = loss(stress=True, forces=True)
    module["model"]["per_type_energy_scales"] = 1.0
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    run_process(PROGRAMS / "nequip-train", "-cp", folder, "-cn", "tiny", cwd=folder)
    return folder / "model.ckpt"


def with_loss(checkpoint: Path, config: dict) -> Trained:
    """The model with another loss, made by nequip."""
    import hydra

    found = open_trained(checkpoint)
    made = hydra.utils.instantiate(config, type_names=["H", "N"])
    found.module.loss = made
    return found


def nequips_own(found: Trained, frames: list[AtomicDataDict.Type]) -> dict[str, float]:
    """What nequip's loss says of all frames as one batch."""
    batch = AtomicDataDict.batched_from_list(frames)
    target = found.module.process_target(batch, 0, 0)
    values = found.module.loss(found.module(batch), target)
    found.module.loss.reset()
    return {name: value.item() for name, value in values.items()}


PER_TYPE = loss(stress=True, forces=True) | {"per_type_forces_coeffs": {"H": 3.0, "N": 1.0}}
ROOTS = {
    "_target_": "nequip.train.MetricsManager",
    "metrics": [
        {
            "field": "forces",
            "coeff": 1.0,
            "ignore_nan": True,
            "metric": {"_target_": "nequip.train.RootMeanSquaredError"},
        },
        {
            "field": "stress",
            "coeff": 2.0,
            "ignore_nan": True,
            "metric": {"_target_": "nequip.train.HuberLoss", "delta": 0.001},
        },
    ],
}
HUBER = {
    "_target_": "nequip.train.MetricsManager",
    "metrics": [
        {
            "field": "forces",
            "coeff": 1.0,
            "ignore_nan": True,
            "metric": {"_target_": "nequip.train.HuberLoss", "delta": 0.1},
        },
        {
            "field": {"_target_": "nequip.data.PerAtomModifier", "field": "total_energy"},
            "coeff": 2.0,
            "metric": {"_target_": "nequip.train.MeanAbsoluteError"},
        },
    ],
}


@pytest.mark.parametrize(
    "config",
    [loss(stress=True, forces=True), PER_TYPE, ROOTS, HUBER],
    ids=["mean", "per type", "roots", "huber"],
)
@pytest.mark.parametrize("order", [1, -1])
def test_it_is_nequips_loss_of_all_frames_as_one_batch(trained, tmp_path, config, order):
    """Seven frames of two sizes, with groups in which no frame has a stress."""
    found = with_loss(trained, config)
    frames = load_frames(found, keep_frames(found, 99, tmp_path / "frames.extxyz"))[::order]
    assert len(frames) == 7
    expected = nequips_own(found, frames)
    mine = TrainingLoss(found, frames)
    values = mine.value()
    assert values["total"] == pytest.approx(expected["weighted_sum"], rel=1e-10)
    for name in mine.parts[1:]:
        coefficient = found.module.loss.entries[name].coeff
        assert values[name] == pytest.approx(coefficient * expected[name], rel=1e-10)
    found.module.train()
    batch = AtomicDataDict.batched_from_list(frames)
    total = found.module.loss(found.module(batch), found.module.process_target(batch, 0, 0))
    wanted = torch.autograd.grad(
        total["weighted_sum"], mine.parameters, materialize_grads=True, create_graph=True
    )
    vector = [torch.ones_like(p) for p in mine.parameters]
    product = torch.autograd.grad(
        sum(g.sum() for g in wanted), mine.parameters, materialize_grads=True
    )
    for ours, theirs in ((mine.gradient(), wanted), (mine.hessian_times(vector), product)):
        scale = max(t.abs().max() for t in theirs).item()
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b.detach(), rtol=1e-8, atol=1e-9 * scale)


def test_labels_survive_the_file(trained, tmp_path):
    found = open_trained(trained)
    frames = load_frames(found, keep_frames(found, 99, tmp_path / "frames.extxyz"))
    unknown = [bool(f["stress"].isnan().all()) for f in frames]
    assert unknown == [True] * 3 + [False] * 4
    assert frames[2]["forces"].isnan().sum() == 6
    assert not any(f["cell"].isnan().any() for f in frames)


def test_molecules_without_cell(trained, tmp_path):
    found = open_trained(trained)
    boxes = ammonia_frames()[:2]
    ase.io.write(tmp_path / "mixed.extxyz", [*molecules(3, cell=None), *boxes])
    frames = load_frames(found, tmp_path / "mixed.extxyz")
    expected = nequips_own(found, frames)["weighted_sum"]
    assert TrainingLoss(found, frames).value()["total"] == pytest.approx(expected, rel=1e-10)


def test_frames_with_other_fields_than_the_rest(trained, tmp_path):
    """Stress that no term compares with, in some frames only: training takes it frame by frame."""
    found = with_loss(trained, HUBER)
    found.data_config["train_dataset"]["datasets"][0]["transforms"].pop(0)
    ase.io.write(tmp_path / "mixed.extxyz", [*molecules(3), *ammonia_frames()[:2]])
    frames = load_frames(found, tmp_path / "mixed.extxyz")
    assert ["stress" in frame for frame in frames] == [False] * 3 + [True] * 2
    value = TrainingLoss(found, frames).value()["total"]
    common = [{k: v for k, v in f.items() if k != "stress"} for f in frames]
    assert value == pytest.approx(nequips_own(found, common)["weighted_sum"], rel=1e-10)


@pytest.mark.parametrize(
    ("config", "pick", "part"),
    [
        (loss(stress=True, forces=True), slice(0, 3), "none of the 3 frames of .* has 'stress'"),
        (loss(forces=True), slice(1, 5), "2 of 4 frames .* have NaN in 'stress'"),
        (loss(stress=True), slice(0, 7), "1 of 7 frames .* have NaN in 'forces'"),
    ],
)
def test_what_is_missing_is_said(trained, tmp_path, config, pick, part):
    found = with_loss(trained, config)
    frames = load_frames(found, keep_frames(found, 99, tmp_path / "frames.extxyz"))
    with pytest.raises(LegatoError, match=part):
        TrainingLoss(found, frames[pick])


def test_a_field_that_some_frames_lack(trained, tmp_path):
    found = open_trained(trained)
    frames = load_frames(found, keep_frames(found, 99, tmp_path / "frames.extxyz"))
    cut = [{k: v for k, v in frame.items() if k != "forces"} for frame in frames[3:]]
    with pytest.raises(LegatoError, match=r"4 of 7 frames .* have no 'forces', which the loss"):
        TrainingLoss(found, [*frames[:3], *cut])


def test_labels_under_other_names(trained, tmp_path):
    """A file of one's own is read as the training's files were."""
    found = open_trained(trained)
    dataset = found.data_config["train_dataset"]["datasets"][0]
    dataset |= {"key_mapping": {"dft_forces": "forces"}, "exclude_keys": ["forces"]}
    frame = ammonia_frames(1)[0]
    frame.arrays["dft_forces"] = 2 * frame.get_forces()
    ase.io.write(tmp_path / "own.extxyz", frame)
    (loaded,) = load_frames(found, tmp_path / "own.extxyz")
    np.testing.assert_allclose(loaded["forces"], 2 * frame.get_forces(), atol=1e-6)


@pytest.mark.slow
def test_the_commands_take_it(trained, tmp_path):
    command = [PROGRAMS / "nequip-legato", "sharpness", trained, "--n-frames", 7]
    command += ["--samples", 4, "--measures", "gaussian", "--out", tmp_path / "s"]
    run_process(*command)
    run_process(PROGRAMS / "nequip-deploy", "build", trained, tmp_path / "m.nequip.pth")
    from nequip_legato.deployed.reader import info

    labels = [f.get_forces() for f in molecules(3) + ammonia_frames()[:4]]
    largest = max(np.nanmax(np.linalg.norm(forces, axis=1)) for forces in labels)
    assert info(tmp_path / "m.nequip.pth").largest_force == pytest.approx(largest, rel=1e-6)


def test_domain_of_frames_without_some_forces(trained):
    """The largest force does not depend on where the unknown ones stand."""
    frames = find_frames(open_source(trained, model_key="sole_model"), frames=None, r_max=CUTOFF)
    from nequip_legato.deploy.domain import domain_of

    found = {domain_of(list(frames)[::order], num_types=2).largest_force for order in (1, -1)}
    assert len(found) == 1
    assert math.isfinite(found.pop())
