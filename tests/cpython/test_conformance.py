"""pytest's entry to `tests.cpython`: one test a module of ``test.test_asyncio``."""

import pytest

from . import runner

MODULES = runner.modules()


def describe(result: runner.ModuleResult) -> str:
    parts = list(result.problems)
    parts += [f"{test['outcome']}: {test['id']}\n{test['detail']}" for test in result.bad()]
    return "\n\n".join(parts)


if not MODULES:

    def test_interpreter_without_its_tests():
        pytest.skip("this Python has no test.test_asyncio (Debian: libpython3-testsuite)")


# The runner bounds each test; a module has many.
@pytest.mark.timeout(900)
@pytest.mark.parametrize("module", MODULES)
def test_module(module, record_property):
    result = runner.run_module(module, runner.Options())
    for outcome, count in result.count().items():
        record_property(outcome, count)
    assert result.ok, describe(result)
    assert result.tests, "no test was found"
