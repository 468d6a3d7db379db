"""Sharpness of real Allegro models: against brute force, and as a user measures it."""

import json
import math
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from processes import PROGRAMS, run_process

from nequip_legato.errors import LegatoError
from nequip_legato.sharpness import Settings, measure
from nequip_legato.sharpness.frames import keep_frames, load_frames
from nequip_legato.sharpness.loss import TrainingLoss
from nequip_legato.sharpness.model import open_trained

PROGRAM = PROGRAMS / "nequip-legato"
QUICK = Settings(measures=("gaussian", "sam", "trace"), samples=3, trace_samples=2, rho=(0.01,))


def loss_of(path: Path, folder: Path, *, count: int = 2, weights: str = "ema") -> TrainingLoss:
    trained = open_trained(path, weights=weights)
    frames = load_frames(trained, keep_frames(trained, count, folder / "frames.extxyz"))
    return TrainingLoss(trained, frames)


@pytest.fixture
def loss(checkpoint, tmp_path) -> TrainingLoss:
    return loss_of(checkpoint(), tmp_path)


def test_parts_add_up_to_the_loss_of_nequip(loss):
    found = loss.value()
    assert set(found) == {"total", "per_atom_energy_mse", "forces_mse"}
    assert found["total"] == pytest.approx(found["per_atom_energy_mse"] + found["forces_mse"])
    assert found["total"] == loss.value()["total"]


@pytest.mark.slow
def test_loss_in_float64_is_that_of_the_float32_model(checkpoint, tmp_path):
    from nequip.data import AtomicDataDict
    from nequip.train import NequIPLightningModule

    path = checkpoint(dtype="float32")
    trained = open_trained(path)
    frames = load_frames(trained, keep_frames(trained, 3, tmp_path / "frames.extxyz"))
    loss = TrainingLoss(trained, frames)
    assert {p.dtype for p in loss.parameters} == {torch.float64}
    module = NequIPLightningModule.load_from_checkpoint(path, weights_only=False).eval()
    batch = AtomicDataDict.batched_from_list(frames)
    expected = module.loss(module(batch), module.process_target(batch, 0, 0))["weighted_sum"]
    assert loss.value()["total"] == pytest.approx(expected.item(), rel=1e-4)


def test_gradient_and_hessian_are_those_of_the_loss(loss):
    """Along random directions: central differences of the loss, and of its gradient."""
    generator = torch.Generator().manual_seed(3)
    direction = [torch.randn(p.shape, generator=generator).double() for p in loss.parameters]
    gradient = loss.gradient()
    product = loss.hessian_times(direction)
    start = [p.detach().clone() for p in loss.parameters]

    def at(step: float) -> tuple[float, list[torch.Tensor]]:
        with torch.no_grad():
            for p, s, d in zip(loss.parameters, start, direction, strict=True):
                p.copy_(s + step * d)
        return loss.value()["total"], loss.gradient()

    step = 1e-5
    (above, g_above), (below, g_below) = at(step), at(-step)
    slope = sum((g * d).sum().item() for g, d in zip(gradient, direction, strict=True))
    assert (above - below) / (2 * step) == pytest.approx(slope, rel=1e-6)
    for h, a, b in zip(product, g_above, g_below, strict=True):
        torch.testing.assert_close(h, (a - b) / (2 * step), rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_eigenvalue_and_trace_against_the_whole_hessian(loss):
    """Brute force on some of the weights: the Hessian's columns by differences of gradients."""
    loss.parameters = sorted(loss.parameters, key=lambda p: p.numel())[-1:]
    (weights,) = loss.parameters
    count = weights.numel()
    assert 20 < count < 400
    start = weights.detach().clone()
    columns = []
    step = 1e-5
    for k in range(count):
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                weights.copy_(start).view(-1)[k] += sign * step
            ends.append(loss.gradient()[0].reshape(-1))
        columns.append((ends[0] - ends[1]) / (2 * step))
    with torch.no_grad():
        weights.copy_(start)
    hessian = torch.stack(columns).numpy()
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-6 * np.abs(hessian).max())

    from nequip_legato.sharpness.units import summarize, units

    settings = Settings(measures=("eigenvalue", "trace"), trace_samples=40, tolerance=1e-8)
    found = summarize({name: compute(loss) for name, compute in units(settings)}, settings)
    assert found["eigenvalue"]["total"] == pytest.approx(
        np.linalg.eigvalsh(hessian).max(), rel=1e-4
    )
    trace = found["trace"]["total"]
    assert abs(trace["mean"] - np.trace(hessian)) < 4 * max(trace["error"], 1e-9)
    parts = [found["trace"][part]["mean"] for part in loss.parts[1:]]
    assert sum(parts) == pytest.approx(trace["mean"], rel=1e-9)
    # the largest eigenvalue of a sum of symmetric matrices is at most the sum of theirs (Weyl)
    largest = [found["eigenvalue"][part] for part in loss.parts[1:]]
    assert found["eigenvalue"]["total"] <= sum(largest) * (1 + 1e-6)


def test_averaged_and_raw_weights_are_told_apart(checkpoint, tmp_path):
    path = checkpoint(ema=True)
    content = torch.load(path, map_location="cpu", weights_only=False)["state_dict"]
    averaged = loss_of(path, tmp_path, weights="ema")
    raw = loss_of(path, tmp_path, weights="raw")
    for k, (a, r) in enumerate(zip(averaged.parameters, raw.parameters, strict=True)):
        torch.testing.assert_close(a.detach(), content[f"ema.ema_weight_{k}"], rtol=0, atol=0)
        assert not torch.equal(a, r) or a.numel() == 1
    stored = [v for k, v in content.items() if k.startswith("model.")]
    for r in raw.parameters:
        assert any(v.shape == r.shape and torch.equal(v, r.detach()) for v in stored)
    assert averaged.value()["total"] != raw.value()["total"]


def test_files_are_untouched_and_a_second_call_computes_nothing(checkpoint, tmp_path):
    path = checkpoint()
    before = path.read_bytes()
    first = measure([path], out=tmp_path, n_frames=2, settings=QUICK)
    stored = (tmp_path / "sharpness.json").read_text()
    [kept] = (tmp_path / "work").iterdir()
    lines = kept.read_text()
    again = measure([path], out=tmp_path, n_frames=2, settings=QUICK)
    assert path.read_bytes() == before
    assert again == first
    assert kept.read_text() == lines
    assert (tmp_path / "sharpness.json").read_text() == stored
    content = json.loads(stored)  # strict JSON
    assert content["models"][0]["values"]["sam"]["0.01"]["total"] > 0


@pytest.mark.slow
def test_other_settings_or_frames_never_mix_with_what_is_kept(checkpoint, tmp_path):
    path = checkpoint()
    one = measure([path], out=tmp_path, n_frames=2, settings=QUICK)[0].values
    other = Settings(measures=QUICK.measures, samples=3, trace_samples=2, rho=(0.01,), epsilon=0.1)
    two = measure([path], out=tmp_path, n_frames=2, settings=other)[0].values
    assert two["gaussian"]["total"]["mean"] > one["gaussian"]["total"]["mean"]
    more = Settings(measures=QUICK.measures, samples=4, trace_samples=2, rho=(0.01,))
    measure([path], out=tmp_path, n_frames=2, settings=more)
    assert len(list((tmp_path / "work").iterdir())) == 2  # more samples go on in the same file


@pytest.mark.slow
def test_a_killed_measurement_goes_on_and_gives_the_same_numbers(checkpoint, tmp_path):
    path = checkpoint()
    options = ["--n-frames", "2", "--measures", "gaussian", "trace", "--samples", "40"]
    options += ["--trace-samples", "10"]

    def call(out: Path) -> list[str]:
        return [PROGRAM, "sharpness", str(path), "--out", str(out), *options]

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run_process(*call(whole))
    for wanted in (3, 20):
        process = subprocess.Popen(call(parts), stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            kept = list(parts.glob("work/*.jsonl"))
            if kept and kept[0].read_text().count("\n") >= wanted:
                break
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not (parts / "sharpness.json").exists()
    run_process(*call(parts))
    assert (parts / "frames.extxyz").read_bytes() == (whole / "frames.extxyz").read_bytes()
    one, other = (json.loads((f / "sharpness.json").read_text()) for f in (whole, parts))
    assert one == other


@pytest.mark.slow
def test_the_command_on_two_models_with_all_measures(checkpoint, tmp_path):
    models = [checkpoint(), checkpoint(seed=1)]
    options = ["--n-frames", "2", "--samples", "3", "--trace-samples", "2", "--rho", "0.01"]
    done = run_process(PROGRAM, "sharpness", *models, "--out", "found", *options, cwd=tmp_path)
    assert "largest eigenvalue" in done.stdout
    written = {p.name for p in (tmp_path / "found").iterdir()}
    assert {
        "sharpness.json",
        "measures.png",
        "lines.png",
        "planes.png",
        "planes_forces_mse.png",
    } <= written
    content = json.loads((tmp_path / "found" / "sharpness.json").read_text())
    assert len({m["name"] for m in content["models"]}) == 2
    for model in content["models"]:
        assert math.isfinite(model["values"]["eigenvalue"]["forces_mse"])
        assert model["values"]["plane"].keys() == {"x", *model["values"]["loss"]}
    assert "gaussian, against the first model" in done.stdout
    first, second = content["models"]
    assert not first["against_first"]
    assert second["against_first"].keys() == {"gaussian", "relative", "trace"}


@pytest.mark.slow
def test_a_package_is_measured_like_the_checkpoint_it_was_made_from(checkpoint, tmp_path):
    path = checkpoint(ema=True)
    package = tmp_path / "model.nequip.zip"
    run_process(PROGRAMS / "nequip-package", "build", path, package, cwd=path.parent)
    frames = keep_frames(open_trained(path), 2, tmp_path / "frames.extxyz")
    one = measure([path], out=tmp_path / "a", frames=frames, settings=QUICK)[0].values
    two = measure([package], out=tmp_path / "b", frames=frames, settings=QUICK)[0].values
    assert two["loss"]["total"] == pytest.approx(one["loss"]["total"], rel=1e-9)
    assert two["trace"]["total"]["mean"] == pytest.approx(one["trace"]["total"]["mean"], rel=1e-6)
    with pytest.raises(LegatoError, match="one set of weights"):
        measure([package], out=tmp_path / "c", frames=frames, weights="raw", settings=QUICK)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"measures": ("gaussain",)}, "there is no measure gaussain"),
        ({"epsilon": 0.0}, "epsilon must be positive"),
        ({"samples": 1}, "samples must be at least 2"),
        ({"rho": (-1.0,)}, "rho must be positive"),
    ],
)
def test_impossible_settings_are_refused(options, said):
    with pytest.raises(LegatoError, match=said):
        Settings(**options)


def test_what_cannot_be_measured_is_said_in_one_line(checkpoint, tmp_path):
    path = checkpoint()
    empty = tmp_path / "no_labels.extxyz"
    import ase.io
    from models import ammonia_frames

    atoms = ammonia_frames(1)[0]
    atoms.calc = None
    ase.io.write(empty, atoms)
    cases = [
        ({"models": [tmp_path / "none.ckpt"]}, "does not exist"),
        ({"frames": tmp_path / "none.extxyz"}, "does not exist"),
        ({"frames": empty}, "have labels: no"),
        ({"n_frames": 0}, "at least 1"),
        ({"weights": "best"}, "neither"),
        ({"models": []}, "give a checkpoint"),
    ]
    for change, said in cases:
        given = {"models": [path], "settings": QUICK, "n_frames": 1} | change
        models = given.pop("models")
        with pytest.raises(LegatoError, match=said) as caught:
            measure(models, out=tmp_path / "out", **given)
        assert "\n" not in str(caught.value)
