"""pytest's entry to `tests.uvloop`: one test a module of uvloop's own tests."""

import pytest

from tests.cpython import runner
from tests.cpython.test_conformance import describe

from . import sdist, suite

# Named here, because the names must be known before anything is fetched; checked below.
MODULES = (
    "test_aiohttp test_base test_context test_dealloc test_dns test_executors test_pipes test_process "
    "test_process_spawning test_regr1 test_runner test_signals test_sockets test_tcp test_udp test_unix"
).split()


def options():
    try:
        return suite.options()
    except sdist.Unavailable as reason:
        pytest.skip(f"uvloop {sdist.VERSION}'s source distribution can't be had: {reason}")


def test_no_module_is_forgotten():
    options()
    assert suite.modules() == MODULES


@pytest.mark.timeout(900)
@pytest.mark.parametrize("module", MODULES)
def test_module(module):
    result = runner.run_module(module, options())
    assert result.ok, describe(result)
    assert result.tests, "no test was found"
    if set(result.tests) == {module}:  # the module as a whole was skipped
        pytest.skip(result.tests[module]["detail"])
