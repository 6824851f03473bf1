"""Calls of a loop in threads: `run_in_executor`, `to_thread`, the default executor."""

import asyncio
import concurrent.futures
import contextvars
import functools
import gc
import logging
import threading
import time
import weakref

import aioxide
import pytest
from aioxide import PoolFuture as Future

from tests.support.programs import DEADLINE, output_of, wait_until

FACTORIES = {"asyncio": asyncio.SelectorEventLoop, "aioxide": aioxide.new_event_loop}


def run(main, factory=aioxide.new_event_loop):
    loop = factory()
    try:
        return loop.run_until_complete(asyncio.wait_for(main, DEADLINE))
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def in_executor(function, *args, executor=None):
    return asyncio.get_running_loop().run_in_executor(executor, function, *args)


def test_the_default_executor_is_ours_and_named_as_asyncios():
    async def main():
        name = await asyncio.to_thread(lambda: threading.current_thread().name)
        executor = asyncio.get_running_loop()._default_executor
        return name, type(executor), executor._max_workers

    name, kind, count = run(main())
    other, _, same = run(main(), FACTORIES["asyncio"])
    assert name == other == "asyncio_0"
    assert kind is aioxide.ThreadPoolExecutor
    assert count == same


def test_importing_aioxide_starts_nothing():
    program = """
import sys, threading, aioxide
print(threading.active_count(), *sorted({"multiprocessing", "concurrent.futures.thread"} & sys.modules.keys()))
"""
    assert output_of(program) == ["1"]


@pytest.mark.parametrize("name", FACTORIES)
def test_results_and_exceptions_come_back(name):
    async def main():
        assert await in_executor(pow, 2, 5) == 32
        assert await in_executor(int) == 0
        with pytest.raises(ZeroDivisionError):
            await in_executor(lambda: 1 / 0)
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(func=int, executor=None) == 0
        return await asyncio.gather(*[in_executor(pow, 2, i) for i in range(100)])

    assert run(main(), FACTORIES[name]) == [2**i for i in range(100)]


@pytest.mark.parametrize(
    "raised",
    [concurrent.futures.CancelledError, concurrent.futures.InvalidStateError, StopIteration, TimeoutError],
)
def test_exceptions_arrive_as_asyncios(raised):
    def fail():
        raise raised("why")

    async def main():
        try:
            await in_executor(fail)
        except BaseException as error:
            return type(error), str(error)

    ours = run(main())
    if raised is StopIteration:  # asyncio's own loop waits for ever on versions that refuse one
        assert ours[0] in (RuntimeError, TypeError)
        assert "StopIteration interacts badly" in ours[1]
    else:
        assert ours == run(main(), FACTORIES["asyncio"])


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_what_leaves_a_loop_leaves_it(kind):
    def leave():
        raise kind("out")

    async def main():
        await in_executor(leave)

    loop = aioxide.new_event_loop()
    with pytest.raises(kind, match="out"):
        loop.run_until_complete(main())
    loop.close()


MISUSES = [
    ((), {}),
    ((None,), {}),
    ((None, int), {"func": int}),
    ((None, int), {"other": 1}),
    ((), {"executor": None}),
    (("no executor", int), {}),
]


@pytest.mark.parametrize(("args", "options"), MISUSES, ids=str)
def test_misuse_has_asyncios_errors(args, options):
    async def main():
        with pytest.raises((TypeError, AttributeError)) as caught:
            asyncio.get_running_loop().run_in_executor(*args, **options)
        return caught.type, str(caught.value)

    assert run(main()) == run(main(), FACTORIES["asyncio"])


def test_a_closed_loop_takes_no_calls():
    loop = aioxide.new_event_loop()
    loop.close()
    for executor in (None, aioxide.ThreadPoolExecutor(1)):
        with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
            loop.run_in_executor(executor, int)


@pytest.mark.parametrize("name", FACTORIES)
def test_no_calls_after_the_default_executor_was_shut_down(name):
    async def main():
        loop = asyncio.get_running_loop()
        await loop.shutdown_default_executor()
        with pytest.raises(RuntimeError, match=r"^Executor shutdown has been called$"):
            loop.run_in_executor(None, int)
        with aioxide.ThreadPoolExecutor(1) as pool:
            assert await in_executor(int, executor=pool) == 0

    run(main(), FACTORIES[name])


@pytest.mark.parametrize("name", FACTORIES)
def test_debug_mode_refuses_coroutines(name):
    async def coroutine():
        pass

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        with pytest.raises(TypeError, match="coroutines cannot be used with run_in_executor"):
            loop.run_in_executor(None, coroutine)
        with pytest.raises(TypeError, match="a callable object was expected by run_in_executor"):
            loop.run_in_executor(None, 7)
        assert await in_executor(int) == 0

    run(main(), FACTORIES[name])


@pytest.mark.parametrize("kind", [concurrent.futures.ThreadPoolExecutor, aioxide.ThreadPoolExecutor])
def test_set_default_executor_takes_both_pools(kind):
    async def main():
        loop = asyncio.get_running_loop()
        pool = kind(1)
        loop.set_default_executor(pool)
        assert await asyncio.to_thread(int) == 0
        assert loop._default_executor is pool
        with pytest.raises(TypeError, match="executor must be ThreadPoolExecutor instance"):
            loop.set_default_executor(object())

    run(main())


def test_contexts_are_copied_by_to_thread_only():
    variable = contextvars.ContextVar("variable", default="default")

    async def main():
        variable.set("set")
        return await asyncio.to_thread(variable.get), await in_executor(variable.get)

    assert run(main()) == run(main(), FACTORIES["asyncio"])


# --------------------------------------------------------------------------------------------------- cancellation


def test_a_cancelled_call_that_waits_never_runs():
    async def main():
        release, ran = threading.Event(), []
        with aioxide.ThreadPoolExecutor(1) as pool:
            runs = in_executor(release.wait, DEADLINE, executor=pool)
            waits = in_executor(ran.append, 1, executor=pool)
            assert waits.cancel()
            release.set()
            assert await runs
            with pytest.raises(asyncio.CancelledError):
                await waits
            assert await in_executor(int, executor=pool) == 0
            assert (ran, pool.stats().cancelled) == ([], 1)

    run(main())


def test_a_cancelled_call_that_runs_goes_on_and_its_result_is_dropped():
    async def main():
        started, release, ended = threading.Event(), threading.Event(), threading.Event()

        def call():
            started.set()
            release.wait(DEADLINE)
            ended.set()

        future = in_executor(call)
        while not started.is_set():
            await asyncio.sleep(0)
        assert future.cancel()
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await future
        while not ended.is_set():
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)

    run(main())


def test_shutdown_cancels_the_futures_of_loops():
    async def main():
        release = threading.Event()
        pool = aioxide.ThreadPoolExecutor(1)
        runs = in_executor(release.wait, DEADLINE, executor=pool)
        waits = [in_executor(int, executor=pool) for _ in range(3)]
        pool.shutdown(wait=False, cancel_futures=True)
        results = await asyncio.gather(*waits, return_exceptions=True)
        assert [type(result) for result in results] == [asyncio.CancelledError] * 3
        release.set()
        assert await runs

    run(main())


def test_a_broken_pool_fails_the_futures_of_loops(caplog):
    async def main():
        pool = aioxide.ThreadPoolExecutor(1, initializer=lambda: 1 / 0)
        with pytest.raises(concurrent.futures.thread.BrokenThreadPool):
            await in_executor(int, executor=pool)
        with pytest.raises(concurrent.futures.thread.BrokenThreadPool):
            in_executor(int, executor=pool)

    with caplog.at_level(logging.CRITICAL, "concurrent.futures"):
        run(main())


# ------------------------------------------------------------------------------------------- loops that come and go


def test_a_loop_may_close_before_its_calls_end(caplog):
    pool = aioxide.ThreadPoolExecutor(2)
    release = threading.Event()
    loop = aioxide.new_event_loop()

    async def begin():
        in_executor(release.wait, DEADLINE, executor=pool)
        in_executor(lambda: release.wait(DEADLINE) and 1 / 0, executor=pool)
        in_executor(lambda: release.wait(DEADLINE), executor=pool)

    with caplog.at_level(logging.DEBUG):
        loop.run_until_complete(begin())
        loop.close()
        gone = weakref.ref(loop)
        del loop
        release.set()
        pool.shutdown()
        gc.collect()
    assert gone() is None
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


def test_a_loop_that_runs_later_finds_what_has_ended_meanwhile():
    with aioxide.ThreadPoolExecutor(1) as pool:
        loop = aioxide.new_event_loop()
        future = loop.run_in_executor(pool, pow, 2, 3)
        wait_until(lambda: pool.stats().done == 1)
        assert not future.done()  # a future changes in its loop's thread only
        assert loop.run_until_complete(future) == 8
        loop.close()


def test_two_loops_share_a_pool():
    results = []
    with aioxide.ThreadPoolExecutor(3) as pool:

        async def main(start):
            results.extend([await in_executor(int, start + i, executor=pool) for i in range(200)])

        threads = [threading.Thread(target=run, args=(main(1000 * n),)) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
    assert sorted(results) == sorted(1000 * n + i for n in range(3) for i in range(200))


def test_calls_from_another_thread():
    # `run_in_executor` is not thread-safe in asyncio's contract, but works there, and is used.
    async def main():
        loop = asyncio.get_running_loop()

        def nested():
            return asyncio.run_coroutine_threadsafe(asyncio.to_thread(pow, 2, 4), loop).result(DEADLINE)

        return await asyncio.to_thread(nested)

    assert run(main()) == 16


@pytest.mark.parametrize("spin", [0, 0.00005])
def test_a_sleeping_loop_hears_of_a_call_before_the_next_one_begins(spin):
    """A worker wakes the loop when it lets go of the GIL: that must not be only when it has nothing left to do."""
    gate = threading.Event()

    async def main():
        with aioxide.ThreadPoolExecutor(1, spin=spin) as pool:
            first = in_executor(time.sleep, 0.1, executor=pool)
            second = in_executor(gate.wait, DEADLINE, executor=pool)
            await asyncio.wait_for(first, DEADLINE / 4)
            assert not second.done()
            gate.set()
            assert await second

    run(main())


def test_io_and_timers_go_on_while_calls_are_awaited_one_by_one():
    # A loop that spins for its calls looks at descriptors and clocks all the same.
    async def main():
        ticks = []

        async def tick():
            while True:
                await asyncio.sleep(0.002)
                ticks.append(time.monotonic())

        async def answer(reader, writer):
            while data := await reader.read(10):
                writer.write(data)
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        echoes = []

        async def talk():
            while True:
                writer.write(b"x")
                echoes.append(await reader.read(1))

        tasks = [asyncio.ensure_future(tick()), asyncio.ensure_future(talk())]
        deadline = time.monotonic() + DEADLINE / 2
        while (len(ticks) < 20 or len(echoes) < 20) and time.monotonic() < deadline:
            await in_executor(int)
        for task in tasks:
            task.cancel()
        writer.close()
        server.close()
        return len(ticks) >= 20 and len(echoes) >= 20

    assert run(main())


# ------------------------------------------------------------------------------------------------ what users replace


def counting(calls, method):
    @functools.wraps(method)
    def wrapper(*args, **options):
        calls.append(1)
        return method(*args, **options)

    return wrapper


def test_a_submit_of_the_users_is_called(monkeypatch):
    calls = []

    class Own(aioxide.ThreadPoolExecutor):
        submit = counting(calls, aioxide.ThreadPoolExecutor.submit)

    async def main(pool):
        return await in_executor(pow, 2, 3, executor=pool)

    with Own(1) as pool:
        assert run(main(pool)) == 8
    assert len(calls) == 1
    with aioxide.ThreadPoolExecutor(1) as pool:
        assert run(main(pool)) == 8
        pool.submit = counting(calls, pool.submit)
        assert run(main(pool)) == 8
    assert len(calls) == 2
    with aioxide.ThreadPoolExecutor(1) as pool:
        assert run(main(pool)) == 8
        # As tracers do.
        monkeypatch.setattr(
            aioxide.ThreadPoolExecutor, "submit", counting(calls, aioxide.ThreadPoolExecutor.submit)
        )
        assert run(main(pool)) == 8
    assert len(calls) == 3


def test_a_plain_subclass_takes_the_direct_way(monkeypatch):
    class Own(aioxide.ThreadPoolExecutor):
        pass

    async def main(pool):
        return await in_executor(pow, 2, 3, executor=pool)

    with Own(1) as pool:
        monkeypatch.setattr(Future, "__init__", None)  # would fail if one were made
        assert run(main(pool)) == 8
        assert pool.stats().submitted == 1


def test_methods_of_the_loop_that_users_replace_are_called():
    calls = []

    class Own(aioxide.EventLoop):
        create_future = counting(calls, aioxide.EventLoop.create_future)

    async def main():
        calls.clear()
        await in_executor(int)
        return len(calls)

    assert run(main(), Own) >= 1

    class Told(aioxide.EventLoop):
        call_soon_threadsafe = counting(calls, aioxide.EventLoop.call_soon_threadsafe)

    async def slow():
        calls.clear()
        await in_executor(time.sleep, 0.05)
        return len(calls)

    assert run(slow(), Told) == 1

    class Redirected(aioxide.EventLoop):
        def run_in_executor(self, executor, func, *args):
            calls.append(1)
            return super().run_in_executor(executor, func, *args)

    async def through_to_thread():
        calls.clear()
        await asyncio.to_thread(int)
        return len(calls)

    assert run(through_to_thread(), Redirected) == 1


def test_any_other_executor_works():
    class Inline(concurrent.futures.Executor):
        def submit(self, fn, /, *args, **kwargs):
            future = concurrent.futures.Future()
            future.set_result(fn(*args, **kwargs))
            return future

    async def main():
        return await in_executor(pow, 2, 3, executor=Inline())

    assert run(main()) == 8


def test_our_pool_serves_asyncios_loop():
    async def main():
        with aioxide.ThreadPoolExecutor(1) as pool:
            return await in_executor(pow, 2, 3, executor=pool)

    assert run(main(), FACTORIES["asyncio"]) == 8


def test_a_class_in_the_standard_name_makes_the_default_executor(monkeypatch):
    class Theirs(concurrent.futures.ThreadPoolExecutor):
        pass

    monkeypatch.setattr(concurrent.futures, "ThreadPoolExecutor", Theirs)

    async def main():
        await asyncio.to_thread(int)
        return type(asyncio.get_running_loop()._default_executor)

    assert run(main()) is Theirs


def test_namespace_and_back():
    program = """
import asyncio, concurrent.futures, sys
import aioxide

standard = concurrent.futures.ThreadPoolExecutor
made_before = standard(1)
aioxide.install(namespace=True)
assert concurrent.futures.ThreadPoolExecutor is aioxide.ThreadPoolExecutor
assert concurrent.futures.thread.ThreadPoolExecutor is aioxide.ThreadPoolExecutor
assert isinstance(made_before, concurrent.futures.ThreadPoolExecutor)

async def main():
    loop = asyncio.get_running_loop()
    loop.set_default_executor(made_before)
    await asyncio.to_thread(int)
    if sys.version_info >= (3, 14):
        pool = concurrent.futures.InterpreterPoolExecutor(1)
        assert standard in type(pool).__mro__ and aioxide.ThreadPoolExecutor not in type(pool).__mro__
        assert await loop.run_in_executor(pool, pow, 2, 3) == 8
        assert isinstance(pool, concurrent.futures.ThreadPoolExecutor)
        pool.shutdown()

asyncio.run(main())
aioxide.uninstall()
assert concurrent.futures.ThreadPoolExecutor is standard
assert concurrent.futures.thread.ThreadPoolExecutor is standard
print("done")
"""
    assert output_of(program) == ["done"]
