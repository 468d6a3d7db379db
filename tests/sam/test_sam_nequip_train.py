"""SAM in the real nequip-train, on a tiny Allegro model."""

import itertools
import math

import ase.io
import numpy as np
import pytest
import torch
from sam_harness import Run, largest_difference, nequip_train, settings

SAM = {"rho": 0.05}
ADAMW = {
    "optimizer": {
        "_target_": "torch.optim.AdamW",
        "lr": 0.01,
        "betas": [0.8, 0.95],
        "weight_decay": 0.1,
    }
}
SCHEDULE = {
    "lr_scheduler": {
        "scheduler": {"_target_": "torch.optim.lr_scheduler.ExponentialLR", "gamma": 0.8},
        "interval": "step",
    }
}
EMA = {"_target_": "nequip.train.EMALightningModule", "ema_decay": 0.8}


def bit_for_bit(one: Run, other: Run) -> bool:
    optimizers = [run.checkpoint["optimizer_states"][0]["state"] for run in (one, other)]
    moments = [
        {f"{i}.{name}": value for i, state in states.items() for name, value in state.items()}
        for states in optimizers
    ]
    return largest_difference(one.weights, other.weights) == largest_difference(*moments) == 0.0


def test_logs_sharpness_and_gradient_norm_beside_what_nequip_logs(train):
    sam = train("sam", sam=SAM)
    for name in ("legato/sharpness", "legato/grad_norm"):
        assert len(sam.logged(name)) == 8
    assert all(norm > 0 for norm in sam.logged("legato/grad_norm"))
    assert sam.logged("legato/skipped_steps") == []
    # A short climb goes up by about rho times the slope.
    rise, norm = sam.logged("legato/sharpness")[0], sam.logged("legato/grad_norm")[0]
    assert rise == pytest.approx(SAM["rho"] * norm, rel=0.5)

    # With weights that stay, all that nequip logs must be what it is without SAM.
    still = {"optimizer": {"_target_": "torch.optim.SGD", "lr": 0.0}}
    runs = [
        train(name, sam=callback, training_module=still)
        for name, callback in (("plain", None), ("still", SAM))
    ]
    header = (runs[0].folder / "metrics.csv").read_text().splitlines()[0].split(",")
    assert "train_loss_epoch/weighted_sum" in header
    assert "train_metric_step/forces_mae" in header
    for name in header:
        assert runs[0].logged(name) == runs[1].logged(name), name


def test_rho_zero_is_no_callback_bit_for_bit(train):
    options = {"training_module": {**ADAMW, **SCHEDULE, **EMA}, "shuffle": True}
    plain = train("plain", **options)
    zero = train("zero", sam={"rho": 0}, **options)
    assert bit_for_bit(plain, zero)
    assert largest_difference(plain.weights, train("sam", sam=SAM, **options).weights) > 1e-4
    assert len(zero.logged("legato/grad_norm")) == 8


@pytest.mark.slow
@pytest.mark.parametrize("sam", [SAM, {"rho": 0.2, "adaptive": True}], ids=["SAM", "ASAM"])
def test_resumed_training_is_uninterrupted_training(train, sam):
    """Frames in fixed order: nequip 0.19 does not restore that of a shuffled loader."""
    options = {"sam": sam, "training_module": {**ADAMW, **SCHEDULE, **EMA}}
    whole = train("whole", "trainer.max_epochs=3", **options)
    part = train("part", "trainer.max_epochs=1", **options)
    resumed = train(
        "resumed", "trainer.max_epochs=3", f"++ckpt_path={part.folder}/last.ckpt", **options
    )
    assert resumed.checkpoint["global_step"] == whole.checkpoint["global_step"] == 12
    assert len(resumed.logged("legato/sharpness")) == 8
    assert bit_for_bit(whole, resumed)


def test_accumulated_batches_are_one_batch(train):
    """Frames of equal size: two batches of 2 have the mean loss of one batch of 4."""
    options = {"sam": SAM, "training_module": ADAMW}
    clip = {"gradient_clip_val": 0.05}
    joint = train("joint", batch_size=4, trainer=clip, **options)
    accumulate = {"accumulate_grad_batches": 2, **clip}
    parts = train("parts", batch_size=2, trainer=accumulate, **options)
    assert max(joint.logged("legato/grad_norm")) > 0.05  # clipping matters
    assert largest_difference(joint.weights, parts.weights) < 1e-9
    for name in ("legato/sharpness", "legato/grad_norm"):
        assert parts.logged(name) == pytest.approx(joint.logged(name), rel=1e-5)


def test_averages_are_taken_of_the_weights_after_each_step(train):
    record = {"callbacks": [{"_target_": "sam_harness.RecordWeights"}]}
    run = train("ema", sam={"rho": 0.5}, training_module={**ADAMW, **EMA}, trainer=record)
    steps = torch.load(run.folder / "weights.pt")
    for number, ((_, before), (weights, after)) in enumerate(itertools.pairwise(steps), start=2):
        decay = min(0.8, (1 + number) / (10 + number))  # of nequip's EMAWeights
        for old, w, new in zip(before, weights, after, strict=True):
            torch.testing.assert_close(new, old + (1 - decay) * (w - old), rtol=1e-12, atol=1e-14)


def test_bad_frame_skips_its_step_and_training_goes_on(train, data, tmp_path):
    frames = ase.io.read(data / "train.extxyz", ":")
    frames[5].calc.results["forces"][2] = np.nan
    ase.io.write(tmp_path / "bad.extxyz", frames)
    run = train(
        "bad",
        f"data.train_file_path={tmp_path}/bad.extxyz",
        sam=SAM,
        training_module={**ADAMW, **EMA},
    )
    assert run.logged("legato/skipped_steps") == [1, 1, 1, 1, 2, 2]
    assert [math.isnan(norm) for norm in run.logged("legato/grad_norm")] == [
        False, False, True, False, False, False, True, False,
    ]  # fmt: skip
    assert all(torch.isfinite(w).all() for w in run.weights.values())
    assert run.output.count("this step changes no weight") == 2
    assert run.checkpoint["nequip_legato_sam"]["skipped_steps"] == 2


@pytest.mark.slow
def test_compiled_training_agrees_with_eager(train):
    options = {"sam": SAM, "training_module": ADAMW, "trainer": {"max_epochs": 1}}
    eager = train("eager", **options)
    compiled = train("compiled", model={"compile_mode": "compile"}, **options)
    for name in ("legato/sharpness", "legato/grad_norm", "train_loss_step/weighted_sum"):
        assert compiled.logged(name) == pytest.approx(eager.logged(name), rel=1e-5)


# --- bad input ---


def last_line(output: str, beginning: str) -> str:
    lines = [line for line in output.splitlines() if beginning in line]
    assert lines, output[-3000:]
    return lines[-1]


def test_unknown_key(refusal):
    line = last_line(refusal(sam={"rho": 0.1, "rhoo": 1}), "LegatoError")
    assert "SAM has no key 'rhoo'; the known ones are rho, adaptive, eta" in line


def test_negative_rho(refusal):
    line = last_line(refusal(sam={"rho": -0.1}), "LegatoError")
    assert "SAM: rho must be a finite number >= 0, not -0.1" in line


def test_twice(refusal):
    callback = {"_target_": "nequip_legato.SAM"}
    line = last_line(refusal(trainer={"callbacks": [callback, callback]}), "LegatoError")
    assert "SAM is in trainer.callbacks 2 times: remove all but one" in line


def test_fp16(refusal):
    plugin = {
        "_target_": "lightning.pytorch.plugins.MixedPrecision",
        "precision": "16-mixed",
        "device": "cpu",
    }
    line = last_line(refusal(sam=SAM, trainer={"plugins": [plugin]}), "LegatoError")
    assert "set trainer.precision to '32-true' or 'bf16-mixed' instead of '16-mixed'" in line


def test_lbfgs(refusal):
    lbfgs = {"optimizer": {"_target_": "torch.optim.LBFGS"}}
    line = last_line(refusal(sam=SAM, training_module=lbfgs), "LegatoError")
    assert "SAM cannot work under LBFGS" in line


def test_data_without_forces(data, tmp_path):
    frames = ase.io.read(data / "train.extxyz", ":")
    for frame in frames:
        del frame.calc.results["forces"]
    ase.io.write(tmp_path / "train.extxyz", frames)
    config = settings(data, sam=SAM)
    # nequip's own statistics stop with KeyError: 'forces' before training is set up.
    del config["data"]["stats_manager"]
    config["data"]["train_file_path"] = str(tmp_path / "train.extxyz")
    run = nequip_train(tmp_path / "run", config)
    assert run.returncode == 1
    line = last_line(run.output, "LegatoError")
    assert "the training data have no 'forces', which the loss term 'forces_mse' compares" in line
