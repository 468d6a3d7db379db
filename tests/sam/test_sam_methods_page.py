"""Every YAML block of docs/methods.md, and its scan of rho, in the real nequip-train."""

import os
import re
from pathlib import Path

import pytest
import yaml
from processes import PROGRAMS, run_process
from sam_harness import nequip_train, settings

PAGE = (Path(__file__).parents[2] / "docs" / "methods.md").read_text()
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)


def with_block(data: Path, block: str) -> dict:
    extra = yaml.safe_load(block)
    callbacks = extra.pop("trainer")["callbacks"]
    config = settings(data, trainer={"callbacks": callbacks})
    return {**config, **extra}


def test_every_method_has_a_block():
    named = " ".join(BLOCKS)
    for target in ("nequip_legato.SAM\n", "nequip_legato.MomentumSAM", "nequip_legato.LookSAM"):
        assert target in named
    for key in ("adaptive", "last_fraction", "schedule: warmup", "include", "exclude"):
        assert key in named


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_block_trains(data, tmp_path, number):
    """With batches of one frame: eight steps per epoch, sixteen in all."""
    config = with_block(data, BLOCKS[number])
    config["data"]["train_dataloader"]["batch_size"] = 1
    run = nequip_train(tmp_path, config)
    assert run.returncode == 0, run.output[-3000:]
    assert run.checkpoint["global_step"] == 16
    assert not run.logged("legato/skipped_steps")
    saved = run.checkpoint["nequip_legato_sam"]
    for key, value in yaml.safe_load(BLOCKS[number])["trainer"]["callbacks"][0].items():
        if key != "_target_" and value != "${rho}":
            assert saved[key] == value


@pytest.mark.slow
def test_scan(data, tmp_path):
    """The command of the page, with the launcher that works on one machine."""
    (block,) = [b for b in BLOCKS if "${rho}" in b]
    (command,) = re.findall(r"^(nequip-train .*submitit_local)", PAGE, flags=re.MULTILINE)
    config = with_block(data, block)
    config["trainer"]["logger"]["save_dir"] = "${hydra:runtime.output_dir}"
    config["trainer"]["callbacks"][0]["dirpath"] = "${hydra:runtime.output_dir}"
    config["trainer"]["max_epochs"] = 2
    del config["hydra"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    environment = {"PATH": f"{PROGRAMS}:{os.environ['PATH']}"}
    run_process("bash", "-ec", command, cwd=tmp_path, environment=environment)
    values = re.search(r"rho=(\S+)", command).group(1).split(",")
    trainings = set()
    for number, value in enumerate(values):
        (folder,) = tmp_path.glob(f"multirun/*/*/{number}")
        told = yaml.safe_load((folder / ".hydra" / "config.yaml").read_text())
        assert float(told["rho"]) == float(value)
        assert (folder / "last.ckpt").is_file()
        metrics = (folder / "metrics.csv").read_text()
        assert "legato/sharpness" in metrics
        trainings.add(metrics)
    assert len(trainings) == len(values)  # each rho made another training
