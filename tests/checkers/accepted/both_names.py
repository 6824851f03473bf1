"""asyncio by its own name beside aioxide: each takes what the other makes."""

import asyncio

import aioxide


async def answer() -> int:
    return 42


def library(task: asyncio.Task[int], future: asyncio.Future[int]) -> "asyncio.Future[int]":
    """Knows of nobody but asyncio."""
    task.add_done_callback(lambda task: future.set_result(task.result()))
    return future


def ours(task: aioxide.Task[int], future: aioxide.Future[int]) -> "aioxide.Future[int]":
    return library(task, future)


async def main() -> int:
    loop = asyncio.get_running_loop()
    by_asyncio: asyncio.Task[int] = asyncio.create_task(answer())
    by_ours: aioxide.Task[int] = aioxide.create_task(answer())
    crossed: list[asyncio.Task[int]] = [by_ours]
    also_crossed: list[aioxide.Task[int]] = [by_asyncio]
    queue: asyncio.Queue[aioxide.Task[int]] = aioxide.Queue()
    await queue.put(by_asyncio)
    assert await queue.get() is by_asyncio and crossed and also_crossed
    lock: asyncio.Lock = aioxide.Lock()
    async with lock, aioxide.timeout(5):
        return await library(by_ours, loop.create_future()) + await ours(by_asyncio, loop.create_future())


with aioxide.installed(namespace=True):
    assert asyncio.run(main()) == 84
assert aioxide.run(main()) == 84
assert asyncio.Runner(loop_factory=aioxide.new_event_loop).run(main()) == 84
