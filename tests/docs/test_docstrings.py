"""Docstrings as the site shows them."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "_extensions"))

from docstrings import with_symbols  # noqa: E402


def test_units_and_powers_become_symbols():
    assert with_symbols("curvature, eV/Angstrom^2") == "curvature, eV/Å²"
    assert with_symbols("(6,) in eV/A^3, up to 4,000 cm^-1") == "(6,) in eV/Å³, up to 4,000 cm⁻¹"


def test_literals_and_other_letters_stay():
    for text in (
        "``e = rho T^2 g``",
        "`x^2`",
        "a ``formula\nover lines^2``",
        "A^T",
        "drift matrix A",
    ):
        assert with_symbols(text) == text


def test_no_meaning_is_an_enumerator():
    """``beads: P.`` would be shown as a list with one empty entry."""
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sorted((ROOT / "nequip_legato").rglob("*.py"))
        for line in path.read_text().splitlines()
        if re.fullmatch(r" +\w+: \w\.", line)
    ]
    assert found == []
