"""SAM beside what else nequip's configurations have: loggers, modules, validation at odd times."""

from pathlib import Path

import pytest
import torch
import yaml
from processes import PROGRAMS, run_process
from sam_harness import largest_difference, settings

EMA = {"_target_": "nequip.train.EMALightningModule", "ema_decay": 0.8}


@pytest.mark.parametrize("name", ["ConFIGLightningModule", "EMAConFIGLightningModule"])
@pytest.mark.parametrize("method", ["SAM", "MomentumSAM", "LookSAM"])
def test_config_is_refused_with_one_line(refusal, name, method):
    """nequip's ConFIG steps by hand, with several backward passes: no callback can repeat that."""
    callback = {"_target_": f"nequip_legato.{method}", "rho": 0.01}
    output = refusal(sam=callback, training_module={"_target_": f"nequip.train.{name}"})
    (line,) = [line for line in output.splitlines() if line.startswith("nequip_legato.errors")]
    assert f"{name} optimizes by hand" in line
    assert "nequip.train.EMALightningModule" in line


def test_config_without_us_is_left_alone(train):
    run = train("plain", training_module={"_target_": "nequip.train.ConFIGLightningModule"})
    assert run.checkpoint["global_step"] == 8


@pytest.mark.slow
def test_wandb_offline(data, tmp_path):
    """All that SAM logs is in wandb's own record; plot says what to do about it."""
    wandb = {
        "_target_": "lightning.pytorch.loggers.WandbLogger",
        "project": "ammonia",
        "save_dir": ".",
        "offline": True,
    }
    sam = {"rho": 0.02, "schedule": "warmup"}
    config = settings(data, sam=sam, trainer={"logger": wandb})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    # by its program, not the harness: wandb writes its record when Python ends
    run(PROGRAMS / "nequip-train", "-cp", tmp_path, "-cn", "config", folder=tmp_path)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=False)["nequip_legato_sam"]
    assert saved["climbed_steps"] == 8
    (record,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    content = record.read_bytes()
    for name in (b"legato/sharpness", b"legato/grad_norm", b"legato/rho", b"train_loss_step"):
        assert name in content, name
    command = [PROGRAMS / "nequip-legato", "plot", tmp_path, "--out", tmp_path / "plot.png"]
    assert "add a CSVLogger to the loggers" in run(*command, folder=tmp_path, status=1)


def run(*command, folder: Path, status: int = 0) -> str:
    environment = {"WANDB_SILENT": "true"}
    done = run_process(*command, cwd=folder, environment=environment, merge=True, check=False)
    assert done.returncode == status, done.stdout[-3000:]
    return done.stdout


@pytest.mark.parametrize(
    ("method", "options"), [("SAM", {}), ("MomentumSAM", {}), ("LookSAM", {"every": 2})]
)
def test_validation_within_an_accumulation_window(train, method, options):
    """It swaps in the averaged weights after every batch, and leaves the training bit for bit."""
    callback = {"_target_": f"nequip_legato.{method}", "rho": 0.02, **options}
    runs = [
        train(
            f"every{every}",
            sam=callback,
            training_module=EMA,
            batch_size=1,
            trainer={"accumulate_grad_batches": 2, **every},
        )
        for every in ({}, {"val_check_interval": 1})
    ]
    assert largest_difference(runs[0].weights, runs[1].weights) == 0.0
    climbed = [run.checkpoint["nequip_legato_sam"]["climbed_steps"] for run in runs]
    assert climbed[0] == climbed[1] > 0
    assert len(runs[1].logged("val0_epoch/weighted_sum")) > len(
        runs[0].logged("val0_epoch/weighted_sum")
    )
