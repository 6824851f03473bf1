"""pytest's entry to `tests.concurrent`: one test a part of ``test.test_concurrent_futures``."""

import json
import subprocess
import sys
import textwrap

import pytest

from tests.cpython import report, runner
from tests.cpython.test_conformance import describe

from . import debian, suite

VERSION = "{}.{}".format(*sys.version_info[:2])


def options(**more):
    try:
        return suite.options(**more)
    except debian.Unavailable as reason:
        pytest.skip(f"this Python was installed without test.test_concurrent_futures, and {reason}")


# The runner bounds each test; a part has many.
@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", suite.parts())
def test_part(part):
    result = runner.run_module(part, options())
    assert result.ok, describe(result)
    assert result.tests, "no test was found"


def run_pointed(body: str) -> str:
    code = "from tests.concurrent import pointing\nimport concurrent.futures\n" + textwrap.dedent(body)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=runner.child_environment() | dict(options().environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_standard_pool_is_foreign():
    out = run_pointed(
        """
        pointing.point()
        for stock in pointing.STOCK.values():
            stock(1).shutdown()
        print(pointing.census.take())
        """
    )
    assert out == (
        "(0, {'concurrent.futures.thread.ThreadPoolExecutor': 1, "
        "'concurrent.futures.process.ProcessPoolExecutor': 1})"
    )


def test_every_name_leads_to_our_pools():
    out = run_pointed(
        """
        import aioxide
        pointing.point()
        import concurrent.futures.process, concurrent.futures.thread
        from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
        assert ThreadPoolExecutor is concurrent.futures.thread.ThreadPoolExecutor is aioxide.ThreadPoolExecutor
        assert ProcessPoolExecutor is concurrent.futures.process.ProcessPoolExecutor is aioxide.ProcessPoolExecutor
        class Sub(ThreadPoolExecutor):
            pass
        for pool in (ThreadPoolExecutor, ProcessPoolExecutor, Sub):
            with pool(1) as made:
                assert made.submit(abs, -1).result() == 1
        print(pointing.census.take())
        """
    )
    assert out == "(3, {})"


def test_a_test_that_leaves_a_thread_behind_fails(tmp_path, monkeypatch):
    """The recorder looks; regrtest itself does so only when it is asked to."""
    (tmp_path / "leaving.py").write_text(
        textwrap.dedent(
            """
            import threading
            from test import support
            from tests.concurrent import child
            support.SHORT_TIMEOUT = 0.2
            from test.support import threading_helper
            threading_helper.support.SHORT_TIMEOUT = 0.2
            load = child.load
            def leave(module, stock):
                loaded = load(module, stock)
                cases = [c for c in vars(loaded).values() if isinstance(c, type) and "FutureTests" == c.__name__]
                cases[0].test_cancelled = lambda self: threading.Thread(
                    target=threading.Event().wait, args=(8,), daemon=True).start()
                return loaded
            child.load = leave
            if __name__ == "__main__":
                child.child.main(child.run)
            """
        )
    )
    original = runner._command

    def command(*args):
        line = original(*args)
        return [line[0], str(tmp_path / "leaving.py"), *line[3:]]

    monkeypatch.setattr(runner, "_command", command)
    name = next(name for name in suite.parts() if name.split("-")[0] in ("test_future", debian.MODULE))
    result = runner.run_module(name, options(stock=True, k="FutureTests.test_cancel"))
    [bad] = result.bad()
    assert bad["id"].endswith("FutureTests.test_cancelled")
    assert bad["detail"].startswith("left a thread")


def test_the_counts_in_the_docs_are_not_stale():
    here = options()
    assert VERSION in report.rows(report.CONCURRENT), (
        "run `python -m tests.concurrent --write-docs` on this Python"
    )
    command = [sys.executable, "-m", "tests.concurrent.discover"]
    environment = runner.child_environment() | dict(here.environment)
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    now, then = json.loads(out.stdout), report.rows(report.CONCURRENT)[VERSION]
    # A release adds tests now and then; a tenth more, or as many exclusions, must be told in the docs.
    for what in ("tests", "excluded"):
        assert abs(now[what] - then[what]) <= max(then[what] / 10, 2), (what, now, then)
