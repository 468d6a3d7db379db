"""Interrupted and resumed training, and what SAM adds to a checkpoint."""

import lightning
import pytest
import torch
from sam_toy import Toy, fit, weights

from nequip_legato import SAM


def module() -> Toy:
    return Toy(
        lambda p: torch.optim.Adam(p, lr=0.03, weight_decay=0.01),
        scheduler=lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9),
    )


def checkpoints(folder):
    return lightning.pytorch.callbacks.ModelCheckpoint(
        folder, every_n_train_steps=4, save_top_k=-1, filename="{step}"
    )


def optimizer_state(trainer) -> list[torch.Tensor]:
    states = trainer.optimizers[0].state_dict()["state"].values()
    return [v for s in states for v in s.values()]


@pytest.mark.parametrize("adaptive", [False, True])
def test_resumed_training_is_uninterrupted_training(tmp_path, adaptive):
    options = {"rho": 0.1, "adaptive": adaptive}
    sam, whole = SAM(**options), module()
    sam.skipped_steps = 3
    trainer = fit(whole, [sam, checkpoints(tmp_path)], steps=8, enable_checkpointing=True)
    resumed, second = module(), SAM(**options)
    again = fit(resumed, [second], steps=8, ckpt_path=tmp_path / "step=4.ckpt")
    assert len(resumed.losses) == 8  # four steps of two passes
    for a, b in zip(weights(whole), weights(resumed), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(optimizer_state(trainer), optimizer_state(again), strict=True):
        assert torch.equal(a, b)
    assert second.skipped_steps == 3


def test_changed_settings_are_said(tmp_path):
    fit(module(), [SAM(rho=0.1), checkpoints(tmp_path)], steps=4, enable_checkpointing=True)
    with pytest.warns(UserWarning, match=r"continuing with rho = 0.2; the checkpoint had 0.1"):
        fit(module(), [SAM(rho=0.2)], steps=5, ckpt_path=tmp_path / "step=4.ckpt")


def test_checkpoint_of_training_without_sam(tmp_path):
    fit(module(), [checkpoints(tmp_path)], steps=4, enable_checkpointing=True)
    sam = SAM(rho=0.1)
    resumed = module()
    fit(resumed, [sam], steps=5, ckpt_path=tmp_path / "step=4.ckpt")
    assert len(resumed.losses) == 2
    assert sam.skipped_steps == 0
