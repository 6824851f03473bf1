"""Calls in threads and in processes: what `submit` returns is awaited, and is a future of `concurrent.futures` too."""

import concurrent.futures
from collections.abc import Awaitable
from typing import Any, TypeVar, assert_type

import aioxide
from aioxide import (
    AwaitableFuture,
    Histogram,
    PoolFuture,
    ProcessPoolStats,
    TaskCancelled,
    ThreadPoolStats,
    TransferError,
    WorkerDied,
    WorkerInfo,
)

T = TypeVar("T")
Pool = aioxide.ThreadPoolExecutor | aioxide.ProcessPoolExecutor


def times(number: int, by: int = 2) -> int:
    return number * by


async def awaited(future: Awaitable[T]) -> T:
    return await future


def on_done(future: PoolFuture[int]) -> None:
    assert future.result() == 6


async def in_threads(pool: aioxide.ThreadPoolExecutor) -> None:
    assert_type(await pool.submit(times, 3), int)
    pool.submit(times, 3).add_done_callback(on_done)
    future: PoolFuture[int] = pool.submit(times, 3, by=9)
    standard: concurrent.futures.Future[int] = future
    assert standard.result() == await future == 27
    assert_type(pool.stats(), ThreadPoolStats)
    wait: Histogram = pool.stats().wait
    assert wait.quantile(0.5) <= wait.largest
    assert list(pool.map(times, [1, 2], timeout=60, buffersize=1)) == [2, 4]


async def in_processes(pool: aioxide.ProcessPoolExecutor) -> None:
    assert_type(await pool.submit(times, 3), int)
    future: PoolFuture[int] = pool.schedule(times, (2,), {"by": 5}, timeout=60, retries=1)
    assert_type(await aioxide.wait_for(future, 60), int)
    assert_type(pool.stats(), ProcessPoolStats)
    workers: list[WorkerInfo] = pool.workers()
    assert workers[0].pid > 0
    async for done, total, result in pool.map_progress(times, range(3)):
        assert_type((done, total, result), tuple[int, int, int])
    assert len(await pool.submit(bytes, pool.share(b"12"))) == 2
    assert list(pool.map(times, [1, 2], chunksize=2)) == [2, 4]


class Named(aioxide.ThreadPoolExecutor):
    """Hands on what it does not know."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(**options)
        self.name = name


def chosen(ours: bool) -> concurrent.futures.ThreadPoolExecutor:
    """One of two classes: what both are."""
    kind = aioxide.ThreadPoolExecutor if ours else concurrent.futures.ThreadPoolExecutor
    return kind(max_workers=1)


async def in_each(pool: Pool) -> None:
    future: AwaitableFuture[int] = pool.submit(times, 2)
    assert_type(await future, int)
    assert_type(await aioxide.gather(pool.submit(times, 2), pool.submit(str, 2)), tuple[int, str])
    assert await awaited(pool.submit(times, 2)) == await aioxide.wrap_future(pool.submit(times, 2)) == 4
    of_loop: aioxide.Future[int] = aioxide.get_running_loop().run_in_executor(pool, times, 2)
    assert await of_loop == 4


async def main() -> None:
    with aioxide.ThreadPoolExecutor(1, idle_timeout=1.5, max_pending=8, spin=0) as threads:
        await in_threads(threads)
        await in_each(threads)
    with Named("mine", max_workers=1, spin=0) as threads, chosen(False) as standard:
        await in_each(threads)
        assert standard.submit(times, 3).result() == 6
    with aioxide.ProcessPoolExecutor(1, on_worker_death="respawn", cancel_running=True) as processes:
        await in_processes(processes)
        await in_each(processes)
        try:
            await processes.submit(times, 2)
        except WorkerDied as died:
            print(died.pid, died.exitcode)
        except (TransferError, TaskCancelled) as error:
            print(error)


if __name__ == "__main__":
    aioxide.run(main())
