"""Packages that import their names on first use: type checkers see the same names as programs."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

import nequip_legato

LAZY = ("nequip_legato", "nequip_legato.deploy", "nequip_legato.fence", "nequip_legato.sharpness")


@pytest.mark.parametrize("name", LAZY)
def test_type_checkers_see_all_public_names(name):
    module = import_module(name)
    tree = ast.parse(Path(module.__file__).read_text())
    (branch,) = [
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    found = {
        alias.name: node.module
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(found) == set(module.__all__) - {"__version__"}
    for public, origin in found.items():
        assert getattr(import_module(origin), public) is getattr(module, public)


def test_the_package_says_that_it_is_typed():
    assert (Path(nequip_legato.__file__).parent / "py.typed").is_file()
