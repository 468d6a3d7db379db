"""What each test took when it was last run, in ~/.cache/nequip-legato-tests/durations.tsv.

Seconds of processor time, of the test and of programs that it started and waited for, with the
fixtures that it was the first to ask for; then seconds of wall-clock time. Files that took longest
come first in the next run, so that no worker process is left with one of them at the end.
"""

import os
import resource
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from platformdirs import user_cache_path

from nequip_legato.files import write_atomically

_STARTED = pytest.StashKey[float]()
_NAME = "processor_seconds"
_rows: dict[str, tuple[float, float]] = {}
_INSIDE_A_TEST = "PYTEST_CURRENT_TEST" in os.environ  # that runs tests itself, as of a bundle


def _table() -> dict[str, tuple[float, float]]:
    """What is known: processor time and wall-clock time of each test, in seconds."""
    path = user_cache_path("nequip-legato-tests") / "durations.tsv"
    known = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        used, wall, name = line.split("\t")
        known[name] = float(used), float(wall)
    return known


def _used() -> float:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(used.ru_utime + used.ru_stime for used in both)


def _file(name: str) -> str:
    return name.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Worker processes get one table: all have to find the same order."""
    node.workerinput["walls"] = {name: wall for name, (_, wall) in _table().items()}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files in the order of what they took, the longest first; new ones before them."""
    given = getattr(config, "workerinput", None)
    if given is None:  # no processes side by side: the order does not matter
        return
    walls: dict[str, float] = given["walls"]
    known = {_file(name) for name in walls}
    total: Counter[str] = Counter()
    for item in items:
        total[_file(item.nodeid)] += walls.get(item.nodeid, 0)
    items.sort(key=lambda item: (_file(item.nodeid) in known, -total[_file(item.nodeid)]))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture."""
    item.stash[_STARTED] = _used()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """The report of a worker process takes it along."""
    report = yield
    if report.when == "teardown":
        report.user_properties.append((_NAME, _used() - item.stash[_STARTED]))
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """In the process that the workers report to."""
    used, wall = _rows.get(report.nodeid, (0.0, 0.0))
    used += dict(report.user_properties).get(_NAME, 0.0)
    _rows[report.nodeid] = used, wall + report.duration


def pytest_unconfigure(config: pytest.Config) -> None:
    """Write the table, the longest first; tests that were not run keep their rows."""
    if hasattr(config, "workerinput") or _INSIDE_A_TEST or not _rows:
        return
    root = config.rootpath
    kept = {name: row for name, row in _table().items() if (root / _file(name)).exists()}
    rows = sorted((kept | _rows).items(), key=lambda row: -row[1][0])
    lines = [f"{used:.2f}\t{wall:.2f}\t{name}" for name, (used, wall) in rows]
    folder = user_cache_path("nequip-legato-tests", ensure_exists=True)
    write_atomically(folder / "durations.tsv", "\n".join(lines) + "\n")
