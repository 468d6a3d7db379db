"""Two processes on the CPU (gloo) against one, in the real nequip-train."""

import ase.io
import numpy as np
import pytest
import torch
import yaml
from processes import PROGRAMS, run_process
from sam_harness import Run, largest_difference, settings

SAM = {"rho": 0.1}
SIMPLE = {"_target_": "nequip.train.SimpleDDPStrategy", "process_group_backend": "gloo"}
LIGHTNING = {
    "_target_": "lightning.pytorch.strategies.DDPStrategy",
    "process_group_backend": "gloo",
}
STRATEGIES = pytest.mark.parametrize("strategy", [SIMPLE, LIGHTNING], ids=["Simple", "Lightning"])


def parallel(strategy, **options):
    return {"devices": 2, "strategy": strategy, **options}


# Eight frames make one step per epoch, so that it does not matter which process gets which frame.


@STRATEGIES
@pytest.mark.parametrize("adaptive", [False, True], ids=["SAM", "ASAM"])
def test_two_processes_are_one_on_the_joint_batch(train, strategy, adaptive):
    sam = {**SAM, "adaptive": adaptive}
    epochs = "trainer.max_epochs=4"
    one = train("one", epochs, sam=sam, batch_size=8)
    two = train("two", epochs, sam=sam, batch_size=4, trainer=parallel(strategy), ranks=2)
    agree(one, two, steps=4)


@STRATEGIES
def test_accumulation(train, strategy):
    epochs = "trainer.max_epochs=4"
    one = train("one", epochs, sam=SAM, batch_size=8)
    trainer = parallel(strategy, accumulate_grad_batches=2)
    two = train("two", epochs, sam=SAM, batch_size=2, trainer=trainer, ranks=2)
    agree(one, two, steps=4)


def agree(one: Run, two: Run, *, steps: int) -> None:
    assert one.checkpoint["global_step"] == two.checkpoint["global_step"] == steps
    assert largest_difference(one.weights, two.weights) < 1e-10
    for name in ("legato/sharpness", "legato/grad_norm"):
        assert two.logged(name) == pytest.approx(one.logged(name), rel=1e-5)


@STRATEGIES
def test_bad_frame_on_one_process_skips_the_step_on_both(train, strategy, data, tmp_path):
    frames = ase.io.read(data / "train.extxyz", ":")
    frames[5].calc.results["forces"][2] = np.nan  # of one process only
    ase.io.write(tmp_path / "bad.extxyz", frames)
    run = train(
        "two",
        f"data.train_file_path={tmp_path}/bad.extxyz",
        sam=SAM,
        trainer=parallel(strategy),
        ranks=2,
    )
    assert run.logged("legato/skipped_steps")[-1] == 2  # of four steps in two epochs
    assert all(torch.isfinite(w).all() for w in run.weights.values())


@pytest.mark.slow
def test_the_command_starts_the_processes(data, tmp_path):
    """``nequip-train`` as a user runs it: Lightning starts the second process."""
    config = settings(data, sam=SAM, trainer=parallel(SIMPLE, max_epochs=1))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    command = [PROGRAMS / "nequip-train", "-cp", tmp_path, "-cn", "config"]
    done = run_process(*command, cwd=tmp_path, merge=True, timeout=400)
    assert "MEMBER: 2/2" in done.stdout
    assert len(Run(tmp_path, 0, done.stdout).logged("legato/sharpness")) == 2
