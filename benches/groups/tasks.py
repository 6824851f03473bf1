"""Tasks and futures, and asyncio's tools that are made of them: what a switch costs, wherever it hides."""

from ..case import Group

GROUP = Group("tasks")


async def nothing():
    pass


@GROUP.coroutine("sleep(0) switch", n=200_000, operation="switch")
async def sleep0(aio, n):
    done = 0
    for _ in range(n):
        await aio.sleep(0)
        done += 1
    return done


@GROUP.coroutine("create a task and await it", n=50_000, operation="task")
async def create_task(aio, n):
    done = 0

    async def work():
        nonlocal done
        done += 1

    for _ in range(n):
        await aio.create_task(work())
    return done


@GROUP.coroutine("future ping-pong", n=100_000, operation="switch")
async def future_ping_pong(aio, n):
    """Two tasks; each waits for its own new future and sets the other's."""
    loop = aio.get_running_loop()
    futures = [loop.create_future(), loop.create_future()]
    done = 0

    async def player(me, other):
        nonlocal done
        for _ in range(n // 2):
            await futures[me]
            futures[me] = loop.create_future()
            futures[other].set_result(None)
            done += 1

    tasks = [aio.create_task(player(0, 1)), aio.create_task(player(1, 0))]
    futures[0].set_result(None)
    for task in tasks:
        await task
    return done


@GROUP.coroutine("gather of 1,000", n=50_000, operation="task")
async def gather(aio, n):
    done = 0
    while done < n:
        done += len(await aio.gather(*[nothing() for _ in range(min(1_000, n - done))]))
    return done


@GROUP.coroutine("TaskGroup of 1,000", n=50_000, operation="task")
async def taskgroup(aio, n):
    done = 0
    while done < n:
        async with aio.TaskGroup() as group:
            tasks = [group.create_task(nothing()) for _ in range(min(1_000, n - done))]
        done += sum(task.done() for task in tasks)
    return done


@GROUP.coroutine("wait for 100 tasks", n=50_000, operation="task")
async def wait(aio, n):
    done = 0
    while done < n:
        finished, _ = await aio.wait([aio.create_task(nothing()) for _ in range(min(100, n - done))])
        done += len(finished)
    return done


@GROUP.coroutine("wait_for(sleep(0))", n=30_000, operation="call")
async def wait_for(aio, n):
    done = 0
    for _ in range(n):
        await aio.wait_for(aio.sleep(0), 60)
        done += 1
    return done


@GROUP.coroutine("timeout around sleep(0)", n=30_000, operation="block")
async def timeout(aio, n):
    done = 0
    for _ in range(n):
        async with aio.timeout(60):
            await aio.sleep(0)
        done += 1
    return done


@GROUP.coroutine("lock, contended by 10 tasks", n=50_000, operation="acquisition")
async def lock(aio, n):
    """The holder suspends inside, so that each acquisition but the first has to wait."""
    mutex = aio.Lock()
    done = 0

    async def contender():
        nonlocal done
        for _ in range(n // 10):
            async with mutex:
                await aio.sleep(0)
                done += 1

    for task in [aio.create_task(contender()) for _ in range(10)]:
        await task
    return done


@GROUP.coroutine("event ping-pong", n=50_000, operation="switch")
async def event(aio, n):
    events = [aio.Event(), aio.Event()]
    done = 0

    async def player(mine, other):
        nonlocal done
        for _ in range(n // 2):
            await mine.wait()
            mine.clear()
            other.set()
            done += 1

    tasks = [aio.create_task(player(*events)), aio.create_task(player(*reversed(events)))]
    events[0].set()
    for task in tasks:
        await task
    return done


@GROUP.coroutine("queue of one, put and get", n=50_000, operation="item")
async def queue(aio, n):
    pipe = aio.Queue(1)
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
