"""What was sent to a worker ahead of time is taken back: by each of the ways in which a program gives calls up."""

import asyncio
import concurrent.futures
import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aioxide
import pytest

from tests.support import process_tasks as tasks
from tests.support.programs import DEADLINE, wait_until

CALLS = 20
# The standard pool runs so many of them: one, and those in its queue.
FEW = 3


def warmed():
    """A pool of one worker that is trusted with many calls ahead, and has none."""
    pool = aioxide.ProcessPoolExecutor(1)
    concurrent.futures.wait([pool.submit(tasks.square, number) for number in range(50)], DEADLINE)
    return pool


def began(path):
    return Path(path).read_text().count("x") if Path(path).exists() else 0


def wait_for_the_first(path):
    wait_until(lambda: began(path) > 0)


def cancel_each(pool, path):
    futures = [pool.submit(tasks.note_and_nap, path, 0.1) for _ in range(CALLS)]
    wait_for_the_first(path)
    cancelled = [future for future in futures if future.cancel()]
    assert len(cancelled) >= CALLS - FEW and all(future.cancelled() for future in cancelled)
    # Whoever waits for one of them is told, by either way of the standard library.
    assert concurrent.futures.wait(cancelled, DEADLINE).not_done == set()
    assert len(list(concurrent.futures.as_completed(cancelled, 0))) == len(cancelled)


def shut_down(pool, path):
    futures = [pool.submit(tasks.note_and_nap, path, 0.1) for _ in range(CALLS)]
    wait_for_the_first(path)
    pool.shutdown(cancel_futures=True)
    assert sum(future.cancelled() for future in futures) >= CALLS - FEW
    assert all(future.done() for future in futures)


def leave_map(pool, path):
    for _ in pool.map(tasks.note_and_nap, [path] * CALLS, [0.1] * CALLS):
        break


def cancel_scheduled(pool, path):
    futures = [pool.schedule(tasks.note_and_nap, (path, 0.1), timeout=DEADLINE) for _ in range(CALLS)]
    wait_for_the_first(path)
    assert sum(future.cancel() for future in futures) >= CALLS - FEW


def fail_a_task_group(pool, path):
    async def main():
        loop = asyncio.get_running_loop()
        await asyncio.gather(*[loop.run_in_executor(pool, tasks.square, number) for number in range(50)])

        async def call():
            await loop.run_in_executor(pool, tasks.note_and_nap, path, 0.1)

        async def fail():
            while not began(path):
                await asyncio.sleep(0.001)
            raise ValueError

        async with asyncio.TaskGroup() as group:
            for _ in range(CALLS):
                group.create_task(call())
            group.create_task(fail())

    with pytest.raises(ExceptionGroup):
        aioxide.run(main())


def leave_map_progress(pool, path):
    async def main():
        steps = pool.map_progress(tasks.note_and_nap_for_a_tenth, [path] * CALLS)
        async for _ in steps:
            break
        await steps.aclose()

    aioxide.run(main())


WAYS = [cancel_each, shut_down, leave_map, cancel_scheduled, fail_a_task_group, leave_map_progress]


@pytest.mark.parametrize("give_up", WAYS)
def test_calls_that_were_sent_ahead_do_not_run_when_they_are_given_up(give_up, tmp_path):
    path = str(tmp_path / "began")
    pool = warmed()
    give_up(pool, path)
    if give_up is not shut_down:
        assert pool.submit(tasks.square, 3).result(DEADLINE) == 9
        wait_until(lambda: pool._pool.outstanding == 0)
        pool.shutdown()
    assert 1 <= began(path) <= FEW
    stats = pool.stats()
    assert stats.cancelled >= CALLS - FEW and stats.queued == stats.running == 0


def test_a_call_that_was_sent_ahead_does_not_run_yet_and_one_that_began_cannot_be_cancelled(tmp_path):
    path = str(tmp_path / "began")
    with warmed() as pool:
        first, second, third = (pool.submit(tasks.note_and_nap, path, 0.2) for _ in range(3))
        assert second._condition is not None  # now it has a lock of its own, as `wait` makes one
        wait_for_the_first(path)
        assert first.running() and not first.cancel()
        assert not second.running() and not third.running()
        assert (second._state, third._state) == ("PENDING", "PENDING")
        wait_until(lambda: began(path) == 2)
        # No result has told of it: the loop of this thread does nothing, and the first call is not read by anybody.
        assert second.running() and not second.cancel() and second._state == "RUNNING"
        wait_until(lambda: began(path) == 3)
        assert not third.cancel() and third.running() and not third.cancelled()
        assert third.result(DEADLINE) is None and second.result(DEADLINE) is None


def test_a_future_with_a_lock_of_its_own_is_cancelled_too(tmp_path):
    path = str(tmp_path / "began")
    told = []
    with warmed() as pool:
        futures = [pool.submit(tasks.note_and_nap, path, 0.2) for _ in range(CALLS)]
        with ThreadPoolExecutor(1) as other:
            waits = other.submit(concurrent.futures.wait, futures[5:], DEADLINE)
            for future in futures:
                future.add_done_callback(lambda future: told.append(future.cancelled()))
            wait_for_the_first(path)
            assert sum(future.cancel() for future in futures[1:]) >= CALLS - FEW
            assert waits.result(5).not_done == set()
    assert sum(told) >= CALLS - FEW and len(told) == CALLS


def test_calls_that_are_given_up_again_and_again_do_not_use_up_a_workers_places(tmp_path):
    """A worker passes over them only when it is done with what it runs: it has 512 places."""
    path = str(tmp_path / "began")
    with warmed() as pool:
        first = pool.submit(tasks.note_and_nap, path, 0.3)
        wait_for_the_first(path)
        for _ in range(1500):
            assert pool.submit(tasks.square, 1).cancel()
        last = [pool.submit(tasks.square, number) for number in range(40)]
        assert first.result(DEADLINE) is None
        assert [call.result(DEADLINE) for call in last] == [number**2 for number in range(40)]


def test_what_waits_behind_calls_that_were_all_given_up_is_sent():
    with warmed() as pool:
        for _ in range(50):
            futures = [pool.submit(tasks.square, number) for number in range(100)]
            for future in futures[:80]:
                future.cancel()
            assert [future.result(DEADLINE) for future in futures[80:]] == [n**2 for n in range(80, 100)]
        wait_until(lambda: pool._pool.outstanding == 0)


def test_many_threads_that_cancel_and_submit_lose_no_call():
    with warmed() as pool, ThreadPoolExecutor(4) as threads:

        def work(seed):
            kept = 0
            for number in range(400):
                future = pool.submit(tasks.square, number)
                if (number + seed) % 3 == 0 and future.cancel():
                    continue
                assert future.result(DEADLINE) == number**2
                kept += 1
            return kept

        assert all(future.result(DEADLINE) for future in [threads.submit(work, seed) for seed in range(4)])
        wait_until(lambda: pool._pool.outstanding == 0)
        stats = pool.stats()
        assert stats.done + stats.cancelled == stats.submitted


@pytest.mark.slow
def test_looks_at_a_pool_may_be_interrupted_by_whatever_the_collector_runs():
    """A callback of the collector runs where objects are made, and comes back to the pool."""
    with warmed() as pool:
        native = pool._pool
        futures = [pool.submit(tasks.nap, 0.1) for _ in range(16)]
        busy = threading.local()

        def comes_back(phase, _info):
            if phase == "start" and not getattr(busy, "now", False):
                busy.now = True
                native.withdraw(futures[0])
                native.find(futures[-1])
                if len(futures) > 3:
                    futures.pop().cancel()
                busy.now = False

        before = gc.get_threshold()
        gc.callbacks.append(comes_back)
        try:
            gc.set_threshold(1)
            for future in list(futures):
                found = native.find(future)
                assert found is None or len(found) == 3
            native.workers(), native.counts()
        finally:
            gc.set_threshold(*before)
            gc.callbacks.remove(comes_back)
        concurrent.futures.wait(futures, DEADLINE)


def test_a_forked_child_takes_nothing_back_from_its_parent(tmp_path):
    path = str(tmp_path / "began")
    program = f"""
import os, warnings, aioxide
from tests.support import process_tasks as tasks
if __name__ == "__main__":
    with aioxide.ProcessPoolExecutor(1) as pool:
        for _ in range(50):
            pool.submit(tasks.square, 1).result()
        futures = [pool.submit(tasks.note_and_nap, {path!r}, 0.05) for _ in range(5)]
        warnings.simplefilter("ignore")  # of the thread that serves the pool
        child = os.fork()
        if not child:
            for future in futures:
                future.cancel()
            os._exit(0)
        os.waitpid(child, 0)
        print([future.result(30) for future in futures])
"""
    assert tasks.run_program(program, tmp_path).strip() == str([None] * 5)
    assert began(path) == 5


def test_a_call_is_cancelled_as_fast_among_many(tmp_path):
    gate = tmp_path / "open"

    def cost(pool, count):
        """CPU time to cancel so many calls that wait."""
        futures = [pool.submit(tasks.square, 1) for _ in range(count)]
        start = time.process_time()
        assert sum(future.cancel() for future in futures) >= count - 10
        return time.process_time() - start

    with warmed() as pool:
        pool.submit(tasks.nap_until, str(gate))
        few, many = cost(pool, 1_000), cost(pool, 16_000)
        gate.touch()
    # Of sixteen times as many calls. A search through all that wait would make it 256 times as much.
    assert many < 100 * few
