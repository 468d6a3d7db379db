"""The first example of SAM and the values that are recommended are the same on every page."""

import inspect
import re
from pathlib import Path

import pytest
import yaml

import nequip_legato

ROOT = Path(__file__).parents[2]
METHODS = ("SAM", "LookSAM", "MomentumSAM")
PAGES = ("README.md", "docs/training.md", "docs/tutorial.md", "docs/methods.md")


def callbacks(text: str) -> list[dict]:
    """Every callback of this package in the YAML blocks of a page."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    return [found for block in blocks for found in of_trainer(yaml.safe_load(block))]


def of_trainer(config: object) -> list[dict]:
    trainer = config.get("trainer", {}) if isinstance(config, dict) else {}
    return [c for c in trainer.get("callbacks", []) if "nequip_legato." in c["_target_"]]


def of_docstring(method: type) -> list[dict]:
    blocks = inspect.getdoc(method).split(".. code-block:: yaml\n\n")[1:]
    trainers = [re.match(r"(?:    .*\n|\n)*", block)[0] for block in blocks]
    return [found for text in trainers for found in of_trainer(yaml.safe_load(text))]


def default(method: str, key: str) -> object:
    return inspect.signature(getattr(nequip_legato, method)).parameters[key].default


@pytest.mark.parametrize("place", [*PAGES, "train_sam.yaml", "SAM"])
def test_the_first_example_is_the_default(place):
    """rho as it is by default, and nothing else."""
    if place == "train_sam.yaml":
        found = of_trainer(yaml.safe_load((ROOT / "examples" / "nh3" / place).read_text()))
    elif place == "SAM":
        found = of_docstring(nequip_legato.SAM)
    else:
        found = callbacks((ROOT / place).read_text())
    assert found[0] == {"_target_": "nequip_legato.SAM", "rho": default("SAM", "rho")}


@pytest.mark.parametrize("method", METHODS)
def test_examples_of_a_method_have_its_defaults(method):
    """rho (ten times larger for ASAM, as the pages say), every and alpha."""
    target = f"nequip_legato.{method}"
    found = [c for page in PAGES for c in callbacks((ROOT / page).read_text())]
    found = [
        c
        for c in [*found, *of_docstring(getattr(nequip_legato, method))]
        if c["_target_"] == target
    ]
    assert found
    for callback in found:
        factor = 10 if callback.get("adaptive") else 1
        for key in {"rho", "every", "alpha"} & callback.keys():
            if callback[key] != "${rho}":
                assert callback[key] == pytest.approx(factor * default(method, key)), callback


def test_one_range_is_recommended():
    """Of rho, on the pages that give one."""
    ranges = r"0\.\d+ (?:to|and) 0\.\d+"
    for page, line in (
        ("docs/training.md", "is the one number to choose"),
        ("docs/methods.md", "is a length in the space of weights"),
        ("docs/faq.md", "for most models"),
    ):
        (text,) = [x for x in (ROOT / page).read_text().splitlines() if line in x]
        assert re.findall(ranges, text)[0].replace("and", "to") == "0.001 to 0.05", page
        assert f"{default('SAM', 'rho')}" in text or page == "docs/methods.md"
