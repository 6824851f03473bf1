"""Pools of threads and processes: a call there and back, many at once, much data, the start.

A case runs on the pool that goes with the loop: the standard library's, loky's, or ours. Where a case says so,
no loop is involved. Every result is looked at, and counted only if it is right.
"""

import importlib.util
import os

from ..case import Group
from ..executor_tasks import nap, work
from ..machine import CLIENT_CORE, SERVER_CORE, resident_bytes
from ..processes import on_server_core

GROUP = Group("executors")
THREADS, PROCESSES = "ThreadPoolExecutor", "ProcessPoolExecutor"
WORKERS = 2


async def call_to_thread(aio, n):
    done = 0
    for i in range(n):
        done += await aio.to_thread(abs, -i) == i
    return done


@GROUP.pooled("to_thread, one at a time", pool=None, n=10_000, operation="call")
def to_thread(aio, loop, pools, n):
    return loop.run_until_complete(call_to_thread(aio, n))


@GROUP.pooled(
    "to_thread without spinning",
    pool=None,
    n=10_000,
    operation="call",
    environment={"AIOXIDE_SPIN": "0"},
)
def to_thread_no_spin(aio, loop, pools, n):
    return loop.run_until_complete(call_to_thread(aio, n))


@GROUP.pooled("to_thread on one core", pool=None, n=10_000, operation="call", place=on_server_core)
def to_thread_one_core(aio, loop, pools, n):
    """Nobody spins here: there is no other core for whoever is waited for."""
    return loop.run_until_complete(call_to_thread(aio, n))


async def gather(aio, loop, pool, n, size):
    done = 0
    while done < n:
        numbers = range(min(size, n - done))
        results = await aio.gather(*[loop.run_in_executor(pool, abs, -i) for i in numbers])
        if results != list(numbers):
            raise RuntimeError("wrong results")
        done += len(results)
    return done


@GROUP.pooled("thread pool, 1,000 at a time", pool=THREADS, n=30_000, operation="call")
def thread_gather(aio, loop, pools, n):
    return loop.run_until_complete(gather(aio, loop, pools.one(), n, 1_000))


@GROUP.pooled("thread pool, submit and result", pool=THREADS, n=10_000, operation="call")
def thread_submit(aio, loop, pools, n):
    """One at a time, and without a loop."""
    pool = pools.one()
    return sum(pool.submit(abs, -i).result() == i for i in range(n))


@GROUP.pooled("process pool, one at a time", pool=PROCESSES, n=4_000, operation="call")
def process_call(aio, loop, pools, n):
    pool = pools.one(WORKERS)

    async def main():
        done = 0
        for i in range(n):
            done += await loop.run_in_executor(pool, abs, -i) == i
        return done

    return loop.run_until_complete(main())


@GROUP.pooled("process pool, 500 at a time", pool=PROCESSES, n=10_000, operation="call")
def process_gather(aio, loop, pools, n):
    return loop.run_until_complete(gather(aio, loop, pools.one(WORKERS), n, 500))


@GROUP.pooled("process pool, map of 10,000", pool=PROCESSES, n=10_000, operation="item")
def process_map(aio, loop, pools, n):
    """With a chunksize of 1, the default, and without a loop."""
    return sum(i == result for i, result in enumerate(pools.one(WORKERS).map(abs, range(0, -n, -1))))


def without_numpy():
    return None if importlib.util.find_spec("numpy") else "numpy is not installed"


@GROUP.pooled(
    "16 MB array there and back, squared", pool=PROCESSES, n=20, operation="array", needs=without_numpy
)
def process_array(aio, loop, pools, n):
    import numpy

    pool = pools.one(WORKERS)
    array = numpy.arange(2_000_000, dtype=numpy.float64)

    async def main():
        done = 0
        for _ in range(n):
            squared = await loop.run_in_executor(pool, numpy.square, array)
            done += bool(squared[1_999_999] == 1_999_999.0**2 and squared.shape == array.shape)
        return done

    return loop.run_until_complete(main())


@GROUP.pooled("cold start to the first result", pool=PROCESSES, n=1, operation="pool of 2", fresh=True)
def process_cold_start(aio, loop, pools, n):
    """In a process that has had no pool; the start method is the interpreter's default, or loky's own."""

    async def main():
        return await loop.run_in_executor(pools.make(WORKERS), abs, -n)

    return loop.run_until_complete(main())


@GROUP.pooled(
    "memory of the parent for a worker",
    pool=PROCESSES,
    n=8,
    operation="worker",
    fresh=True,
    unit="B",
    share=0.2,
)
def process_memory(aio, loop, pools, n):
    """By how much the parent grows with a pool of `n` workers, all of them started and at rest again, after it has had
    a pool of one.
    """

    async def use(workers):
        pool = pools.make(workers)
        return len(
            set(await aio.gather(*[loop.run_in_executor(pool, nap, workers / 4) for _ in range(workers)]))
        )

    loop.run_until_complete(use(1))
    before = resident_bytes()
    if (started := loop.run_until_complete(use(n))) != n:
        raise RuntimeError(f"{started} workers took part instead of {n}")
    # Growth of less than a page can't be told from none.
    return max(resident_bytes() - before, os.sysconf("SC_PAGE_SIZE"))


def one_core():
    return None if SERVER_CORE != CLIENT_CORE else "two workers need two cores"


@GROUP.pooled(
    "1 ms tasks on 2 workers",
    pool=PROCESSES,
    n=1_000,
    operation="task",
    ideal=0.001 / WORKERS,
    needs=one_core,
)
def process_efficiency(aio, loop, pools, n):
    """Each keeps a core busy for a millisecond: what the caller does meanwhile is missing from the ideal."""
    pool = pools.one(WORKERS)

    async def main():
        return sum(await aio.gather(*[loop.run_in_executor(pool, work, 0.001) for _ in range(n)]))

    return loop.run_until_complete(main())
