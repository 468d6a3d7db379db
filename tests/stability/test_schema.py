"""Keys of the YAML files: words, old spellings, unknown keys, and what comes of them."""

from copy import deepcopy
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from pathlib import Path

import pytest
import yaml

from nequip_legato.errors import LegatoError
from nequip_legato.improve import resolve as improve_resolve
from nequip_legato.improve import settings as improve
from nequip_legato.improve.campaigns import PARTS, merged
from nequip_legato.quantum import resolve as quantum_resolve
from nequip_legato.quantum import settings as quantum
from nequip_legato.stability.run import resolve
from nequip_legato.stability.run import settings as stability
from nequip_legato.stability.run.schema import parse_settings, read_settings

ROOT = Path(__file__).parents[2]
CAMPAIGN = {
    "models": [{"name": "a", "file": "a.nequip.pth"}],
    "structure": "start.xyz@1",
    "types": ["D", "N"],
    "symbols": ["H", "N"],
}
QUANTUM = {
    "models": [{"name": "a", "file": "a.nequip.pth"}],
    "systems": [{"name": "one", "structure": "start.xyz"}],
    "types": ["H", "N"],
}
LOOP = {
    "checkpoint": "best.ckpt",
    "campaign": {"structure": "start.xyz", "types": ["H", "N"]},
    "labels": "files",
}
KINDS = {
    "stability": (stability.Settings, CAMPAIGN),
    "quantum": (quantum.Settings, QUANTUM),
    "improve": (improve.ImproveSettings, LOOP),
}
WORDED = [  # kind, key, word, what it stands for
    ("stability", "criteria.temperature_window", "off", None),
    ("stability", "criteria.largest_force", "off", 0.0),
    ("stability", "criteria.largest_force", "auto", None),
    ("stability", "criteria.closest_ratio", "off", 0.0),
    ("stability", "restart_every", "off", None),
    ("stability", "workers", "auto", None),
    ("quantum", "criteria.temperature_window", "off", None),
    ("quantum", "geometry.rdf", "off", 0.0),
    ("quantum", "restart_every", "off", None),
    ("quantum", "ranks", "auto", None),
    ("quantum", "workers", "auto", None),
    ("improve", "target", "off", 0.0),
    ("improve", "choose.radius", "auto", None),
    ("improve", "checks.largest_force", "auto", None),
    ("improve", "training.robust", "auto", None),
    ("improve", "training.robust", "off", 0.0),
]


@pytest.fixture
def read(tmp_path):
    """Function: name of the kind, key, text of its value -> settings, through a file."""

    def load(name: str, key: str = "", text: str = ""):
        kind, given = KINDS[name]
        *outer, last = key.split(".")
        lines = [f"{name}:" for name in outer] + [f"{'  ' * len(outer)}{last}: {text}"] * bool(key)
        path = tmp_path / "campaign.yaml"
        path.write_text(yaml.safe_dump(given) + "\n".join(lines))
        return read_settings(path, kind, docs="")

    return load


def value_of(settings, key: str):
    for name in key.split("."):
        settings = getattr(settings, name)
    return settings


def parts_of(settings):
    """The settings and all dataclasses in them."""
    yield settings
    for one in fields(settings):
        value = getattr(settings, one.name)
        assert not isinstance(value, list)
        for part in value if isinstance(value, tuple) else (value,):
            if is_dataclass(part):
                yield from parts_of(part)


@pytest.mark.parametrize(("name", "key", "word", "value"), WORDED)
def test_words_bare_and_quoted(read, name, key, word, value):
    for text in (word, f'"{word}"', word.upper()):
        assert value_of(read(name, key, text), key) == value


@pytest.mark.parametrize(
    ("name", "key", "old", "word"),
    [
        ("stability", "criteria.temperature_window", "null", "off"),
        ("stability", "criteria.temperature_window", "0", "off"),
        ("stability", "criteria.largest_force", "null", "auto"),
        ("stability", "criteria.largest_force", "0", "off"),
        ("stability", "criteria.closest_ratio", "0.0", "off"),
        ("stability", "restart_every", "0", "off"),
        ("stability", "workers", "0", "auto"),
        ("quantum", "geometry.rdf", "0", "off"),
        ("quantum", "ranks", "0", "auto"),
        ("quantum", "restart_every", "0", "off"),
        ("improve", "target", "0", "off"),
        ("improve", "choose.radius", "null", "auto"),
        ("improve", "training.robust", "null", "auto"),
        ("improve", "training.robust", "0", "off"),
    ],
)
def test_an_old_spelling_is_told_what_to_write(read, name, key, old, word):
    with pytest.raises(LegatoError) as refusal:
        read(name, key, old)
    text = str(refusal.value)
    assert text.endswith(f"campaign.yaml: {key}: write {word} instead of {old}")


@pytest.mark.parametrize("text", ["none", "on", "[1]", "{a: 1}", "1e"])
@pytest.mark.parametrize("key", ["restart_every", "criteria.largest_force"])
def test_other_words_are_one_line(read, key, text):
    with pytest.raises(LegatoError, match=key.rpartition(".")[2]) as refusal:
        read("stability", key, text)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("name", "key"), [("stability", "ensembles"), ("quantum", "methods")])
@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[{nvt: 1}, nve]", "[0]: {'nvt': 1} is not a single value"),
        ("[nvt, [nve]]", "[1]: ['nve'] is not a single value"),
        ("${timestep}", " is not a list"),
    ],
)
def test_lists_hold_single_values(read, name, key, text, line):
    with pytest.raises(LegatoError) as refusal:
        read(name, key, text)
    assert f"campaign.yaml: {key}" in str(refusal.value)
    assert str(refusal.value).endswith(line)


def test_numbers_stay_numbers(read):
    assert read("stability", "criteria.largest_force", "'30'").criteria.largest_force == 30.0
    assert read("stability", "restart_every", "50").restart_every == 50
    assert read("stability", "criteria.temperature_window", "${temperature}") == replace(
        read("stability"), criteria=stability.Criteria(temperature_window=200.0)
    )


@pytest.mark.parametrize(
    ("name", "key", "near"),
    [
        ("stability", "stepz", "steps"),
        ("stability", "damping", "damping_steps"),
        ("stability", "equilibration.damping", "damping_fs"),
        ("stability", "criteria.temprature_window", "temperature_window"),
        ("quantum", "damping", "damping_fs"),
        ("quantum", "geometry.ligands", "ligand"),
        ("improve", "checks.energy_tolerance", "per_atom_energy_tolerance"),
        ("improve", "training.epoch", "epochs"),
    ],
)
def test_an_unknown_key_is_told_with_the_nearest(read, name, key, near):
    with pytest.raises(LegatoError) as refusal:
        read(name, key, "3")
    text = str(refusal.value)
    assert "\n" not in text
    assert "campaign.yaml: " in text
    assert f"key '{key}'" in text
    assert f"did you mean '{near}'? Known are: " in text
    assert near in text.partition("Known are: ")[2].split()


def test_a_key_like_no_other_is_told_the_known_ones(read):
    with pytest.raises(LegatoError, match=r"'xyzzy'\); known are: models structure types"):
        read("stability", "xyzzy", "3")


@pytest.mark.parametrize("name", KINDS)
def test_the_check_changes_nothing_and_what_is_resolved_is_frozen(tmp_path, read, name):
    for file in ("a.nequip.pth", "start.xyz", "best.ckpt"):
        (tmp_path / file).touch()
    module = {"stability": stability, "quantum": quantum, "improve": improve}[name]
    given = read(name)
    before = deepcopy(given)
    module.check(given)
    assert given == before
    resolver = {"stability": resolve, "quantum": quantum_resolve, "improve": improve_resolve}[name]
    done = resolver.resolved(given, tmp_path / "c.yaml")
    assert given == before
    assert done.output == str(tmp_path / "c")
    for settings in (given, done):
        for part in parts_of(settings):
            with pytest.raises(FrozenInstanceError):
                setattr(part, fields(part)[0].name, None)


def test_nothing_is_left_to_be_filled_in(tmp_path):
    for file in ("a.nequip.pth", "start.xyz"):
        (tmp_path / file).touch()
    path = tmp_path / "c.yaml"
    done = resolve.resolved(parse_settings(CAMPAIGN, stability.Settings, path), path)
    assert done.structure == f"{tmp_path / 'start.xyz'}@1"
    (model,) = done.models
    assert model == stability.Model("a", str(tmp_path / "a.nequip.pth"), "a", "a")
    assert done.equilibration.model == model.file
    assert (done.types, done.symbols) == (("D", "N"), ("H", "N"))
    assert done.masses == pytest.approx((1.008, 14.007))


def test_the_example_of_a_loop():
    path = ROOT / "examples" / "nh3" / "improve.yaml"
    loop = read_settings(path, improve.ImproveSettings, docs="")
    improve.check(loop)
    for part in PARTS:
        campaign = merged(loop.campaign, getattr(loop, part))
        stability.check(
            parse_settings(campaign | {"models": CAMPAIGN["models"]}, stability.Settings, path)
        )


@pytest.mark.parametrize("study", ["study.yaml", "rates/study.yaml"])
def test_campaigns_of_the_studies(study):
    path = ROOT / "benchmarks" / "fidelity_scaling" / study
    content = yaml.safe_load(path.read_text())
    parts = [p["campaign"] for p in content.values() if isinstance(p, dict) and "campaign" in p]
    assert parts
    for part in parts:
        campaign = content["campaign"] | part
        for own in ("frame", "equilibration_model"):  # of the study
            campaign.pop(own, None)
        settings = parse_settings(CAMPAIGN | campaign, stability.Settings, path)
        stability.check(replace(settings, symbols=settings.types))
        assert settings.restart_every is None
