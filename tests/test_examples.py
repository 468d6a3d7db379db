"""Every file of the ammonia example runs, and the documents' commands and settings are real."""

import re
import sys
from pathlib import Path

import pytest
import yaml
from processes import PROGRAMS, run_process

from nequip_legato import SAM

ROOT = Path(__file__).parents[1]
NH3 = ROOT / "examples" / "nh3"
SHORT = [
    "++trainer.limit_train_batches=4",
    "+trainer.limit_val_batches=1",
    "+trainer.limit_test_batches=1",
    "trainer.log_every_n_steps=1",
]


def test_sam_is_three_lines_more():
    """Without comments and blank lines, train_sam.yaml is train.yaml and the callback."""

    def lines(name: str) -> list[str]:
        text = (NH3 / name).read_text()
        return [x for x in text.splitlines() if x.strip() and not x.lstrip().startswith("#")]

    plain, sam = lines("train.yaml"), lines("train_sam.yaml")
    more = [line for line in sam if line not in plain]
    assert len(sam) - len(plain) == len(more) <= 3
    (callback,) = yaml.safe_load("\n".join(more))
    assert callback.pop("_target_") == "nequip_legato.SAM"
    SAM(**callback)


@pytest.mark.slow
def test_plain_training(tmp_path):
    command = [PROGRAMS / "nequip-train", "-cp", NH3, "-cn", "train"]
    run_process(*command, f"hydra.run.dir={tmp_path}", "trainer.max_epochs=1", *SHORT, cwd=NH3)
    assert (tmp_path / "best.ckpt").is_file()


@pytest.mark.slow
def test_demo(tmp_path):
    """All of it, with a shorter training: it checks its own numbers and fails if they are off."""
    out = tmp_path / "out"
    command = [sys.executable, NH3 / "demo.py", "--out", out, "--epochs", 1, "--steps", 20]
    text = run_process(*command, *SHORT, cwd=tmp_path).stdout
    assert (out / "demo.png").stat().st_size > 10_000
    for name in ("TorchScript, 1 rank", "AOTInductor, 1 rank", "AOTInductor, 2 ranks"):
        assert name in text
    assert "force RMSE" in text
    header = (out / "training" / "metrics.csv").read_text().splitlines()[0]
    assert "legato/sharpness" in header
    assert "legato/grad_norm" in header


def test_demo_spares_folders_that_are_not_its_own(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    done = run_process(sys.executable, NH3 / "demo.py", "--out", tmp_path, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("demo: ")
    assert "--out" in done.stderr
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_readme_yaml_is_accepted():
    """What the README tells to paste makes a callback."""
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert blocks
    for block in blocks:
        for callback in yaml.safe_load(block)["trainer"]["callbacks"]:
            assert callback.pop("_target_") == "nequip_legato.SAM"
            SAM(**callback)


def test_no_paths_of_the_machines_it_was_made_on():
    files = run_process("git", "ls-files", "-z", cwd=ROOT).stdout.split("\0")
    pattern = re.compile(rb"/(home|root|work|Users)/[A-Za-z0-9_.-]+/")
    for file in filter(None, files):
        path = ROOT / file
        if path.is_file() and path.suffix in (".py", ".md", ".yaml", ".toml", ".h", ".cpp", ".txt"):
            assert not pattern.search(path.read_bytes()), file
