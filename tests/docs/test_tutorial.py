"""Every block of the tutorial runs, in the order of the page, with a shorter training."""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from processes import PROGRAMS, run_process

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorial.md"
SHORTER = {
    "trainer.max_epochs=2": "trainer.max_epochs=1 ++trainer.limit_train_batches=5 "
    "+trainer.limit_val_batches=1 +trainer.limit_test_batches=1 trainer.log_every_n_steps=1",
    "-var steps 400": "-var steps 5",
    "--n-frames 4 --samples 10": "--n-frames 2 --samples 2",
    "steps: 400": "steps: 20",
    "equilibration: {steps: 100}": "equilibration: {steps: 5}",
}


def blocks() -> list[tuple[str, str]]:
    """Language and text of the fenced blocks that have a language."""
    return re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def shorter(text: str) -> str:
    for long, short in SHORTER.items():
        text = text.replace(long, short)
    return text


@pytest.mark.slow
def test_every_block_runs(tmp_path):
    folder = tmp_path / "nh3"
    shutil.copytree(ROOT / "examples" / "nh3", folder)
    text = PAGE.read_text()
    for long in SHORTER:
        assert long in text
    environment = {"PATH": f"{PROGRAMS}:{os.environ['PATH']}"}
    output = ""
    for language, block in blocks():
        if language == "yaml":
            name = re.match(r"# (.*)\n", block)[1]
            if name == "part of train_sam.yaml":
                callback = block.partition("callbacks:\n")[2]
                assert callback in (folder / "train_sam.yaml").read_text()
            else:
                (folder / name).write_text(shorter(block))
            continue
        command = {"bash": ["bash", "-ec"], "python": [sys.executable, "-c"]}[language]
        words = [*command, shorter(block)]
        output += run_process(*words, cwd=folder, environment=environment, merge=True).stdout
    assert "468 frames of H48N16" in output
    assert "largest difference of forces" in output
    assert "SAM: moves " in output
    for made in ("training.png", "sharpness/sharpness.json", "campaign/report/report.html"):
        assert (folder / made).is_file(), made
