"""gather, wait, shield, wait_for, timeout, TaskGroup, as_completed, locks: asyncio's code over our tasks."""

import asyncio

from .harness import parity, since


async def value(result, turns=1):
    for _ in range(turns):
        await asyncio.sleep(0)
    return result


async def fails(exception, turns=1):
    for _ in range(turns):
        await asyncio.sleep(0)
    raise exception


async def waits(h, name):
    try:
        await asyncio.sleep(100)
    except asyncio.CancelledError as error:
        h.log("cancelled", name, error.args)
        raise


@parity
async def test_gather(h):
    h.log(await asyncio.gather())
    h.log(await asyncio.gather(value(1, 3), value(2, 1), value(3, 2)))
    h.log(await asyncio.gather(value(1), fails(ValueError("kept")), return_exceptions=True))
    await h.wait(asyncio.gather(value(1), fails(ValueError("raised")), fails(KeyError("later"), 3)))
    await h.idle(3)
    task = h.loop.create_task(value("shared"))
    h.log(await asyncio.gather(task, task))


@parity
async def test_gather_cancelled(h):
    gathered = asyncio.gather(waits(h, 1), waits(h, 2))
    await h.idle()
    h.log(gathered)
    h.log(gathered.cancel("all"))
    await h.wait(gathered)
    h.log(gathered.cancelled())
    task = h.loop.create_task(waits(h, "child"))
    gathered = asyncio.gather(task, value(1), return_exceptions=True)
    await h.idle(2)
    task.cancel("one")
    await h.wait(gathered)


@parity
def test_gather_outside(h):
    h.attempt(asyncio.gather, 5)
    future = h.loop.create_future()
    other = h.new_loop().create_future()
    h.attempt(asyncio.gather, future, other)
    gathered = asyncio.gather(future)
    future.set_result(1)
    h.complete(gathered)


@parity
async def test_wait(h):
    tasks = [h.loop.create_task(value(i, i), name=f"w{i}") for i in range(1, 4)]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    h.log(sorted(t.get_name() for t in done), sorted(t.get_name() for t in pending))
    done, pending = await asyncio.wait(tasks)
    h.log(len(done), len(pending))
    failing = [h.loop.create_task(fails(ValueError("w"))), h.loop.create_task(waits(h, "pending"))]
    done, pending = await asyncio.wait(failing, return_when=asyncio.FIRST_EXCEPTION)
    h.log([t.exception() for t in done], len(pending))
    done, pending = await asyncio.wait(pending, timeout=0.001)
    h.log(len(done), len(pending))
    pending.pop().cancel()
    await h.idle(2)
    for wrong in ([], [value(1)], value(1), 5):
        await h.wait(asyncio.wait(wrong))
    await h.wait(asyncio.wait(tasks, return_when="wrong"))


@parity
async def test_wait_for(h):
    h.log(await asyncio.wait_for(value("in time"), 10))
    await h.wait(asyncio.wait_for(waits(h, "late"), 0.001))
    await h.wait(asyncio.wait_for(waits(h, "no time"), 0))
    h.log(await asyncio.wait_for(value("no limit"), None))
    await h.wait(asyncio.wait_for(fails(ValueError("inside")), 10))
    task = h.loop.create_task(asyncio.wait_for(waits(h, "inner"), 10))
    await h.idle(2)
    task.cancel("outer")
    await h.wait(task)


@parity
async def test_timeout(h):
    async def late():
        async with asyncio.timeout(0.001) as limit:
            h.log(limit)
            await waits(h, "in the block")

    await h.wait(late())
    async with asyncio.timeout(None) as limit:
        h.log(limit, limit.when(), limit.expired())
        limit.reschedule(h.loop.time() + 100)
    h.log(limit)
    h.attempt(limit.reschedule, 5)

    async def nested():
        async with asyncio.timeout(10):
            async with asyncio.timeout(0):
                await asyncio.sleep(1)

    await h.wait(nested())
    h.log(asyncio.current_task().cancelling())


@parity
async def test_shield(h):
    inner = h.loop.create_task(value("survives", 3))
    outer = asyncio.shield(inner)
    await h.idle()
    outer.cancel("outer")
    await h.wait(outer)
    h.log(inner.done(), await inner)
    h.catch()
    inner = h.loop.create_task(fails(ValueError("after the shield fell"), 3))
    outer = asyncio.shield(inner)
    await h.idle()
    outer.cancel()
    await h.idle(4)
    del inner, outer


@parity
async def test_task_group(h):
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(value(i, i)) for i in range(1, 3)]
        h.log(group)
    h.log([task.result() for task in tasks], group)

    async def one_fails():
        async with asyncio.TaskGroup() as group:
            group.create_task(waits(h, "sibling"))
            group.create_task(fails(ValueError("one")))
            await waits(h, "body")

    try:
        await one_fails()
    except BaseExceptionGroup as error:
        h.log(error, [e for e in error.exceptions])
    h.log(asyncio.current_task().cancelling())

    async def cancelled():
        async with asyncio.TaskGroup() as group:
            group.create_task(waits(h, "child"))
            await waits(h, "body")

    task = h.loop.create_task(cancelled())
    await h.idle(2)
    task.cancel("from outside")
    await h.wait(task)


@parity
async def test_task_group_misuse(h):
    group = asyncio.TaskGroup()
    coroutine = value(1)
    h.attempt(group.create_task, coroutine)
    coroutine.close()
    async with group:
        pass
    coroutine = value(1)
    h.attempt(group.create_task, coroutine)
    coroutine.close()
    await h.wait(group.__aenter__())


@parity
async def test_as_completed(h):
    order = []
    for next_one in asyncio.as_completed([value("slow", 5), value("fast", 1), value("middle", 3)]):
        order.append(await next_one)
    h.log(order)
    iterator = asyncio.as_completed([h.loop.create_task(waits(h, "never"))], timeout=0.001)
    await h.wait(next(iter(iterator)))
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await h.idle(2)


@parity
async def test_lock_is_fair(h):
    lock = asyncio.Lock()

    async def holder(n):
        async with lock:
            h.log("holds", n, lock)
            await asyncio.sleep(0)

    tasks = [h.loop.create_task(holder(n)) for n in range(4)]
    await h.idle()
    tasks[2].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    h.log(lock)
    h.attempt(lock.release)


@parity
async def test_event_condition_and_semaphore(h):
    event, condition, semaphore = asyncio.Event(), asyncio.Condition(), asyncio.BoundedSemaphore(2)

    async def waits_for_event(n):
        await event.wait()
        h.log("event", n)

    async def waits_for_condition(n):
        async with condition:
            await condition.wait()
            h.log("condition", n)

    async def takes(n):
        async with semaphore:
            h.log("semaphore", n, semaphore)
            await asyncio.sleep(0)

    tasks = [h.loop.create_task(waits_for_event(n)) for n in range(2)]
    tasks += [h.loop.create_task(waits_for_condition(n)) for n in range(2)]
    tasks += [h.loop.create_task(takes(n)) for n in range(3)]
    await h.idle(2)
    event.set()
    async with condition:
        condition.notify_all()
    await asyncio.gather(*tasks)
    h.attempt(semaphore.release)
    h.attempt(condition.notify)


@parity
async def test_queue(h):
    queue = asyncio.Queue(1)

    async def producer():
        for i in range(4):
            await queue.put(i)
            h.log("put", i, queue.qsize())

    async def consumer():
        for _ in range(4):
            h.log("got", await queue.get())
            queue.task_done()

    await asyncio.gather(producer(), consumer())
    await queue.join()
    h.attempt(queue.get_nowait)
    h.attempt(queue.task_done)
    queue.put_nowait(1)
    h.attempt(queue.put_nowait, 2)
    h.log(queue)


@parity
async def test_run_coroutine_threadsafe(h):
    def work():
        future = asyncio.run_coroutine_threadsafe(value("across threads"), h.loop)
        result = future.result(10)
        failing = asyncio.run_coroutine_threadsafe(fails(ValueError("across")), h.loop)
        return result, failing.exception(10)

    h.log(await asyncio.to_thread(work))
    h.attempt(asyncio.run_coroutine_threadsafe, 5, h.loop)


@parity
@since(3, 12)
async def test_barrier_with_eager_tasks(h):
    h.loop.set_task_factory(asyncio.eager_task_factory)
    barrier = asyncio.Barrier(3)

    async def arrives(n):
        h.log("arrives", n)
        h.log("leaves", n, await barrier.wait())

    await asyncio.gather(*(arrives(n) for n in range(3)))
    h.log(await asyncio.gather(value(1), value(2)))
    async with asyncio.TaskGroup() as group:
        group.create_task(value(1, 0))
