"""What each test of the last run took, in ~/.cache/nequip-legato-tests/durations.tsv.

Seconds of processor time, of the test and of programs that it started and waited for, with the
fixtures that it was the first to ask for; then seconds of wall-clock time.
"""

import os
import resource
from collections.abc import Iterator

import pytest
from platformdirs import user_cache_path

from nequip_legato.files import write_atomically

_STARTED = pytest.StashKey[float]()
_NAME = "processor_seconds"
_rows: dict[str, tuple[float, float]] = {}
_INSIDE_A_TEST = "PYTEST_CURRENT_TEST" in os.environ  # that runs tests itself, as of a bundle


def _used() -> float:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(used.ru_utime + used.ru_stime for used in both)


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
    """Write the table, the longest first."""
    if hasattr(config, "workerinput") or _INSIDE_A_TEST or not _rows:
        return
    folder = user_cache_path("nequip-legato-tests", ensure_exists=True)
    lines = [
        f"{used:.2f}\t{wall:.2f}\t{name}"
        for name, (used, wall) in sorted(_rows.items(), key=lambda row: -row[1][0])
    ]
    write_atomically(folder / "durations.tsv", "\n".join(lines) + "\n")
