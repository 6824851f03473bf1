"""Tasks and futures in annotations, containers and callbacks, with `asyncio` for aioxide's name."""

from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar, assert_type

import aioxide as asyncio

T = TypeVar("T")


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


class Background:
    """What many servers have: a set that keeps their tasks alive."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[int]] = set()
        self.done: list[int] = []

    def start(self, work: Coroutine[Any, Any, int]) -> asyncio.Task[int]:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        task.add_done_callback(self.note)
        return task

    def note(self, task: asyncio.Task[int]) -> None:
        self.done.append(task.result())


class Waiting(Generic[T]):
    """What many clients have: an answer to come for each question that was sent."""

    def __init__(self) -> None:
        self.answers: dict[int, asyncio.Future[T]] = {}

    def ask(self, number: int) -> asyncio.Future[T]:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda future: self.answers.pop(number))
        self.answers[number] = future
        return future

    def answer(self, number: int, value: T) -> None:
        self.answers[number].set_result(value)


class Patient:
    """Can be awaited."""

    def __await__(self) -> Generator[Any, None, str]:
        yield from asyncio.sleep(0).__await__()
        return "patient"


class Named(asyncio.Task[T]):
    """A class of one's own."""

    label = "mine"


def on_done(future: asyncio.Future[str]) -> None:
    assert future.result() == "patient"


async def made_by_everything() -> None:
    loop = asyncio.get_running_loop()
    created: asyncio.Task[int] = asyncio.create_task(double(1), name="created")
    ensured: asyncio.Task[int] = asyncio.ensure_future(double(2))
    of_loop: asyncio.Task[int] = loop.create_task(double(3))
    future: asyncio.Future[int] = loop.create_future()
    own: asyncio.Future[int] = asyncio.Future()
    task: asyncio.Task[int] = asyncio.Task(double(4))
    all_futures: list[asyncio.Future[int]] = [created, ensured, of_loop, future, own, task]
    future.set_result(5)
    own.set_result(6)
    assert_type(await asyncio.gather(*all_futures), list[int])

    patient: asyncio.Task[str] = asyncio.ensure_future(Patient())
    patient.add_done_callback(on_done)
    both: asyncio.Future[tuple[int, str]] = asyncio.gather(double(1), patient)
    assert_type(await both, tuple[int, str])
    shielded: asyncio.Future[int] = asyncio.shield(double(1))
    assert_type(await asyncio.wait_for(shielded, 1), int)

    done, pending = await asyncio.wait({asyncio.create_task(double(n)) for n in range(3)})
    first: set[asyncio.Task[int]] = done
    assert sorted(each.result() for each in first) == [0, 2, 4] and not pending
    for each in asyncio.as_completed([double(1), double(2)]):
        assert_type(await each, int)
    everybody: set[asyncio.Task[Any]] = asyncio.all_tasks()
    current: asyncio.Task[Any] | None = asyncio.current_task()
    assert current in everybody


async def groups() -> None:
    background, waiting = Background(), Waiting[str]()
    asyncio.get_running_loop().call_soon(lambda: waiting.answer(1, "yes"))
    assert_type(await waiting.ask(1), str)
    assert await background.start(double(4)) == 8
    await asyncio.sleep(0)
    assert not background.tasks and background.done == [8] and not waiting.answers
    async with asyncio.TaskGroup() as group:
        tasks: list[asyncio.Task[int]] = [group.create_task(double(n)) for n in range(2)]
    assert [task.result() for task in tasks] == [0, 2]
    named: asyncio.Task[int] = Named(double(1))
    assert await named == 2


async def outcome(start: Callable[[], asyncio.Task[T]]) -> T:
    task = start()
    try:
        return await task
    except asyncio.CancelledError:
        assert isinstance(task, asyncio.Task) and isinstance(task, asyncio.Future)
        raise


async def main() -> None:
    await made_by_everything()
    await groups()
    assert_type(await outcome(lambda: asyncio.create_task(double(1))), int)


asyncio.run(main())
