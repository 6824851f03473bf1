"""The harness itself: a pointing that misses, or an exclusion of no use, must be noticed."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from . import report, runner
from .exclusions import Exclusions, applies

needs_suite = pytest.mark.skipif(not runner.modules(), reason="this Python has no test.test_asyncio")


def exclusion_file(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "exclusions.toml"
    path.write_text("exclude = [\n" + "".join(f"  {line},\n" for line in lines) + "]\n")
    return path


@pytest.mark.parametrize(
    ("pythons", "version", "expected"),
    [
        ("", (3, 13, 1), True),
        (">=3.12", (3, 11, 9), False),
        (">=3.12,<3.14", (3, 13, 5), True),
        (">=3.12,<3.14", (3, 14, 0), False),
        ("<=3.12", (3, 12, 7), True),
        ("==3.13", (3, 13, 2), True),
        ("==3.13.0", (3, 13, 2), False),
    ],
)
def test_versions(pythons, version, expected):
    assert applies(pythons, version) is expected


def test_version_without_comparison_is_an_error():
    with pytest.raises(ValueError, match="no comparison"):
        applies("3.12")


def test_an_exclusion_needs_a_reason(tmp_path):
    path = exclusion_file(tmp_path, '{ id = "test_x.*", reason = "flaky" }')
    with pytest.raises(ValueError, match="a reason is needed"):
        Exclusions(path)


def test_stock_keeps_only_what_stock_fails(tmp_path):
    path = exclusion_file(
        tmp_path,
        '{ id = "test_a.*", reason = "white-box of a private class" }',
        '{ id = "test_b.*", reason = "fails on every loop", stock = true }',
    )
    assert [entry.id for entry in Exclusions(path, stock=True).entries] == ["test_b.*"]


@needs_suite
def test_an_exclusion_of_no_use_is_a_problem(tmp_path):
    path = exclusion_file(tmp_path, '{ id = "test_protocols.Gone.*", reason = "matches no test at all" }')
    result = runner.run_module("test_protocols", runner.Options(exclusions=path))
    assert result.problems == ["exclusion of no use: test_protocols.Gone.*"]
    assert not result.ok


@needs_suite
def test_excluded_tests_are_counted_and_not_run(tmp_path):
    path = exclusion_file(
        tmp_path, '{ id = "test_protocols.*.test_protocol", reason = "stands for any test" }'
    )
    result = runner.run_module("test_protocols", runner.Options(exclusions=path))
    excluded = [name for name, test in result.tests.items() if test["outcome"] == "excluded"]
    assert len(excluded) == 1, excluded
    assert result.ok, result.problems


def run_pointed(body: str) -> str:
    code = "from tests.cpython import pointing\nimport asyncio\n" + textwrap.dedent(body)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=runner.child_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@needs_suite
def test_a_loop_of_asyncio_s_own_is_foreign():
    out = run_pointed(
        """
        pointing.point()
        asyncio.unix_events._UnixSelectorEventLoop.__mro__
        pointing.STOCK_LOOP().close()
        print(pointing.census.take())
        """
    )
    assert out == "(0, {'asyncio.unix_events._UnixSelectorEventLoop': 1})"


@needs_suite
def test_every_road_leads_to_an_exact_aioxide_loop():
    out = run_pointed(
        """
        import aioxide, selectors
        pointing.point()
        roads = [asyncio.new_event_loop, asyncio.SelectorEventLoop]
        roads += [lambda: asyncio.SelectorEventLoop(selectors.PollSelector())]
        roads += [asyncio.EventLoop] if hasattr(asyncio, "EventLoop") else []
        for road in roads:
            loop = road()
            assert type(loop) is aioxide.EventLoop, (road, type(loop))
            assert isinstance(loop, asyncio.SelectorEventLoop)
            loop.close()
        class Sub(asyncio.SelectorEventLoop):
            pass
        loop = Sub()
        assert isinstance(loop, aioxide.EventLoop)
        loop.close()
        print(pointing.census.take() == (len(roads) + 1, {}))
        """
    )
    assert out == "True"


@needs_suite
def test_a_task_class_left_behind_is_noticed():
    out = run_pointed(
        """
        import aioxide
        class Task(asyncio.Task):
            pass
        aioxide.Task = Task
        pointing.point()
        from test.test_asyncio import test_tasks
        assert test_tasks.CTask_CFuture_Tests.Task.__bases__ == (Task,) or (
            test_tasks.CTask_CFuture_Tests.Task is Task)
        assert pointing.is_hooked(test_tasks.CTask_CFuture_SubclassTests)
        assert asyncio.Task is asyncio.tasks.Task is Task
        class Left:
            Task = pointing.STOCK_TASK
        print(pointing.is_unpointed(Left), pointing.is_unpointed(test_tasks.CTask_CFuture_Tests))
        """
    )
    assert out == "True False"


@needs_suite
def test_a_crash_is_laid_at_its_test_and_the_rest_goes_on(monkeypatch):
    environment = runner.child_environment()
    monkeypatch.setattr(runner, "child_environment", lambda: environment)
    stand_in = Path(__file__).with_name("crashing_child.py")
    original = runner._command

    def command(*args):
        line = original(*args)
        return [line[0], str(stand_in), *line[3:]]

    monkeypatch.setattr(runner, "_command", command)
    result = runner.run_module("test_protocols", runner.Options())
    outcomes = result.count()
    assert outcomes["crashed"] == 1, outcomes
    assert outcomes["passed"] == len(result.tests) - 1 > 0
    (crashed,) = result.bad()
    assert "exit status -6" in crashed["detail"]


@needs_suite
def test_the_counts_in_the_docs_are_not_stale():
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert version in report.rows(), "run `python -m tests.cpython --write-docs` on this Python"
    command = [sys.executable, "-m", "tests.cpython.discover"]
    out = subprocess.run(command, env=runner.child_environment(), capture_output=True, text=True, check=True)
    now, then = json.loads(out.stdout), report.rows()[version]
    # A release adds tests now and then; a tenth more, or as many exclusions, must be told in the docs.
    for what in ("tests", "excluded"):
        assert abs(now[what] - then[what]) <= then[what] / 10, (what, now, then)
