"""How a coroutine learns what the future that it waits for ended with: coroutines of every make, and who looks on."""

import asyncio
import functools
import sys
import traceback
import types
from collections.abc import Coroutine, Generator

from .harness import parity, since


class Wrapper(Coroutine):
    """A coroutine around another one, which logs how it is resumed."""

    def __init__(self, h, coroutine):
        self.h, self.coroutine = h, coroutine

    def send(self, value):
        self.h.log("send", value)
        return self.coroutine.send(value)

    def throw(self, error, *rest):
        self.h.log("throw", error, len(rest))
        return self.coroutine.throw(error)

    def close(self):
        self.h.log("close")
        return self.coroutine.close()

    def __await__(self):
        return self

    __iter__ = __await__

    def __next__(self):
        return self.send(None)


class Polled(Coroutine):
    """As native coroutines are: makes a future for each wait, and forgets the iterator that it has yielded from."""

    def __init__(self, h, waits=()):
        self.h, self.waits = h, list(waits)

    def send(self, value):
        self.h.log("polled with", value)
        if not self.waits:
            raise StopIteration("ready")
        return next(iter(self.waits.pop(0)))

    def throw(self, error, *rest):
        self.h.log("thrown", error)
        raise error

    def close(self):
        pass

    def __await__(self):
        return self

    __iter__ = __await__

    def __next__(self):
        return self.send(None)


@types.coroutine
def yields_by_hand(future):
    return (yield next(iter(future)))


class Iterator(Generator):
    """A generator-like object whose `throw` makes something else of the exception."""

    def __init__(self, future):
        self.inner = iter(future)

    def send(self, value):
        return self.inner.send(value)

    def throw(self, error, *rest):
        raise LookupError("translated") from error

    def __await__(self):
        return self


def wrapped(h, future):
    async def waits():
        return await future

    return Wrapper(h, waits())


MAKES = {
    "wrapper": wrapped,
    "wrapper that is awaited": lambda h, future: awaits(wrapped(h, future)),
    "polled": lambda h, future: Polled(h, [future]),
    "polled that is awaited": lambda h, future: awaits(Polled(h, [future])),
    "generator": lambda h, future: awaits(yields_by_hand(future)),
    "translated": lambda h, future: awaits(Iterator(future)),
}


async def awaits(coroutine):
    return await coroutine


class Base(BaseException):
    pass


ENDS = {
    "result": lambda future, task: future.set_result(7),
    "exception": lambda future, task: future.set_exception(ValueError("failed")),
    "stop": lambda future, task: future.set_exception(StopAsyncIteration("failed")),
    "base exception": lambda future, task: future.set_exception(Base("failed")),
    "future cancelled": lambda future, task: future.cancel("future"),
    "task cancelled": lambda future, task: task.cancel("task"),
    "cancelled after failing": lambda future, task: (
        future.set_exception(KeyError("failed")),
        task.cancel("late"),
    ),
    "cancelled and taken back": lambda future, task: (task.cancel(), task.uncancel()),
    "twice cancelled": lambda future, task: (task.cancel("one"), task.cancel("two")),
}


@parity
async def test_every_make_of_coroutine_for_every_end_of_its_future(h):
    for make, coroutine in MAKES.items():
        for name, end in ENDS.items():
            h.log(make, name)
            future = h.loop.create_future()
            task = h.loop.create_task(coroutine(h, future))
            await h.idle(2)
            end(future, task)
            await asyncio.wait([task], timeout=1)
            h.log(task.done(), task.done() and task.cancelled(), task.cancelling())
            if task.done() and not task.cancelled():
                h.log(task.exception(), task.exception() or task.result())
            del future, task


class Subclass(asyncio.Future):
    pass


@parity
async def test_futures_of_every_make(h):
    makes = [h.loop.create_future, lambda: h.Future(loop=h.loop), lambda: asyncio.Future(loop=h.loop)]
    makes += [lambda: Subclass(loop=h.loop), lambda: h.loop.create_task(asyncio.sleep(100))]
    for make in makes:
        for end in (lambda future, task: task.cancel("why"), lambda future, task: future.cancel("why")):
            future = make()
            task = h.loop.create_task(Wrapper(h, awaits(future)))
            await h.idle(2)
            end(future, task)
            await h.wait(task)


@parity
async def test_tasks_of_every_make(h):
    class OwnTask(h.Task):
        pass

    for kind in (h.Task, OwnTask, asyncio.Task):
        for end in ENDS.values():
            future = h.loop.create_future()
            task = kind(Polled(h, [future]), loop=h.loop)
            await h.idle(2)
            end(future, task)
            await h.wait(task)


@since(3, 12)
@parity
async def test_a_task_that_started_eagerly(h):
    h.loop.set_task_factory(asyncio.eager_task_factory)
    for end in ENDS.values():
        future = h.loop.create_future()
        task = h.loop.create_task(Polled(h, [future, h.loop.create_future()]))
        h.log("made")
        end(future, task)
        await h.idle(3)
        h.log(task.done(), task.cancel())
        await h.wait(task)


@parity
async def test_a_future_that_ends_between_the_yield_and_the_task(h):
    """A wrapper hands on what it was given when that is done already."""

    class Late(Wrapper):
        def send(self, value):
            yielded = super().send(value)
            end(yielded, None)
            return yielded

    for name in ("result", "exception", "future cancelled"):
        end = ENDS[name]
        task = h.loop.create_task(Late(h, awaits(h.loop.create_future())))
        await h.wait(task)


@parity
async def test_blocking_is_set_by_hand_or_not_at_all(h):
    @types.coroutine
    def by_hand(future, blocking):
        future._asyncio_future_blocking = blocking
        try:
            h.log("sent", (yield future))
        except BaseException as error:
            h.log("thrown", error)
            raise

    for blocking in (True, False):
        for end in ENDS.values():
            future = h.loop.create_future()
            task = h.loop.create_task(awaits(by_hand(future, blocking)))
            await h.idle(2)
            if not task.done():
                end(future, task)
            await h.wait(task)
            h.log(future._asyncio_future_blocking)
            if future.done() and not future.cancelled():
                future.exception()


@parity
async def test_a_timeout_ends_a_polled_coroutine(h):
    async def within(seconds):
        async with asyncio.timeout(seconds):
            await Polled(h, [h.loop.create_future()])

    await h.wait(h.loop.create_task(within(0.01)))
    await h.wait(asyncio.wait_for(Polled(h, [h.loop.create_future()]), 0.01))
    group = asyncio.TaskGroup()
    try:
        async with group:
            group.create_task(Polled(h, [h.loop.create_future()]))
            await h.idle()
            raise LookupError
    except* LookupError as errors:
        h.log(errors.exceptions)


@parity
async def test_where_an_exception_came_through(h):
    async def fails():
        await asyncio.sleep(0)
        raise ValueError("deep")

    async def outer(awaitable):
        return await awaitable

    def frames(error):
        return [frame.name for frame in traceback.extract_tb(error.__traceback__)]

    for end in ("exception", "future cancelled", "task cancelled"):
        future = h.loop.create_future()
        task = h.loop.create_task(outer(outer(future)))
        await h.idle()
        ENDS[end](future, task)
        try:
            await task
        except BaseException as error:
            h.log(end, frames(error), error.__context__)
    task = h.loop.create_task(outer(h.loop.create_task(fails())))
    try:
        await task
    except ValueError as error:
        h.log(frames(error))


@since(3, 12)
@parity(debug=[False])
def test_what_monitors_see(h):
    monitoring = sys.monitoring
    kinds = (
        "PY_START",
        "PY_RESUME",
        "PY_RETURN",
        "PY_YIELD",
        "PY_THROW",
        "PY_UNWIND",
        "RAISE",
        "RERAISE",
        "STOP_ITERATION",
    )
    tool = monitoring.DEBUGGER_ID

    async def waits(future):
        try:
            return await future
        finally:
            h.log("leaves")

    async def nested(future):
        return await waits(future)

    codes = {waits.__code__, nested.__code__}

    def see(kind, code, *rest):
        if code in codes:
            h.log(kind, code.co_name, *(value for value in rest if isinstance(value, BaseException)))

    async def program():
        for end in ("result", "exception", "future cancelled", "task cancelled"):
            future = h.loop.create_future()
            task = h.loop.create_task(nested(future))
            await asyncio.sleep(0)
            ENDS[end](future, task)
            await asyncio.wait([task])
            h.log(task.cancelled() or task.exception())

    monitoring.use_tool_id(tool, "parity")
    try:
        for kind in kinds:
            monitoring.register_callback(tool, getattr(monitoring.events, kind), functools.partial(see, kind))
        monitoring.set_events(tool, sum(getattr(monitoring.events, kind) for kind in kinds))
        h.loop.run_until_complete(program())
    finally:
        monitoring.set_events(tool, 0)
        for kind in kinds:
            monitoring.register_callback(tool, getattr(monitoring.events, kind), None)
        monitoring.free_tool_id(tool)


@parity
async def test_an_exception_that_was_thrown_counts_as_retrieved(h):
    future = h.loop.create_future()
    task = h.loop.create_task(Polled(h, [future]))
    await h.idle(2)
    future.set_exception(ValueError("seen"))
    await h.wait(task)
    del future, task
    await h.idle()
