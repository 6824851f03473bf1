"""What holds for every test here: which skips are honest, what is counted, what a harder run adds.

Environment variables, set by `.ci/run` or `make test-hard`:

* `AIOXIDE_NO_SKIPS=1`: a test that would be skipped fails, unless no machine with this Python could run it.
* `AIOXIDE_COUNTS=FILE`: a line `passed failed skipped` is appended to FILE when the run ends.
* `AIOXIDE_SKIPPED=FILE`, set by `make test`: the reasons of what was skipped are appended to FILE, and not said here.
* `AIOXIDE_GC=1`: every test body runs under `gc.set_threshold(1)`.
"""

import gc
import os
import signal
import sys
import threading

import pytest

from tests.support.skips import BY_VERSION, TITLE, keep, reason_of, summary

NO_SKIPS = os.environ.get("AIOXIDE_NO_SKIPS") == "1"
COUNTS = os.environ.get("AIOXIDE_COUNTS")
SKIPPED = os.environ.get("AIOXIDE_SKIPPED")
CONSTANT_GC = os.environ.get("AIOXIDE_GC") == "1"

INTERRUPT = signal.getsignal(signal.SIGINT)


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "by_version(condition, reason): skip where the running CPython itself lacks what is tested"
    )
    config.addinivalue_line(
        "markers", "slow: left out by `make test-ROOM`, which is to take less than a minute"
    )
    if COUNTS and "PYTEST_XDIST_WORKER" not in os.environ:
        config.pluginmanager.register(FailuresAtOnce(config))


class FailuresAtOnce:
    """Names what failed when it fails: a step of the gate that is stopped for its time never comes to its end."""

    def __init__(self, config):
        self.config = config

    def pytest_runtest_logreport(self, report):
        if report.failed:
            reporter = self.config.pluginmanager.get_plugin("terminalreporter")
            last = str(report.longrepr).strip().rpartition("\n")[2]
            reporter.write_line(f"\nfailed: {report.nodeid}: {last}")


def pytest_runtest_setup(item):
    for marker in item.iter_markers("by_version"):
        condition, reason = (*marker.args, *marker.kwargs.values())
        if condition:
            pytest.skip(BY_VERSION + reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if NO_SKIPS and report.skipped and not hasattr(report, "wasxfail"):
        reason = reason_of(report)
        if not reason.startswith(BY_VERSION):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} was skipped, and AIOXIDE_NO_SKIPS is set: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    if NO_SKIPS and report.skipped and not reason_of(report).startswith(BY_VERSION):
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} was skipped, and AIOXIDE_NO_SKIPS is set: {reason_of(report)}"
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


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter):
    """After all that pytest says itself: what was left out, and why."""
    result = yield
    # xdist's workers have a summary too, and so has a pytest that a test starts; the controller counts for them.
    if "PYTEST_XDIST_WORKER" in os.environ:
        return result
    reasons = [reason_of(report) for report in terminalreporter.stats.get("skipped", [])]
    if SKIPPED:
        keep(reasons, SKIPPED)
    elif reasons:
        terminalreporter.section(TITLE)
        terminalreporter.write_line("\n".join(summary(reasons)))
    if COUNTS:
        note_counts(terminalreporter)
    return result


def note_counts(terminalreporter):
    stats = {name: len(reports) for name, reports in terminalreporter.stats.items()}
    passed = stats.get("passed", 0) + stats.get("xfailed", 0)
    failed = stats.get("failed", 0) + stats.get("error", 0)
    with open(COUNTS, "a", encoding="utf-8") as file:
        print(passed, failed, stats.get("skipped", 0), file=file)
