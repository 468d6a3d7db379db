"""A test that leaves a variable behind on which our programs depend fails: the next ones see it.

An ``import lammps`` is one way, which adds our plugin to ``LAMMPS_PLUGIN_PATH``. Variables that
torch, Dask and Lightning set for themselves do not count.
"""

import os
from collections.abc import Iterator

import pytest

_BEFORE = pytest.StashKey[dict[str, str]]()
_OURS = (
    *("CUDA", "CXX", "HOME", "LAMMPS", "LANG", "LC_", "LD_", "MPI", "NEQUIP", "NH3", "OMP"),
    *("PATH", "TMPDIR", "XDG"),
)


def _variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(_OURS)}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture."""
    item.stash[_BEFORE] = _variables()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """After all fixtures that end with this test."""
    yield
    before, after = item.stash[_BEFORE], _variables()
    left = sorted(name for name in before | after if before.get(name) != after.get(name))
    if left:
        os.environ.update(before)
        for name in left:
            if name not in before:
                del os.environ[name]
        pytest.fail(f"left behind in the environment: {', '.join(left)}", pytrace=False)
