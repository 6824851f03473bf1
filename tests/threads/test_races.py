"""Many threads at once: no call is lost, none runs twice, none is forgotten."""

import asyncio
import concurrent.futures
import random
import sys
import threading
import time

import aioxide
import pytest
from aioxide import PoolFuture as Future

from tests.support.programs import DEADLINE, wait_until


@pytest.fixture(autouse=True)
def switching():
    """Threads change hands as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(count, function):
    """Run `function(i)` in so many threads, and raise what one of them raises."""
    barrier, errors = threading.Barrier(count), []

    def run(i):
        try:
            barrier.wait(DEADLINE)
            function(i)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
        assert not thread.is_alive(), "a thread hangs"
    for error in errors:
        raise error


@pytest.mark.parametrize("options", [{}, {"max_pending": 3}, {"idle_timeout": 0.0001}, {"spin": 0}], ids=str)
def test_many_threads_submit(options):
    with aioxide.ThreadPoolExecutor(3, **options) as pool:

        def submit(i):
            calls = [pool.submit(pow, j, 2) for j in range(200)]
            assert [call.result(DEADLINE) for call in calls] == [j * j for j in range(200)]

        together(6, submit)
        stats = pool.stats()
    assert (stats.submitted, stats.done) == (1200, 1200)


def test_cancel_against_start():
    ran = []
    with aioxide.ThreadPoolExecutor(2) as pool:

        def submit(i):
            dice = random.Random(i)
            for j in range(300):
                call = pool.submit(ran.append, (i, j))
                if dice.random() < 0.5:
                    time.sleep(0)
                cancelled = call.cancel()
                _done, _ = concurrent.futures.wait([call], DEADLINE) if dice.random() < 0.2 else ((), ())
                try:
                    assert call.result(DEADLINE) is None
                    assert not cancelled
                except concurrent.futures.CancelledError:
                    assert cancelled
                assert ((i, j) in ran) is not cancelled

        together(4, submit)
        stats = pool.stats()
    assert stats.submitted == 1200
    pool.shutdown()
    stats = pool.stats()
    assert stats.done + stats.cancelled == 1200
    assert stats.done == len(ran) == len(set(ran))


def test_cancel_against_cancel_and_callbacks():
    for _ in range(200):
        future, called = Future(), []
        outcomes = []

        def act(i, future=future, called=called, outcomes=outcomes):
            future.add_done_callback(lambda done: called.append(i))
            if i == 0:
                outcomes.append(("cancel", future.cancel()))
            elif i == 1:
                try:
                    outcomes.append(("run", future.set_running_or_notify_cancel()))
                    if outcomes[-1][1]:
                        future.set_result(1)
                except RuntimeError:
                    outcomes.append(("refused", True))
            elif i == 2:
                concurrent.futures.wait([future], DEADLINE)
            else:
                try:
                    future.result(DEADLINE)
                except concurrent.futures.CancelledError:
                    pass

        together(4, act)
        assert sorted(called) == [0, 1, 2, 3]
        assert future.done()
        assert dict(outcomes)["cancel"] is not dict(outcomes)["run"] or future.cancelled()


def test_as_completed_against_completion():
    with aioxide.ThreadPoolExecutor(3) as pool:

        def collect(i):
            for _ in range(20):
                calls = {pool.submit(int) for _ in range(20)}
                assert set(concurrent.futures.as_completed(calls, DEADLINE)) == calls

        together(3, collect)


def test_loops_submit_and_cancel():
    with aioxide.ThreadPoolExecutor(3) as pool:

        async def main(i):
            dice = random.Random(i)
            loop = asyncio.get_running_loop()
            for _ in range(30):
                calls = [loop.run_in_executor(pool, pow, j, 2) for j in range(20)]
                cancelled = {call for call in calls if dice.random() < 0.3 and call.cancel()}
                results = await asyncio.gather(*calls, return_exceptions=True)
                for j, (call, result) in enumerate(zip(calls, results, strict=True)):
                    assert (
                        isinstance(result, asyncio.CancelledError) if call in cancelled else result == j * j
                    )

        together(3, lambda i: aioxide.run(asyncio.wait_for(main(i), DEADLINE)))
        stats = pool.stats()
    assert stats.submitted == 1800


def test_loops_close_with_calls_in_flight():
    with aioxide.ThreadPoolExecutor(3) as pool:

        def come_and_go(i):
            for _ in range(30):
                loop = aioxide.new_event_loop()
                call = loop.run_in_executor(pool, time.sleep, 0.0001)
                loop.run_until_complete(asyncio.sleep(0))
                if i % 2:
                    call.cancel()
                loop.close()

        together(4, come_and_go)
        wait_until(lambda: (stats := pool.stats()).done + stats.cancelled == 120)
        stats = pool.stats()
    assert (stats.submitted, stats.failed, stats.queued) == (120, 0, 0)
    assert stats.cancelled <= 60


def test_shutdown_against_submit():
    for _ in range(30):
        pool = aioxide.ThreadPoolExecutor(2)
        calls, refused = [], []

        def submit(i, pool=pool, calls=calls, refused=refused):
            if i == 0:
                time.sleep(0.001)
                pool.shutdown(wait=False, cancel_futures=random.random() < 0.5)
                return
            try:
                for _ in range(1000):
                    calls.append(pool.submit(int))
            except RuntimeError as error:
                refused.append(str(error))

        together(3, submit)
        assert set(refused) <= {"cannot schedule new futures after shutdown"}
        _done, pending = concurrent.futures.wait(calls, DEADLINE)
        assert not pending
        pool.shutdown()


def test_the_last_reference_goes_while_calls_run():
    for _ in range(50):
        pool = aioxide.ThreadPoolExecutor(2)
        calls = [pool.submit(pow, i, 2) for i in range(20)]
        threads = list(pool._threads)
        del pool
        assert [call.result(DEADLINE) for call in calls] == [i * i for i in range(20)]
        for thread in threads:
            thread.join(DEADLINE)
            assert not thread.is_alive()
