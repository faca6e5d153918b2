"""For all tests: a skip is a failure where CI or WHIMBREL_NO_SKIP is set; one real API server for all that ask for it.

What cannot run on a machine is left out by hack/tiers.py, in words; a test that skips itself would hide that.
"""

import os
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from whimbrel_lab.controlplane.real.server import Endpoint

settings.register_profile("whimbrel", deadline=None)
settings.load_profile("whimbrel")  # how long one example takes is the machine's mood

STRICT = any(os.environ.get(name) for name in ("CI", "WHIMBREL_NO_SKIP"))


def _skip_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    where = report.longrepr
    reason = where[2] if isinstance(where, tuple) else where
    return f"{report.nodeid} was skipped where nothing may be (CI or WHIMBREL_NO_SKIP is set): {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turns a skipped test into a failed one; an expected failure stays what it is."""
    report = yield
    if STRICT and report.skipped and not hasattr(report, "wasxfail"):
        report.longrepr = _skip_reason(report)
        report.outcome = "failed"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turns a module that skips itself while it is collected into an error."""
    report = yield
    if STRICT and report.skipped:
        report.longrepr = _skip_reason(report)
        report.outcome = "failed"
    return report


@pytest.fixture(scope="session")
def api_server() -> "Iterator[Endpoint]":
    """A real API server with the lab's definitions and ours, shared by all tests of the run (of a worker)."""
    from support.shared_server import shared_server  # tests that need no server do not wait for the import

    with shared_server() as endpoint:
        yield endpoint
