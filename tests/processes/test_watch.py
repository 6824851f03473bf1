"""A pool's workers go on while the loop that serves it has no time: whatever its thread does."""

import asyncio
import time
from pathlib import Path

import aioxide
import pytest

from tests.support import process_tasks as tasks
from tests.support.programs import DEADLINE, wait_until


def sleeps(seconds):
    """A call into a library, without the GIL."""
    time.sleep(seconds)


def computes(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        sum(range(500))


def count(path):
    return len(Path(path).read_text()) if Path(path).exists() else 0


@pytest.mark.parametrize("blocks", [sleeps, computes])
@pytest.mark.parametrize(("workers", "calls", "takes"), [(1, 12, 0.02), (2, 24, 0.02), (2, 300, 0.001)])
def test_all_calls_run_while_the_loop_is_blocked_and_then_it_serves_the_pool_again(
    blocks, workers, calls, takes, tmp_path
):
    path = str(tmp_path / "ran")

    async def main(pool):
        loop = asyncio.get_running_loop()
        await asyncio.gather(*[loop.run_in_executor(pool, tasks.nap, 0.01) for _ in range(2 * workers)])
        futures = [loop.run_in_executor(pool, tasks.note_and_nap, path, takes) for _ in range(calls)]
        await asyncio.sleep(0)
        blocks(0.8)
        ran = count(path)
        assert await asyncio.gather(*futures) == [None] * calls
        # The loop has it again, without a thread between.
        wait = [loop.run_in_executor(pool, tasks.nap, 0.02) for _ in range(2 * workers)]
        await asyncio.sleep(0.01)
        home = pool._pool.home()
        await asyncio.gather(*wait)
        return ran, home is loop

    with aioxide.ProcessPoolExecutor(workers) as pool:
        ran, is_home = aioxide.run(main(pool))
    assert ran == calls and is_home


def test_a_call_behind_a_long_one_goes_to_a_worker_that_is_idle_though_the_loop_is_blocked(tmp_path):
    path = str(tmp_path / "ran")

    async def main(pool):
        loop = asyncio.get_running_loop()
        await asyncio.gather(*[loop.run_in_executor(pool, tasks.square, 1) for _ in range(100)])
        # Many are sent ahead, to both: half of them behind the long one.
        long = loop.run_in_executor(pool, tasks.nap, 1.0)
        short = [loop.run_in_executor(pool, tasks.note_and_nap, path, 0.001) for _ in range(40)]
        await asyncio.sleep(0)
        sleeps(0.6)
        ran = count(path)
        await asyncio.gather(long, *short)
        return ran

    with aioxide.ProcessPoolExecutor(2) as pool:
        assert aioxide.run(main(pool)) == 40


def test_calls_that_a_loop_submits_before_it_runs_are_worked_on(tmp_path):
    path = str(tmp_path / "ran")
    loop = aioxide.new_event_loop()
    with aioxide.ProcessPoolExecutor(1) as pool:
        pool.submit(tasks.square, 1).result(DEADLINE)
        futures = [loop.run_in_executor(pool, tasks.note_and_nap, path, 0.01) for _ in range(20)]
        wait_until(lambda: count(path) == 20)
        assert loop.run_until_complete(asyncio.gather(*futures)) == [None] * 20
        wait_until(lambda: pool._pool.outstanding == 0)
    loop.close()


def test_a_pool_that_its_loop_serves_in_time_stays_with_it():
    async def main(pool):
        loop, homes = asyncio.get_running_loop(), set()
        for _ in range(60):
            futures = [loop.run_in_executor(pool, tasks.square, n) for n in range(100)]
            homes.add(pool._pool.home() is loop)
            await asyncio.gather(*futures)
        return homes

    with aioxide.ProcessPoolExecutor(2) as pool:
        assert True in aioxide.run(main(pool))
