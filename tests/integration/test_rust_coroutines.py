"""Coroutines that PyO3 makes of Rust's `async fn`, from tests/integration/rust_coroutine, in tasks of every kind.

Their coroutine makes a future for each wait and yields what its iterator gives; `send` polls the Rust future again,
and only `throw` ends it.
"""

import asyncio
import functools
import importlib.util
import os
import subprocess
import sys
import threading

import aioxide
import pytest

from tests.support.recipes import ROOT

pytestmark = [
    pytest.mark.by_version(
        sys.version_info[:2] != (3, 14), "it is built for one CPython: what it looks at is the same in all"
    ),
    # Not of the fixture, which builds.
    pytest.mark.timeout(180, func_only=True),
]

CRATE = ROOT / "tests" / "integration" / "rust_coroutine"


@functools.cache
def built():
    """The module, built if it is not, or anything of it is newer."""
    target = ROOT / "target" / "rust_coroutine"
    done = subprocess.run(
        [
            "cargo",
            "build",
            "--quiet",
            "--locked",
            "--manifest-path",
            CRATE / "Cargo.toml",
            "--target-dir",
            target,
        ],
        env={**os.environ, "PYO3_PYTHON": sys.executable, "PYO3_BUILD_EXTENSION_MODULE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    spec = importlib.util.spec_from_file_location("rust_coroutine", target / "debug" / "librust_coroutine.so")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", autouse=True)
def _build():
    built()


@pytest.fixture(params=["aioxide", "asyncio's tasks on our loop", "a subclass", "eager"])
def runner(request):
    def asyncios(loop, coroutine, **options):
        return asyncio.Task(coroutine, loop=loop, **options)

    class Own(aioxide.Task):
        pass

    def subclass(loop, coroutine, **options):
        return Own(coroutine, loop=loop, **options)

    factories = {
        "aioxide": None,
        "asyncio's tasks on our loop": asyncios,
        "a subclass": subclass,
        "eager": asyncio.eager_task_factory,
    }
    with asyncio.Runner(loop_factory=aioxide.new_event_loop) as runner:
        runner.get_loop().set_task_factory(factories[request.param])
        yield runner


async def started(coroutine):
    task = asyncio.ensure_future(coroutine)
    await asyncio.sleep(0.01)
    return task


async def through_python(coroutine):
    return await coroutine


@pytest.mark.parametrize("way", [lambda coroutine: coroutine, through_python], ids=["itself", "awaited"])
class TestEveryWay:
    def test_it_is_cancelled(self, runner, way):
        async def main():
            task = await started(way(built().wait(built().Gate())))
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=5)
            return task in done and task.cancelled()

        assert runner.run(main())

    def test_a_timeout_ends_it(self, runner, way):
        async def main():
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(through_python(way(built().wait(built().Gate()))), 0.01)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await built().wait(built().Gate())

        runner.run(main())

    def test_it_sees_that_it_is_cancelled(self, runner, way):
        async def main():
            task = await started(way(built().wait_or_tell(built().Gate())))
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=5)
            return task in done and task.result()

        assert runner.run(main()) == "cancelled: CancelledError"

    def test_it_is_woken_from_another_thread(self, runner, way):
        async def main():
            gate = built().Gate()
            task = await started(way(built().wait(gate)))
            thread = threading.Thread(target=gate.open)
            thread.start()
            result = await asyncio.wait_for(task, 5)
            thread.join()
            return result, gate.polls()

        assert runner.run(main()) == (2, 2)


def test_the_loop_closes_while_some_wait():
    async def main():
        await started(built().wait(built().Gate()))
        await started(through_python(built().wait(built().Gate())))

    asyncio.run(main(), loop_factory=aioxide.new_event_loop)
