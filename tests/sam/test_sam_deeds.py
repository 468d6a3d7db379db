"""What checkpoints say of their training follows from what happened, not from the settings."""

import pickle
import zipfile
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from processes import PROGRAMS, run_process
from sam_harness import Run

from nequip_legato.deployed.reader import info
from nequip_legato.sam.plain_content import plain_content

MONITOR = "val0_epoch/weighted_sum"
KEY = "nequip_legato_sam"
NOTHING = "steps climbed: this was plain training"
BEFORE = "before the first step that climbed"
BEST = {
    "_target_": "lightning.pytorch.callbacks.ModelCheckpoint",
    "dirpath": ".",
    "filename": "best",
    "monitor": MONITOR,
}
STOP = {
    "_target_": "lightning.pytorch.callbacks.EarlyStopping",
    "monitor": MONITOR,
    "patience": 1,
    "min_delta": 1e3,
}


def method(name: str, **options) -> dict:
    return {"_target_": f"nequip_legato.{name}", **options}


def said(run: Run, part: str) -> list[str]:
    """Lines of the output with it, as a warning prints them."""
    return [line for line in run.output.splitlines() if part in line and "Warning" in line]


def counts(path: Path) -> tuple[int, int, int]:
    saved = torch.load(path, map_location="cpu", weights_only=False)[KEY]
    return saved["steps"], saved["climbed_steps"], saved["skipped_steps"]


@pytest.fixture
def shown(tmp_path):
    """Function: checkpoint -> the row of `nequip-deploy info`, by the real programs' functions."""

    def get(checkpoint: Path) -> dict[str, str]:
        from nequip_legato.deploy import build

        file = build(checkpoint, tmp_path / "m.nequip.pth", check_frames=1).path
        lines = [line.split(":", 1) for line in str(info(file)).splitlines()]
        return {name.strip(): value.strip() for name, value in lines}

    return get


@pytest.mark.parametrize(
    ("name", "options", "after_epoch", "expected"),
    [
        ("SAM", {}, 4, 8),
        ("SAM", {"last_fraction": 0.25}, 0, 2),
        ("SAM", {"rho": 0}, 0, 0),
        ("LookSAM", {"every": 3}, 2, 3),
        ("MomentumSAM", {}, 3, 7),  # the first step has no momentum
    ],
)
def test_climbed_steps_are_counted(train, name, options, after_epoch, expected):
    run = train("run", sam={"_target_": f"nequip_legato.{name}", "rho": 0.02} | options)
    assert counts(run.folder / "last.ckpt") == (8, expected, 0)
    assert counts(run.folder / "epoch0.ckpt") == (4, after_epoch, 0)
    assert not said(run, NOTHING)


@pytest.mark.parametrize("name", ["SAM", "MomentumSAM"])
def test_accumulated_batches_are_one_step(train, name):
    options = {"accumulate_grad_batches": 2, "val_check_interval": 1}
    run = train("run", sam={"_target_": f"nequip_legato.{name}", "rho": 0.02}, trainer=options)
    assert counts(run.folder / "last.ckpt") == (4, 4 if name == "SAM" else 3, 0)


def test_skipped_steps_did_not_climb(train, data, tmp_path):
    frames = ase.io.read(data / "train.extxyz", ":")
    frames[5].calc.results["forces"][2] = np.nan
    ase.io.write(tmp_path / "bad.extxyz", frames)
    run = train("bad", f"data.train_file_path={tmp_path}/bad.extxyz", sam={"rho": 0.02})
    assert counts(run.folder / "last.ckpt") == (8, 6, 2)


@pytest.mark.slow
def test_early_stopping_before_the_late_phase(train, shown):
    trainer = {"callbacks": [BEST, STOP], "max_epochs": 20}
    run = train("run", sam={"rho": 0.03, "last_fraction": 0.2}, trainer=trainer)
    (line,) = said(run, NOTHING)
    assert "SAM: 0 of 8 steps climbed" in line
    assert "after step 64" in line
    assert not said(run, BEFORE)
    rows = shown(run.folder / "best.ckpt")
    assert rows["trained with SAM"] == (
        "SAM rho=0.03 last_fraction=0.2: 0 of 8 steps climbed (plain training)"
    )
    assert rows["trained for"] == "8 steps"


LATE = {"rho": 0.02, "last_fraction": 0.5}
WORST = BEST | {"mode": "max"}  # the first epochs: errors fall


@pytest.mark.slow
def test_best_checkpoint_from_before_the_first_climb(train, shown):
    """And LateCheckpoint, which chooses among those that climbed."""
    late = WORST | {"_target_": "nequip_legato.LateCheckpoint", "filename": "late"}
    run = train("run", sam=LATE, trainer={"callbacks": [WORST, late], "max_epochs": 4})
    (line,) = said(run, BEFORE)
    assert "best.ckpt, the best checkpoint, is of step" in line
    assert "(step 9 of 16)" in line
    assert counts(run.folder / "best.ckpt")[1] == 0
    assert counts(run.folder / "late.ckpt")[1] > 0
    assert shown(run.folder / "best.ckpt")["trained with SAM"].endswith("(plain training)")
    steps, climbed, _ = counts(run.folder / "late.ckpt")
    expected = f"{climbed} of {steps} steps climbed"
    assert expected in shown(run.folder / "late.ckpt")["trained with SAM"]


def test_late_checkpoint_needs_a_method(refusal):
    late = BEST | {"_target_": "nequip_legato.LateCheckpoint"}
    assert "LateCheckpoint waits for the first step that climbs" in refusal(
        trainer={"callbacks": [late]}
    )


@pytest.mark.slow
def test_counts_survive_a_resume_and_settings_may_change(train, shown):
    def going_on(name: str, before: Run, epochs: int, **options) -> Run:
        path = before.folder / "last.ckpt"
        return train(name, f"++ckpt_path={path}", f"trainer.max_epochs={epochs}", **options)

    plain = train("plain", "trainer.max_epochs=1")
    one = going_on("one", plain, 2, sam={"rho": 0.01})
    same = going_on("same", one, 3, sam={"rho": 0.01})
    other = going_on("other", same, 4, sam=method("LookSAM", rho=0.02, every=2))
    assert counts(other.folder / "last.ckpt") == (16, 10, 0)
    assert shown(other.folder / "last.ckpt")["trained with SAM"] == (
        "plain training, 4 steps; then SAM rho=0.01: 8 of 8 steps climbed; then LookSAM rho=0.02 "
        "every=2: 2 of 4 steps climbed, 2 followed the component of an earlier climb"
    )


@pytest.mark.slow
def test_checkpoints_of_earlier_versions(train, tmp_path, shown):
    run = train("run", "trainer.max_epochs=1", sam={"rho": 0.01})
    content = run.checkpoint
    for name in ("parts", "steps", "climbed_steps"):
        del content[KEY][name]
    torch.save(content, tmp_path / "old.ckpt")
    assert shown(tmp_path / "old.ckpt")["trained with SAM"] == (
        "SAM rho=0.01 was set; how many steps climbed was not counted"
    )
    resumed = train("more", f"++ckpt_path={tmp_path}/old.ckpt", sam={"rho": 0.01})
    assert shown(resumed.folder / "last.ckpt")["trained with SAM"] == (
        "SAM rho=0.01, 4 steps, of which an unknown number climbed; then SAM "
        "rho=0.01: 4 of 4 steps climbed"
    )


@pytest.mark.slow
def test_averaged_weights_and_varying_rho(train, shown):
    module = {"_target_": "nequip.train.EMALightningModule", "ema_decay": 0.8}
    run = train("run", sam={"rho": 0.01, "schedule": "warmup"}, training_module=module)
    rows = shown(run.folder / "last.ckpt")
    assert rows["weights"] == "averages over 8 steps (EMA, decay 0.8)"
    assert "rho from 0.01 to" not in rows["trained with SAM"]
    # a tenth of 8 steps is less than one step, so rho is at its top from the first
    longer = train("longer", sam={"rho": 0.01, "schedule": "warmup", "warmup": 1.0})
    assert shown(longer.folder / "last.ckpt")["trained with SAM"].endswith(
        "8 of 8 steps climbed, rho from 0.00125 to 0.01"
    )


@pytest.mark.slow
def test_a_model_that_started_from_another(train, shown):
    first = train("first", "trainer.max_epochs=1", sam={"rho": 0.01})
    start = {
        "_target_": "nequip.model.ModelFromCheckpoint",
        "checkpoint_path": str(first.folder / "last.ckpt"),
    }
    config = [f"training_module.model={{_target_: {start['_target_']}, "]
    config[0] += f"checkpoint_path: {start['checkpoint_path']}}}"
    second = train("second", "~training_module.model", "+" + config[0], "trainer.max_epochs=1")
    rows = shown(second.folder / "last.ckpt")
    assert rows["started from"].startswith(f"{start['checkpoint_path']}, whose own training data")
    assert rows["trained with SAM"] == "no, not by the run that wrote the checkpoint"


@pytest.mark.slow
def test_packages_say_what_was_set_alone(train, tmp_path, shown):
    run = train("run", "trainer.max_epochs=1", sam={"rho": 0.01, "last_fraction": 0.5})
    package = tmp_path / "model.nequip.zip"
    run_process(PROGRAMS / "nequip-package", "build", run.folder / "last.ckpt", package)
    rows = shown(package)
    assert rows["trained with SAM"] == (
        "SAM last_fraction=0.5 rho=0.01 was set; a package does not say how many steps climbed"
    )
    assert "trained for" not in rows


def test_reading_a_checkpoint_runs_no_code(train, tmp_path):
    run = train("run", "trainer.max_epochs=1", sam={"rho": 0.01})
    found = plain_content(run.folder / "last.ckpt")
    assert found["global_step"] == 4
    assert found[KEY] == run.checkpoint[KEY]

    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "owned",)

    with zipfile.ZipFile(tmp_path / "evil.ckpt", "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps({"global_step": 1, "evil": Evil()}))
    assert plain_content(tmp_path / "evil.ckpt")["global_step"] == 1
    assert not (tmp_path / "owned").exists()
    for content in (b"", b"PK\x03\x04 no"):
        (tmp_path / "bad.ckpt").write_bytes(content)
        assert plain_content(tmp_path / "bad.ckpt") is None
    assert plain_content(tmp_path / "nowhere.ckpt") is None
