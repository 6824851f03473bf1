"""What holds for every test here: which skips are honest, what is counted, what a harder run adds.

Environment variables, all set by `.ci/run` or `make test-hard`:

* `AIOXIDE_NO_SKIPS=1`: a test that would be skipped fails, unless no machine with this Python could run it.
* `AIOXIDE_COUNTS=FILE`: a line `passed failed skipped` is appended to FILE when the run ends.
* `AIOXIDE_GC=1`: every test body runs under `gc.set_threshold(1)`.
"""

import gc
import os
import signal
import sys
import threading

import pytest

NO_SKIPS = os.environ.get("AIOXIDE_NO_SKIPS") == "1"
COUNTS = os.environ.get("AIOXIDE_COUNTS")
CONSTANT_GC = os.environ.get("AIOXIDE_GC") == "1"

INTERRUPT = signal.getsignal(signal.SIGINT)

# A skip whose reason starts so depends on the Python alone, not on what is installed on the machine.
BY_VERSION = "by version: "


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "by_version(condition, reason): skip where the running CPython itself lacks what is tested"
    )
    config.addinivalue_line(
        "markers", "slow: left out by `make test-ROOM`, which is to take less than a minute"
    )


def pytest_runtest_setup(item):
    for marker in item.iter_markers("by_version"):
        condition, reason = (*marker.args, *marker.kwargs.values())
        if condition:
            pytest.skip(BY_VERSION + reason)


def skip_reason(report):
    """The reason given for a skip; pytest keeps it as (path, line, 'Skipped: reason')."""
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return reason.removeprefix("Skipped: ")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if NO_SKIPS and report.skipped and not hasattr(report, "wasxfail"):
        reason = skip_reason(report)
        if not reason.startswith(BY_VERSION):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} was skipped, and AIOXIDE_NO_SKIPS is set: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    if NO_SKIPS and report.skipped and not skip_reason(report).startswith(BY_VERSION):
        report.outcome = "failed"
        report.longrepr = (
            f"{collector.nodeid} was skipped, and AIOXIDE_NO_SKIPS is set: {skip_reason(report)}"
        )
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    if not CONSTANT_GC:
        return (yield)
    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        return (yield)
    finally:
        gc.set_threshold(*before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item):
    """A test that leaves Ctrl-C blocked or handled otherwise fails itself, not those that come after it."""
    try:
        return (yield)
    finally:
        blocked, handler = (
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT}),
            signal.getsignal(signal.SIGINT),
        )
        if threading.current_thread() is threading.main_thread():
            handler = signal.signal(signal.SIGINT, INTERRUPT)
        assert signal.SIGINT not in blocked and handler == INTERRUPT, (blocked, handler)


def pytest_report_header(config):
    import aioxide

    native = sys.modules.get("aioxide._aioxide")
    return f"aioxide: {os.path.dirname(aioxide.__file__)}, native module: {getattr(native, '__file__', None)}"


def pytest_terminal_summary(terminalreporter):
    # xdist's workers have a summary too, and so has a pytest that a test starts; the controller counts for them.
    if not COUNTS or "PYTEST_XDIST_WORKER" in os.environ:
        return
    stats = {name: len(reports) for name, reports in terminalreporter.stats.items()}
    passed = stats.get("passed", 0) + stats.get("xfailed", 0)
    failed = stats.get("failed", 0) + stats.get("error", 0)
    with open(COUNTS, "a", encoding="utf-8") as file:
        print(passed, failed, stats.get("skipped", 0), file=file)
