"""What a program puts in place of asyncio's insides, or sets from outside, and what the loop does of it."""

import asyncio
import ctypes
import functools
import threading
import time
from unittest import mock

from .harness import Recorder, parity, since


def monitored(h, handle=asyncio.Handle):
    """asyncio's `_run` under a function that logs what each handle's callback is."""
    original = handle._run

    @functools.wraps(original)
    def run(self):
        callback = self._callback
        own = getattr(callback, "__self__", None)
        what = own.get_name() if isinstance(own, asyncio.Task) else getattr(callback, "__name__", "native")
        if what not in ("_read_ready", "_accept_connection", "_read_from_self", "native"):
            h.log("run", what, len(self._args), isinstance(self, asyncio.TimerHandle))
        try:
            return original(self)
        finally:
            if what not in ("_read_ready", "_accept_connection", "_read_from_self", "native"):
                h.log("ran", what)

    return mock.patch.object(handle, "_run", run)


@parity
async def test_handles_run_by_a_function_of_the_programs(h):
    def called(*arguments):
        h.log("called", arguments)

    async def steps(future):
        await asyncio.sleep(0)
        h.log("woken with", await future)
        return "done"

    with monitored(h):
        future = h.loop.create_future()
        task = h.loop.create_task(steps(future), name="steps")
        task.add_done_callback(lambda task: called(task.result()))
        h.loop.call_soon(called, 1, 2)
        h.loop.call_soon(called).cancel()
        h.loop.call_soon_threadsafe(called, "from a thread")
        await h.idle(3)
        future.set_result(5)
        await task
        h.loop.call_later(0.03, called, "timer")
        await asyncio.sleep(0.06)
    await h.idle()
    h.log("restored")


@parity
async def test_what_fails_under_a_function_of_the_programs(h):
    h.catch()

    def fails():
        raise ValueError("callback")

    async def fails_too(error):
        await asyncio.sleep(0)
        raise error

    with monitored(h):
        h.loop.call_soon(fails)
        await h.wait(h.loop.create_task(fails_too(LookupError("task")), name="fails"))
        task = h.loop.create_task(asyncio.sleep(100), name="sleeps")
        await h.idle()
        task.cancel("enough")
        await h.wait(task)
        failed = h.loop.create_future()
        waits = h.loop.create_task(asyncio.wait_for(failed, 1), name="waits")
        await h.idle(2)
        failed.set_exception(OSError("future"))
        await h.wait(waits)


@parity
async def test_the_function_is_put_in_and_taken_out_within_one_turn(h):
    patch = monitored(h)
    for callback in (patch.start, lambda: h.log("seen"), patch.stop, lambda: h.log("not seen")):
        h.loop.call_soon(callback)
    await h.idle(2)


@parity(debug=[False])
def test_what_such_a_function_raises_leaves_the_loop(h):
    class Leaves(Exception):
        pass

    def run(self):
        raise Leaves(self._callback.__name__)

    def callback():
        h.log("never")

    h.loop.call_soon(callback)
    h.loop.call_soon(h.loop.stop)
    with mock.patch.object(asyncio.Handle, "_run", run):
        h.attempt(h.loop.run_forever)
    h.attempt(h.loop.run_forever)


@parity(debug=[False])
def test_timers_alone_run_by_a_function_of_the_programs(h):
    with monitored(h, asyncio.TimerHandle):
        h.loop.call_soon(lambda: h.log("soon"))
        h.loop.call_later(0.001, lambda: h.log("later"))
        h.loop.call_later(0.002, h.loop.stop)
        h.loop.run_forever()


@parity(debug=[False])
async def test_connections_while_such_a_function_is_there(h):
    near, far = h.socket_pair()
    original, runs = asyncio.Handle._run, []

    def run(self):
        before = len(h.lines)
        original(self)
        runs.extend(line for line in h.lines[before:] if line.startswith("protocol."))

    with mock.patch.object(asyncio.Handle, "_run", run):
        transport, _ = await h.loop.create_connection(lambda: Recorder(h), sock=near)
        far.send(b"bytes")
        await asyncio.sleep(0.02)
        transport.write(b"back")
        await asyncio.sleep(0.02)
        h.log(far.recv(10), await h.loop.run_in_executor(None, len, "four"))
        transport.close()
        await asyncio.sleep(0.02)
    h.log("within the program's function:", runs)


@parity
async def test_callbacks_see_their_context_and_task(h):
    import contextvars

    var = contextvars.ContextVar("var", default="none")

    async def task():
        h.log(asyncio.current_task().get_name(), var.get())
        await asyncio.sleep(0)
        h.log(asyncio.current_task().get_name(), var.get())

    with monitored(h):
        var.set("set")
        made = h.loop.create_task(task(), name="made")
        h.loop.call_soon(lambda: h.log(asyncio.current_task(), var.get()))
        await made


@parity
async def test_a_clock_that_is_patched(h):
    with mock.patch("time.monotonic", lambda: 5.0):
        h.log(h.loop.time())
        timer = h.loop.call_later(3, print)
        h.log(timer.when())
        timer.cancel()
    before, now, after = time.monotonic(), h.loop.time(), time.monotonic()
    h.log(before <= now <= after)
    with mock.patch("time.monotonic", side_effect=LookupError("clock")):
        h.attempt(h.loop.time)
    now = [time.monotonic()]
    with mock.patch("time.monotonic", lambda: now[0]):
        later = h.loop.create_future()
        h.loop.call_later(1000, later.set_result, "a thousand seconds later")
        await h.idle(2)
        now[0] += 1001
        await h.wait(later)


@parity(debug=[False])
async def test_automatic_names_are_given_once(h):
    async def nothing():
        pass

    kinds = [lambda: h.loop.create_task(nothing()), lambda: asyncio.Task(nothing(), loop=h.loop)]
    kinds += [lambda: h.Task(nothing(), loop=h.loop), lambda: asyncio.ensure_future(nothing())]
    tasks = [make() for _ in range(5) for make in kinds]
    await asyncio.wait(tasks)
    numbers = [int(task.get_name().removeprefix("Task-")) for task in tasks]
    h.log(len(set(numbers)), numbers == list(range(numbers[0], numbers[0] + 20)))


class Stop(BaseException):
    pass


@parity(debug=[False])
def test_an_exception_that_another_thread_sets_leaves_an_idle_loop(h):
    def set_it():
        time.sleep(0.05)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(h.thread), ctypes.py_object(Stop))
        h.loop.call_soon_threadsafe(lambda: h.log("called"))

    thread = threading.Thread(target=set_it)
    thread.start()
    sleeps = h.loop.create_task(asyncio.sleep(60))
    try:
        h.loop.run_until_complete(sleeps)
    except Stop:
        h.log("left the loop")
    thread.join()
    h.log("running", h.loop.is_running(), sleeps.done())
    h.turns(2)
    sleeps.cancel()
    h.turns(2)


@since(3, 14)
@parity(debug=[False])
async def test_thread_safe_handles_under_such_a_function(h):
    with monitored(h):
        handle = h.loop.call_soon_threadsafe(lambda: h.log("ran by", handle.__class__.__name__))
        await h.idle()
        h.log(handle.cancelled())
        late = h.loop.call_soon_threadsafe(print)
        late.cancel()
        await h.idle()
        h.log(late.cancelled())


@parity
def test_a_timer_is_due_in_the_turn_after_the_programs_own_clock_was_put_forward(h):
    clock = [1000.0]

    def tick(turn):
        clock[0] += 1
        h.log("turn", turn)
        if turn < 12:
            h.loop.call_soon(tick, turn + 1)

    def program():
        h.loop.call_at(clock[0] + 5, h.log, "timer")
        h.loop.call_soon(tick, 1)
        h.turns(14)

    with mock.patch("time.monotonic", lambda: clock[0]):
        program()
    h.loop.time = lambda: clock[0]
    program()
