"""Tasks and futures of other results than they are said to have."""

import aioxide as asyncio


async def double(number: int) -> int:
    return 2 * number


def on_done(task: asyncio.Task[str]) -> None:
    print(task.result())


async def main() -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(double(1))
    text: asyncio.Task[str] = task  # mypy: assignment; pyright: reportAssignmentType
    task.add_done_callback(on_done)  # mypy: arg-type; pyright: reportArgumentType
    tasks: set[asyncio.Task[str]] = set()
    tasks.add(task)  # mypy: arg-type; pyright: reportArgumentType
    future: asyncio.Future[int] = loop.create_future()
    future.set_result("two")  # mypy: arg-type; pyright: reportArgumentType
    word: str = await future  # mypy: assignment; pyright: reportAssignmentType
    other: asyncio.Task[int] = future  # mypy: assignment; pyright: reportAssignmentType
    asyncio.create_task(double)  # mypy: arg-type; pyright: reportArgumentType
    print(text, word, other)


asyncio.run(main)  # mypy: arg-type; pyright: reportArgumentType
