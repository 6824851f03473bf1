"""Tasks and futures, and asyncio's tools that are made of them: what a switch costs, wherever it hides, and how many
of them there are.
"""

import sys

from ..lanes import FLOOR
from ..registry import Group
from ..series import Series

GROUP = Group("tasks")
SIDE_BY_SIDE = Series("tasks side by side", (1, 100, 10_000))
IN_PAIRS = Series("tasks in pairs", (2, 200, 10_000))
# Before 3.14 the bare interpreter's tasks are not found by asyncio.current_task(), which timeouts ask.
CURRENT = FLOOR if sys.version_info >= (3, 14) else None


async def nothing():
    pass


async def side_by_side(aio, n, size, work):
    """`work(times)` in `size` tasks, together `n` times; in the main task itself when there is only one."""
    if size == 1:
        await work(n)
        return
    for task in [aio.create_task(work(n // size)) for _ in range(size)]:
        await task


@GROUP.coroutine("sleep(0) switch", SIDE_BY_SIDE, n=200_000, operation="switch", limit=FLOOR)
async def sleep0(aio, n, size):
    done = 0

    async def work(times):
        nonlocal done
        for _ in range(times):
            await aio.sleep(0)
            done += 1

    await side_by_side(aio, n, size, work)
    return done


@GROUP.coroutine(
    "create tasks and await them",
    Series("at a time", (1, 100, 10_000)),
    n=50_000,
    operation="task",
    limit=FLOOR,
)
async def create_task(aio, n, size):
    done = 0

    async def work():
        nonlocal done
        done += 1

    if size == 1:
        for _ in range(n):
            await aio.create_task(work())
        return done
    for _ in range(n // size):
        for task in [aio.create_task(work()) for _ in range(size)]:
            await task
    return done


@GROUP.coroutine("future ping-pong", IN_PAIRS, n=100_000, operation="switch")
async def future_ping_pong(aio, n, size):
    """Pairs of tasks; each waits for its own new future and sets the other's."""
    loop = aio.get_running_loop()
    done = 0

    async def player(futures, me, other):
        nonlocal done
        for _ in range(n // size):
            await futures[me]
            futures[me] = loop.create_future()
            futures[other].set_result(None)
            done += 1

    tasks = []
    for _ in range(size // 2):
        futures = [loop.create_future(), loop.create_future()]
        tasks += [aio.create_task(player(futures, 0, 1)), aio.create_task(player(futures, 1, 0))]
        futures[0].set_result(None)
    for task in tasks:
        await task
    return done


AT_ONCE = Series("tasks", (10, 1_000, 100_000))


@GROUP.coroutine("gather", AT_ONCE, n=50_000, operation="task", limit=FLOOR)
async def gather(aio, n, size):
    done = 0
    while done < n:
        done += len(await aio.gather(*[nothing() for _ in range(size)]))
    return done


@GROUP.coroutine("TaskGroup", AT_ONCE, n=50_000, operation="task")
async def taskgroup(aio, n, size):
    done = 0
    while done < n:
        async with aio.TaskGroup() as group:
            tasks = [group.create_task(nothing()) for _ in range(size)]
        done += sum(task.done() for task in tasks)
    return done


@GROUP.coroutine("wait", Series("tasks", (10, 100, 1_000, 10_000)), n=50_000, operation="task")
async def wait(aio, n, size):
    done = 0
    while done < n:
        finished, _ = await aio.wait([aio.create_task(nothing()) for _ in range(size)])
        done += len(finished)
    return done


@GROUP.coroutine("wait_for(sleep(0))", SIDE_BY_SIDE, n=30_000, operation="call", limit=CURRENT)
async def wait_for(aio, n, size):
    done = 0

    async def work(times):
        nonlocal done
        for _ in range(times):
            await aio.wait_for(aio.sleep(0), 60)
            done += 1

    await side_by_side(aio, n, size, work)
    return done


@GROUP.coroutine("timeout around sleep(0)", SIDE_BY_SIDE, n=30_000, operation="block", limit=CURRENT)
async def timeout(aio, n, size):
    done = 0

    async def work(times):
        nonlocal done
        for _ in range(times):
            async with aio.timeout(60):
                await aio.sleep(0)
            done += 1

    await side_by_side(aio, n, size, work)
    return done


@GROUP.coroutine("lock, contended", Series("tasks", (10, 100, 1_000)), n=50_000, operation="acquisition")
async def lock(aio, n, size):
    """The holder suspends inside, so that each acquisition but the first has to wait."""
    mutex = aio.Lock()
    done = 0

    async def contender():
        nonlocal done
        for _ in range(n // size):
            async with mutex:
                await aio.sleep(0)
                done += 1

    for task in [aio.create_task(contender()) for _ in range(size)]:
        await task
    return done


@GROUP.coroutine("event ping-pong", IN_PAIRS, n=50_000, operation="switch")
async def event(aio, n, size):
    done = 0

    async def player(mine, other):
        nonlocal done
        for _ in range(n // size):
            await mine.wait()
            mine.clear()
            other.set()
            done += 1

    tasks = []
    for _ in range(size // 2):
        events = [aio.Event(), aio.Event()]
        tasks += [aio.create_task(player(*events)), aio.create_task(player(*reversed(events)))]
        events[0].set()
    for task in tasks:
        await task
    return done


@GROUP.coroutine("queue, put and get", Series("items at most", (1, 100, 10_000)), n=50_000, operation="item")
async def queue(aio, n, size):
    pipe = aio.Queue(size)
    done = 0

    async def consumer():
        nonlocal done
        for _ in range(n):
            await pipe.get()
            done += 1

    task = aio.create_task(consumer())
    for i in range(n):
        await pipe.put(i)
    await task
    return done
