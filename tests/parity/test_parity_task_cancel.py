"""Task.cancel and uncancel: when they take effect, what they tell, who swallows them."""

import asyncio

from .harness import parity, since


@parity
async def test_cancel_before_it_starts(h):
    async def never():
        h.log("ran")

    task = h.loop.create_task(never())
    h.log(task.cancel("reason"), task.cancelling(), task)
    await h.wait(task)
    h.log(task.cancelled(), task, task.cancel())


@parity
async def test_cancel_while_it_waits(h):
    async def waits():
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError as error:
            h.log("cancelled", error, error.args)
            raise

    for message in ((), ("message",), (None,)):
        task = h.loop.create_task(waits())
        await h.idle()
        h.log(task.cancel(*message), task.cancelled(), task.done())
        await h.wait(task)
        h.attempt(task.result)
        h.attempt(task.exception)
        h.log(task.cancelled())


@parity
async def test_cancel_that_is_swallowed(h):
    async def swallows():
        for _ in range(2):
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError as error:
                h.log("swallowed", error.args, asyncio.current_task().cancelling())
        return "survived"

    task = h.loop.create_task(swallows())
    await h.idle()
    h.log(task.cancel("one"), task.cancelling())
    await h.idle()
    h.log(task.cancel("two"), task.cancelling())
    h.log(task.uncancel(), task.uncancel(), task.uncancel())
    await h.wait(task)


@parity
async def test_cancel_counts(h):
    task = h.loop.create_task(asyncio.sleep(100))
    h.log(task.cancelling(), task.uncancel())
    for i in range(3):
        h.log(task.cancel(i), task.cancelling())
    h.log(task.uncancel(), task.cancelling())
    await h.wait(task)
    h.log(task.cancelling(), task.uncancel())


@parity
@since(3, 13)
async def test_uncancel_to_zero_takes_the_request_back(h):
    async def waits():
        h.log("started")
        await asyncio.sleep(0)
        return "not cancelled"

    task = h.loop.create_task(waits())
    task.cancel()
    task.uncancel()
    await h.wait(task)


@parity
async def test_cancel_itself(h):
    async def suicidal():
        h.log(asyncio.current_task().cancel("by itself"))
        h.log("goes on until the next await")
        await asyncio.sleep(0)
        h.log("not reached")

    await h.wait(h.loop.create_task(suicidal()))

    async def returns_first():
        asyncio.current_task().cancel()
        return "returned"

    task = h.loop.create_task(returns_first())
    await h.wait(task)
    h.log(task.cancelled(), task)


@parity
async def test_cancel_races_with_the_result(h):
    future = h.loop.create_future()

    async def waits():
        try:
            return await future
        except asyncio.CancelledError:
            h.log("cancelled all the same", future)
            raise

    task = h.loop.create_task(waits())
    await h.idle()
    future.set_result("too late")
    h.log(task.cancel())
    await h.wait(task)
    future = h.loop.create_future()
    task = h.loop.create_task(waits())
    await h.idle()
    task.cancel()
    h.log(future.cancelled())
    await h.wait(task)


@parity
async def test_cancel_reaches_the_innermost(h):
    async def inner():
        try:
            await asyncio.sleep(100)
        finally:
            h.log("inner leaves")

    async def outer():
        task = h.loop.create_task(inner())
        try:
            await task
        finally:
            h.log("outer leaves", task)

    task = h.loop.create_task(outer())
    await h.idle(2)
    task.cancel("deep")
    await h.wait(task)


@parity
async def test_await_in_finally_after_cancel(h):
    async def cleans_up():
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(0)
            h.log("cleaned up")

    task = h.loop.create_task(cleans_up())
    await h.idle()
    task.cancel()
    await h.wait(task)


@parity
def test_subclass(h):
    class Mine(h.Task):
        def cancel(self, msg=None):
            h.log("cancel", msg)
            return super().cancel(msg)

        def result(self):
            h.log("result")
            return super().result()

    async def waits():
        await asyncio.sleep(100)

    task = Mine(waits(), loop=h.loop, name="mine")
    task.attribute = "free"
    h.turns()
    h.log(task, task.attribute)

    async def parent():
        await task

    waiting = h.loop.create_task(parent())
    h.turns()
    waiting.cancel("from the parent")
    h.complete(waiting)
