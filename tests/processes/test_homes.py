"""Who serves a process pool when its loop stops, closes, or was not there at all; and that its timers go on then."""

import asyncio
import multiprocessing
import threading
from pathlib import Path

import aioxide
import pytest

from tests.support import process_tasks as tasks
from tests.support.programs import DEADLINE, wait_until

SPAWN = multiprocessing.get_context("spawn")


def started(path):
    return Path(f"{path}.started").exists()


def pids_of(pool):
    return {worker.pid for worker in pool.workers()}


def close_at_once(path, pool):
    """A loop that starts a call which listens to nothing, cancels it, and is gone."""

    async def main():
        call = asyncio.get_running_loop().run_in_executor(pool, tasks.run_on, path)
        while not started(path):
            await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    aioxide.run(main())


def test_a_cancelled_call_is_killed_though_its_loop_has_closed(tmp_path):
    """The grace period ends when nobody waits for anything."""
    with aioxide.ProcessPoolExecutor(1, SPAWN, cancel_running=True) as pool:
        close_at_once(str(tmp_path / "deaf"), pool)
        [pid] = pids_of(pool)
        # Not by a look at the pool: that would not serve it either, but let the process say it.
        wait_until(lambda: not Path(f"/proc/{pid}/cwd").exists())
        assert pool.submit(tasks.square, 3).result(DEADLINE) == 9


def test_a_cancelled_call_is_killed_though_the_pool_is_shut_down(tmp_path):
    pool = aioxide.ProcessPoolExecutor(1, SPAWN, cancel_running=True)
    close_at_once(str(tmp_path / "deaf"), pool)
    pool.shutdown()
    assert pids_of(pool) == set()


def test_a_timer_that_raises_takes_no_other_with_it(monkeypatch):
    told = []
    monkeypatch.setattr("sys.unraisablehook", lambda hint: told.append(repr(hint.exc_value)))
    with aioxide.ProcessPoolExecutor(1) as pool:
        assert pool.submit(tasks.square, 3).result(DEADLINE) == 9
        ran = []
        pool._manager.call_later(0.05, lambda: 1 / 0)
        pool._manager.call_later(0.06, lambda: ran.append(1))
        wait_until(lambda: ran)
    assert len(told) == 1 and "ZeroDivisionError" in told[0]


def test_a_loop_that_stops_with_a_call_under_way_and_runs_again():
    """Its future is done by then, or later: nothing is lost."""
    loop = aioxide.new_event_loop()
    with aioxide.ProcessPoolExecutor(1) as pool:

        async def start(seconds, value):
            return asyncio.get_running_loop().run_in_executor(pool, tasks.nap, seconds, value)

        async def collect(future):
            return await future

        try:
            early = loop.run_until_complete(start(0.01, "early"))
            wait_until(lambda: pool.stats().done == 1)
            late = loop.run_until_complete(start(0.3, "late"))
            assert loop.run_until_complete(collect(early)) == "early"
            assert loop.run_until_complete(collect(late)) == "late"
        finally:
            loop.close()


def test_calls_of_a_closed_loop_all_run_and_the_pool_outlives_many_loops(tmp_path):
    with aioxide.ProcessPoolExecutor(2) as pool:
        for turn in range(5):
            path = tmp_path / f"ran {turn}"
            before = pool.stats().done

            async def main(path=path):
                loop = asyncio.get_running_loop()
                for _ in range(20):
                    loop.run_in_executor(pool, tasks.append, str(path), "x")
                return await loop.run_in_executor(pool, tasks.square, 5)

            assert aioxide.run(main()) == 25
            # asyncio.run cancels what is left; what had been handed to a worker runs to its end.
            assert pool.submit(tasks.square, turn).result(DEADLINE) == turn * turn
            wait_until(lambda: pool.stats().queued == pool.stats().running == 0)
            # Two of them were no appends.
            assert len(path.read_text()) == pool.stats().done - before - 2
            assert path.read_text()
        assert pool._pool.outstanding == 0


def test_two_loops_of_which_one_closes_with_calls_under_way():
    with aioxide.ProcessPoolExecutor(2) as pool:
        closed = threading.Event()
        results = []

        async def short():
            loop = asyncio.get_running_loop()
            for _ in range(10):
                loop.run_in_executor(pool, tasks.nap, 0.02, "nobody's")
            await asyncio.sleep(0)

        async def long():
            loop = asyncio.get_running_loop()
            while not closed.is_set():
                results.append(await loop.run_in_executor(pool, tasks.nap, 0.01, "mine"))
            results.append(await loop.run_in_executor(pool, tasks.nap, 0.01, "mine"))

        thread = threading.Thread(target=lambda: aioxide.run(long()))
        thread.start()
        wait_until(lambda: results)
        for _ in range(5):
            aioxide.run(short())
        closed.set()
        thread.join(DEADLINE)
        assert not thread.is_alive() and set(results) == {"mine"}


def test_a_pool_with_two_loops_is_served_by_its_thread_and_by_one_loop_again_later():
    with aioxide.ProcessPoolExecutor(1) as pool:
        homes = []

        async def main():
            loop = asyncio.get_running_loop()
            call = loop.run_in_executor(pool, tasks.nap, 0.2)
            homes.append(pool._pool.home() is loop)
            await asyncio.to_thread(lambda: pool.submit(tasks.square, 3).result(DEADLINE))
            homes.append(pool._pool.home())
            await call
            await loop.run_in_executor(pool, tasks.square, 2)
            homes.append(pool._pool.home() is loop)

        aioxide.run(main())
        assert homes == [True, "reactor", True]
        assert pool._pool.home() is None


def test_a_foreign_loop_uses_the_pool():
    async def main(pool):
        loop = asyncio.get_running_loop()
        assert isinstance(loop, asyncio.SelectorEventLoop) and not isinstance(loop, aioxide.EventLoop)
        return await asyncio.gather(*(loop.run_in_executor(pool, tasks.square, n) for n in range(50)))

    with aioxide.ProcessPoolExecutor(2) as pool:
        assert asyncio.run(main(pool)) == [n * n for n in range(50)]
