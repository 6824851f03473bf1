"""Pools of threads and processes: a call there and back, many at once, much data, the start.

A case runs on the pool that goes with the loop: the standard library's, loky's, or ours. Where a case says so,
no loop is involved. Every result is looked at, and counted only if it is right.
"""

import importlib.util
import os
import time
from statistics import median

from ..executor_tasks import nap, work
from ..machine import CLIENT_CORE, SERVER_CORE, resident_bytes
from ..processes import on_server_core
from ..registry import Group
from ..series import Series

GROUP = Group("executors")
THREADS, PROCESSES = "ThreadPoolExecutor", "ProcessPoolExecutor"
WORKERS = 2
AT_ONCE = Series("at once", (1, 10, 100))


async def calls_to_threads(aio, n, size):
    """`size` tasks, each with one call under way."""

    async def work(count):
        done = 0
        for i in range(count):
            done += await aio.to_thread(abs, -i) == i
        return done

    if size == 1:
        return await work(n)
    return sum(await aio.gather(*[work(n // size) for _ in range(size)]))


@GROUP.pooled("to_thread", AT_ONCE, pool=None, n=10_000, operation="call")
def to_thread(aio, loop, pools, n, size):
    return loop.run_until_complete(calls_to_threads(aio, n, size))


@GROUP.pooled(
    "to_thread without spinning",
    AT_ONCE,
    pool=None,
    n=5_000,
    operation="call",
    environment={"AIOXIDE_SPIN": "0"},
)
def to_thread_no_spin(aio, loop, pools, n, size):
    return loop.run_until_complete(calls_to_threads(aio, n, size))


@GROUP.pooled("to_thread on one core", AT_ONCE, pool=None, n=10_000, operation="call", place=on_server_core)
def to_thread_one_core(aio, loop, pools, n, size):
    """Nobody spins here: there is no other core for whoever is waited for."""
    return loop.run_until_complete(calls_to_threads(aio, n, size))


async def gather(aio, loop, pool, n, size):
    done = 0
    while done < n:
        numbers = range(size)
        results = await aio.gather(*[loop.run_in_executor(pool, abs, -i) for i in numbers])
        if results != list(numbers):
            raise RuntimeError("wrong results")
        done += len(results)
    return done


@GROUP.pooled(
    "thread pool, gathered",
    Series("at a time", (100, 1_000, 10_000)),
    pool=THREADS,
    n=20_000,
    operation="call",
)
def thread_gather(aio, loop, pools, n, size):
    return loop.run_until_complete(gather(aio, loop, pools.one(), n, size))


@GROUP.pooled("thread pool, submit and result", AT_ONCE, pool=THREADS, n=10_000, operation="call")
def thread_submit(aio, loop, pools, n, size):
    """Without a loop."""
    pool, done = pools.one(), 0
    for begin in range(0, n, size):
        futures = [pool.submit(abs, -i) for i in range(begin, begin + size)]
        done += sum(future.result() == i for i, future in enumerate(futures, begin))
    return done


@GROUP.pooled(
    "process pool, one at a time, argument",
    Series(None, (100, 10_000, 1_000_000)),
    pool=PROCESSES,
    n=1_000,
    operation="call",
    whole=False,
)
def process_call(aio, loop, pools, n, size):
    pool, argument = pools.one(WORKERS), bytes(size)

    async def main():
        done = 0
        for _ in range(n):
            done += await loop.run_in_executor(pool, len, argument) == size
        return done

    return loop.run_until_complete(main())


@GROUP.pooled(
    "process pool, gathered",
    Series("at a time", (50, 500, 5_000)),
    pool=PROCESSES,
    n=5_000,
    operation="call",
)
def process_gather(aio, loop, pools, n, size):
    return loop.run_until_complete(gather(aio, loop, pools.one(WORKERS), n, size))


@GROUP.pooled(
    "process pool, map", Series("items", (100, 1_000, 10_000)), pool=PROCESSES, n=5_000, operation="item"
)
def process_map(aio, loop, pools, n, size):
    """With a chunksize of 1, the default, and without a loop."""
    pool, done = pools.one(WORKERS), 0
    while done < n:
        done += sum(i == result for i, result in enumerate(pool.map(abs, range(0, -size, -1))))
    return done


def without_numpy():
    return None if importlib.util.find_spec("numpy") else "numpy is not installed"


async def squared(loop, pool, array):
    """A call with `array` there and its square back, and the seconds that it took."""
    import numpy

    begin = time.perf_counter()
    result = await loop.run_in_executor(pool, numpy.square, array)
    seconds = time.perf_counter() - begin
    if result[-1] != array[-1] ** 2 or result.shape != array.shape:
        raise RuntimeError("wrong results")
    return seconds


@GROUP.pooled(
    "array there and back, squared",
    Series(None, (160_000, 1_600_000, 16_000_000)),
    pool=PROCESSES,
    n=20,
    operation="array",
    needs=without_numpy,
    whole=False,
)
def process_array(aio, loop, pools, n, size):
    import numpy

    pool = pools.one(WORKERS)
    array = numpy.arange(size // 8, dtype=numpy.float64)

    async def main():
        for _ in range(n):
            await squared(loop, pool, array)
        return n

    return loop.run_until_complete(main())


def array_call(aio, loop, pools, size, number):
    """What the call of a pool with this number costs. The workers are there and have numpy; no large array has been
    sent before the first. `warm` is the median of ten calls after the first ten.
    """
    import numpy

    pool = pools.make(WORKERS)
    array = numpy.arange(size // 8, dtype=numpy.float64)

    async def main():
        await aio.gather(*[loop.run_in_executor(pool, nap, 0.1) for _ in range(WORKERS)])
        await aio.gather(*[squared(loop, pool, array[:8]) for _ in range(10 * WORKERS)])
        seconds = [await squared(loop, pool, array) for _ in range(20)]
        return {"cost": seconds[number - 1], "warm": median(seconds[10:])}

    return loop.run_until_complete(main())


FROM_THE_FIRST = Series(None, (160_000, 1_600_000, 16_000_000, 160_000_000))
IN_A_FRESH_PROCESS = {
    "pool": PROCESSES,
    "n": 1,
    "operation": "array",
    "needs": without_numpy,
    "whole": False,
    "fresh": True,
}


@GROUP.pooled("array there and back, the first call of a pool", FROM_THE_FIRST, **IN_A_FRESH_PROCESS)
def process_array_first(aio, loop, pools, n, size):
    return array_call(aio, loop, pools, size, 1)


@GROUP.pooled("array there and back, the second call of a pool", FROM_THE_FIRST, **IN_A_FRESH_PROCESS)
def process_array_second(aio, loop, pools, n, size):
    return array_call(aio, loop, pools, size, 2)


@GROUP.pooled(
    "cold start to the first result",
    Series("workers", (1, 2, 4)),
    pool=PROCESSES,
    n=1,
    operation="pool",
    fresh=True,
    whole=False,
)
def process_cold_start(aio, loop, pools, n, size):
    """In a process that has had no pool; the start method is the interpreter's default, or loky's own."""

    async def main():
        return await loop.run_in_executor(pools.make(size), abs, -n)

    return loop.run_until_complete(main())


@GROUP.pooled(
    "memory of the parent for a worker",
    Series("workers", (2, 4, 8)),
    pool=PROCESSES,
    n=1,
    operation="worker",
    fresh=True,
    unit="B",
    share=0.1,
    least=2,
    whole=False,
)
def process_memory(aio, loop, pools, n, size):
    """By how much the parent grows with a pool of `size` workers, all of them started and at rest again, after it has
    had a pool of one.
    """

    async def use(workers):
        pool = pools.make(workers)
        return len(
            set(await aio.gather(*[loop.run_in_executor(pool, nap, workers / 4) for _ in range(workers)]))
        )

    loop.run_until_complete(use(1))
    before = resident_bytes()
    if (started := loop.run_until_complete(use(size))) != size:
        raise RuntimeError(f"{started} workers took part instead of {size}")
    # Growth of less than a page can't be told from none.
    return {"cost": max(resident_bytes() - before, os.sysconf("SC_PAGE_SIZE")) / size}


def one_core():
    return None if SERVER_CORE != CLIENT_CORE else "two workers need two cores"


for microseconds in (100, 1_000, 10_000):

    def efficiency(aio, loop, pools, n, size):
        """Each keeps a core busy for `size` microseconds: what the caller does meanwhile is missing from the ideal."""
        pool = pools.one(WORKERS)

        async def main():
            return sum(await aio.gather(*[loop.run_in_executor(pool, work, size / 1e6) for _ in range(n)]))

        return loop.run_until_complete(main())

    efficiency.__name__ = "process_efficiency"
    GROUP.pooled(
        f"busy tasks on {WORKERS} workers",
        Series("us each", (microseconds,)),
        pool=PROCESSES,
        n=500_000 // microseconds,
        operation="task",
        ideal=microseconds / 1e6 / WORKERS,
        needs=one_core,
        whole=False,
    )(efficiency)
