"""Small deeds with futures, tasks, handles and loops. Each, done any number of times, must leave nothing behind."""

import asyncio
import contextvars
import functools
import gc
import os
import socket
import sys
import threading
import types

import aioxide

DEEDS = {}


def deed(function):
    """Enter a deed: `function(loop)` does it once, on a loop that does not run."""
    DEEDS[function.__name__] = function
    return function


def quietly(function, *arguments, **options):
    """Call, and swallow what is raised."""
    try:
        return function(*arguments, **options)
    except Exception:
        return None


async def nothing():
    pass


async def failing():
    raise ValueError("from a coroutine")


async def sleeping():
    await asyncio.sleep(3600)


def complete(loop, coroutine):
    return loop.run_until_complete(coroutine)


@deed
def futures(loop):
    async def main():
        future = loop.create_future()
        loop.call_soon(future.set_result, object())
        await future
        await future
        failed = loop.create_future()
        loop.call_soon(failed.set_exception, ValueError("set"))
        try:
            await failed
        except ValueError:
            pass
        cancelled = loop.create_future()
        loop.call_soon(cancelled.cancel, "message")
        try:
            await cancelled
        except asyncio.CancelledError:
            pass
        forgotten = loop.create_future()
        forgotten.add_done_callback(print)

    complete(loop, main())


@deed
def refused(loop):
    """Every method of a future in a state in which it raises."""
    future = loop.create_future()
    for call in (future.result, future.exception):
        quietly(call)
    quietly(future.set_exception, 7)
    quietly(future.set_exception, StopIteration())
    future.cancel()
    for call in (future.set_result, future.set_exception, future.add_done_callback, future.cancel):
        quietly(call)
        quietly(call, 1, 2, 3)
        quietly(call, nonsense=1)
    quietly(aioxide.Future, 1)
    quietly(aioxide.Future, loop=object())
    quietly(aioxide.Task)
    quietly(aioxide.Task, 5, loop=loop)
    quietly(loop.create_task, 5)
    quietly(loop.call_soon)
    quietly(loop.call_later, "soon", print)
    quietly(loop.call_soon, print, nonsense=1)


@deed
def callbacks(loop):
    seen = []
    future = loop.create_future()
    several = [functools.partial(seen.append, number) for number in range(5)]
    for callback in several:
        future.add_done_callback(callback, context=contextvars.copy_context())
    future.remove_done_callback(several[0])
    future.remove_done_callback(several[3])
    future._callbacks
    future.set_result(None)
    future.add_done_callback(seen.append)
    failing_callback = loop.create_future()
    failing_callback.add_done_callback(lambda done: 1 / 0)
    failing_callback.set_result(None)
    loop.call_soon(loop.stop)
    loop.run_forever()


@deed
def by_hand(loop):
    """A future's iterator, driven as only the interpreter drives it."""
    future = loop.create_future()
    iterator = iter(future)
    next(iterator)
    quietly(next, iterator)
    future.set_result(object())
    for _ in range(3):
        quietly(next, iterator)
        quietly(iter(future).send, None)
        try:
            next(future.__await__())
        except StopIteration as stop:
            stop.add_note("kept") if hasattr(stop, "add_note") else None
            stop.args
    for arguments in [(ValueError,), (ValueError, "text"), (ValueError, ValueError(), None), (7,), ()]:
        quietly(iter(loop.create_future()).throw, *arguments)
    iter(loop.create_future()).close()


@deed
def results_of_every_kind(loop):
    async def main():
        for value in (None, 1, (), (1, 2), ValueError("a result"), object()):
            future = loop.create_future()
            loop.call_soon(future.set_result, value)
            assert await future is value
            done = loop.create_future()
            done.set_result(value)
            assert await done is value

    complete(loop, main())


@deed
def tasks(loop):
    async def main():
        await loop.create_task(nothing())
        task = loop.create_task(nothing(), name="a name", context=contextvars.copy_context())
        task.set_name(7)
        task.get_name(), task.get_coro(), task.get_context(), repr(task), task.get_stack()
        await task
        repr(task)
        quietly((await asyncio.gather(failing(), return_exceptions=True))[0].with_traceback, None)
        waiting = loop.create_task(sleeping())
        await asyncio.sleep(0)
        waiting.get_stack(), repr(waiting)
        waiting.cancel("a message")
        waiting.uncancel()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.gather(*(asyncio.sleep(0, number) for number in range(10)))
        async with asyncio.TaskGroup() as group:
            group.create_task(nothing())
        quietly(await asyncio.wait([loop.create_task(failing())]))

    complete(loop, main())


@deed
def eager(loop):
    if sys.version_info < (3, 12):
        return

    async def main():
        for body in (nothing, failing, functools.partial(asyncio.sleep, 0)):
            task = aioxide.Task(body(), loop=loop, eager_start=True)
            await asyncio.gather(task, return_exceptions=True)
        loop.set_task_factory(asyncio.eager_task_factory)
        await asyncio.gather(loop.create_task(nothing()), asyncio.sleep(0), failing(), return_exceptions=True)
        loop.set_task_factory(None)

    complete(loop, main())


@deed
def wrong_awaits(loop):
    @types.coroutine
    def yielding(thing):
        yield thing

    async def awaits(thing):
        await yielding(thing)

    async def main():
        task = None

        async def itself():
            await task

        task = loop.create_task(itself())
        others = [loop.create_task(awaits(thing)) for thing in (7, loop.create_future(), (n for n in ()))]
        await asyncio.gather(task, *others, return_exceptions=True)

    complete(loop, main())


@deed
def several_awaiters(loop):
    async def main():
        shared = loop.create_future()

        async def waits():
            return await shared

        waiting = [loop.create_task(waits()) for _ in range(4)]
        await asyncio.sleep(0)
        if sys.version_info >= (3, 14):
            asyncio.capture_call_graph(waiting[0])
            asyncio.format_call_graph(waiting[1])
        loop.call_soon(shared.set_result, object())
        await asyncio.gather(*waiting, return_exceptions=True)

    complete(loop, main())


@deed
def subclasses(loop):
    class Future(aioxide.Future):
        pass

    class Task(aioxide.Task):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self.extra = self

    async def main():
        future = Future(loop=loop)
        future.itself = future
        loop.call_soon(future.set_result, 1)
        await future
        await Task(nothing(), loop=loop)
        isinstance(future, Future), isinstance(1, Task), issubclass(Task, aioxide.Future)

    complete(loop, main())
    del future_of_class(Future)[:]


def future_of_class(kind):
    return [kind.__new__(kind)]


@deed
def not_initialised(loop):
    for kind in (aioxide.Future, aioxide.Task):
        empty = kind.__new__(kind)
        for name in dir(empty):
            attribute = quietly(getattr, empty, name)
            if callable(attribute) and not name.startswith("__"):
                quietly(attribute)
        for call in (repr, iter, hash):
            quietly(call, empty)


@deed
def handles(loop):
    kept = [loop.call_soon(print, 1, 2), loop.call_later(50, print), loop.call_at(loop.time() + 50, print)]
    for handle in kept:
        repr(handle), handle.cancelled(), handle.get_context(), handle._callback, handle._args
        handle.cancel()
        repr(handle)
    itself = []
    itself.append(loop.call_soon(itself.clear))
    ring = []
    ring.append(loop.call_later(0, ring.append, None))
    loop.call_later(0, lambda: 1 / 0)
    loop.call_soon_threadsafe(loop.call_later, 0.0001, loop.stop)
    loop.run_forever()
    for handle in sorted([loop.call_later(9, print), loop.call_later(8, print)]):
        handle.cancel()


@deed
def handles_from_a_thread(loop):
    started = threading.Event()
    seen = []

    def callback():
        started.set()
        seen.append(1)
        loop.call_soon(loop.stop)

    def thread():
        handle = loop.call_soon_threadsafe(callback)
        started.wait()
        handle.cancel()
        handle.cancelled()

    other = threading.Thread(target=thread)
    other.start()
    loop.run_forever()
    other.join()


@deed
def readers(loop):
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        loop.add_reader(near, lambda: (near.recv(10), loop.stop()))
        loop.add_writer(far, lambda: (loop.remove_writer(far), far.send(b"x")))
        loop.run_forever()
        loop.add_reader(near, print)
        loop.remove_reader(near)
        quietly(loop.add_reader, 10**9, print)
        quietly(loop.add_reader, "no descriptor", print)
        quietly(loop.add_reader, os.devnull, print)


@deed
def debug_mode(loop):
    loop.set_debug(True)
    try:
        for other in (futures, tasks, handles, callbacks):
            other(loop)
        quietly(loop.call_soon, 7)
    finally:
        loop.set_debug(False)


@deed
def loops(loop):
    other = aioxide.new_event_loop()
    other.call_soon(len)
    other.call_later(5, len)
    future = other.create_future()
    future.loop = other
    other.keeps = future
    other.run_until_complete(asyncio.sleep(0))
    task = other.create_task(nothing())
    task._log_destroy_pending = False
    task.get_coro().close()
    other.close()


@deed
def loops_never_closed(loop):
    other = aioxide.new_event_loop()
    other.itself = other
    other.call_later(5, other.close)
    other.create_future().add_done_callback(other.close)
    other.close()


class ForeignLoop:
    """As much of a loop as futures and tasks ask for."""

    def __init__(self):
        self.ready = []

    def get_debug(self):
        return False

    def call_soon(self, callback, *arguments, context=None):
        self.ready.append((callback, arguments))

    def call_exception_handler(self, context):
        pass


@deed
def foreign_loop(loop):
    other = ForeignLoop()
    asyncio._set_running_loop(other)
    try:
        future = aioxide.Future(loop=other)
        future.add_done_callback(lambda done: None)

        async def waits():
            return await future

        task = aioxide.Task(waits(), loop=other)
        future.get_loop(), task.get_loop()
        for _ in range(4):
            while other.ready:
                callback, arguments = other.ready.pop(0)
                callback(*arguments)
            if not future.done():
                future.set_result(object())
        assert task.done()
    finally:
        asyncio._set_running_loop(None)


@deed
def patched_loop(loop):
    async def main():
        loop.call_soon = functools.partial(type(loop).call_soon, loop)
        try:
            future = loop.create_future()
            future.add_done_callback(lambda done: None)
            loop.call_later(0, future.set_result, 1)
            await future
            await loop.create_task(nothing())
        finally:
            del loop.call_soon

    complete(loop, main())


def collect():
    for _ in range(3):
        gc.collect()
