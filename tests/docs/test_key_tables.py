"""The generated tables of keys: complete, or refused."""

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "docs" / "_extensions"))

from key_tables import keys_of

from nequip_legato import LookSAM
from nequip_legato.improve.settings import ImproveSettings
from nequip_legato.stability.run.settings import Criteria, Settings


def test_keys_of_a_callback():
    rows = {name: (kind, default) for name, kind, default, _ in keys_of(LookSAM)}
    assert list(rows)[:3] == ["rho", "every", "alpha"]
    assert rows["every"] == ("int", "5")
    assert rows["include"] == ("str | null", "null")
    (meaning,) = [meaning for name, _, _, meaning in keys_of(LookSAM) if name == "warmup"]
    assert "rises" in meaning, "as for SAM"


def test_keys_of_dataclasses():
    rows = {name: (kind, default) for name, kind, default, _ in keys_of(Settings)}
    assert rows["models"] == ("list[Model]", "")
    assert rows["ensembles"] == ("list[str]", "[nvt]")
    assert rows["criteria"] == ("Criteria", "see below")
    assert rows["workers"] == ("int | auto", "auto")
    assert rows["launcher"] == ("str", '""'), "it need not be given"
    assert rows["sizes"] == ("list[Size]", "see below")
    assert rows["restart_every"] == ("int | off", "10000")
    rows = {name: (kind, default) for name, kind, default, _ in keys_of(Criteria)}
    assert rows["largest_force"] == ("float | auto | off", "auto")
    meanings = {name: meaning for name, _, _, meaning in keys_of(Criteria)}
    # over several lines of the docstring
    assert meanings["largest_force"].endswith("training data, ``off`` for no limit.")


def test_what_a_reader_of_yaml_sees():
    rows = {name: meaning for name, _, _, meaning in keys_of(ImproveSettings)}
    assert "path" not in rows, "the program sets it"
    meanings = {name: meaning for name, _, _, meaning in keys_of(LookSAM)}
    assert "(see [](/methods.md))" in meanings["alpha"], "a link, not a path"


@dataclass
class Forgotten:
    """A key without a meaning.

    Attributes:
        one: it.
    """

    one: int
    two: int = 2


def test_a_key_without_a_meaning_is_an_error():
    with pytest.raises(ValueError, match="docstring and keys of Forgotten differ: two"):
        keys_of(Forgotten)
