"""Task: stepping order, cancellation, names, errors, repr, and what it says when it is dropped."""

import asyncio
import gc
import io
import sys
import types

from .harness import parity, since


async def nothing():
    return "nothing"


async def fails(exception):
    raise exception


@parity
async def test_start_order(h):
    async def one(n):
        h.log("start", n)
        await asyncio.sleep(0)
        h.log("middle", n)
        await asyncio.sleep(0)
        h.log("end", n)

    tasks = [h.loop.create_task(one(n)) for n in range(3)]
    h.loop.call_soon(h.log, "a callback between")
    h.log("created")
    await asyncio.gather(*tasks)


@parity
async def test_order_of_wakeups_and_callbacks(h):
    future = h.loop.create_future()

    async def waiter(n):
        h.log("woken", n, await future)

    tasks = [h.loop.create_task(waiter(0))]
    future.add_done_callback(lambda f: h.log("callback before"))
    await h.idle()
    future.add_done_callback(lambda f: h.log("callback after"))
    tasks.append(h.loop.create_task(waiter(1)))
    await h.idle()
    h.loop.call_soon(h.log, "soon before")
    future.set_result("r")
    h.loop.call_soon(h.log, "soon after")
    await asyncio.gather(*tasks)


@parity
async def test_done_callbacks_and_awaiting_tasks(h):
    task = h.loop.create_task(nothing())
    task.add_done_callback(lambda t: h.log("first", t.result()))

    async def waits():
        h.log("awaited", await task)

    waiting = h.loop.create_task(waits())
    await h.idle()
    task.add_done_callback(lambda t: h.log("second"))
    await waiting


@parity
def test_names(h):
    h.log(h.loop.create_task(nothing()).get_name())
    h.log(h.loop.create_task(nothing()).get_name())
    h.log(h.loop.create_task(nothing(), name="given").get_name())
    task = h.loop.create_task(nothing(), name=5)
    h.log(task.get_name())
    task.set_name(("tuple", 1))
    h.log(task.get_name())
    h.log(h.Task(nothing(), loop=h.loop, name=None).get_name())
    h.attempt(task.set_name)
    h.turns(2)


@parity
def test_coroutine_argument(h):
    for wrong in (None, 5, "text", nothing, h.loop.create_future(), (x for x in ())):
        h.attempt(h.loop.create_task, wrong)

    @types.coroutine
    def generator_based():
        yield
        return "generator-based"

    made = generator_based()
    task = h.attempt(h.loop.create_task, made)
    h.complete(task) if task is not None else made.close()

    class Awaitable:
        def __await__(self):
            return nothing().__await__()

    h.attempt(h.loop.create_task, Awaitable())
    h.complete(asyncio.ensure_future(Awaitable(), loop=h.loop))


@parity
def test_construction(h):
    for arguments, keywords in [((), {}), ((5,), {"loop": h.loop})]:
        h.attempt(h.Task, *arguments, **keywords)
    coroutine = nothing()
    try:
        h.Task(coroutine)
    except (RuntimeError, DeprecationWarning) as error:
        h.log("no loop", "no current event loop" in str(error) or "no running event loop" in str(error))
    coroutine.close()
    task = h.Task(nothing(), loop=h.loop)
    h.complete(task)
    h.log(task.get_loop() is h.loop, isinstance(task, asyncio.Task), isinstance(task, asyncio.Future))
    h.attempt(lambda: h.Task[int].__origin__ is h.Task)
    h.log(type(h.loop.create_task(nothing())) is h.Task)
    h.turns(2)


@parity
def test_results_and_errors(h):
    task = h.loop.create_task(nothing())
    h.attempt(task.result)
    h.attempt(task.exception)
    h.attempt(task.set_result, 1)
    h.attempt(task.set_exception, ValueError())
    h.complete(task)
    h.attempt(task.set_result, 1)
    h.attempt(task.set_exception, ValueError())
    h.log(task.result(), task.exception(), task.cancel())
    for exception in (ValueError("v"), StopIteration("s"), StopAsyncIteration("a"), GeneratorExit("g")):
        task = h.loop.create_task(fails(exception))
        h.turns(2)
        h.log(task, task.done() and not task.cancelled() and task.exception())


@parity
def test_what_a_coroutine_must_not_yield(h):
    class Yields:
        def __init__(self, value):
            self.value = value

        def __await__(self):
            yield self.value

    async def awaits(value):
        await Yields(value)

    for value in (5, "text", [], h.loop.create_future(), nothing):
        task = h.loop.create_task(awaits(value))
        h.complete(task)

    async def awaits_generator():
        await Yields(x for x in ())

    h.complete(awaits_generator())


@parity
def test_a_bare_yield_gives_up_a_turn(h):
    class Bare:
        def __await__(self):
            h.log((yield))

    async def bare():
        await Bare()
        return "went on"

    h.loop.call_soon(h.log, "before")
    task = h.loop.create_task(bare())
    h.loop.call_soon(h.log, "after")
    h.complete(task)


@parity
def test_await_itself_and_another_loop_s(h):
    async def itself():
        await asyncio.current_task()

    h.complete(itself())
    other = h.new_loop()
    foreign = other.create_future()

    async def foreign_future():
        await foreign

    h.complete(h.loop.create_task(foreign_future(), name="main"))
    h.log(foreign)


@parity
async def test_await_the_same_future_twice_at_once(h):
    future = h.loop.create_future()
    tasks = [h.loop.create_task(h.wait(future)) for _ in range(3)]
    await h.idle()
    h.log(len(future._callbacks))
    future.set_exception(ValueError("shared"))
    await asyncio.gather(*tasks)


@parity
async def test_foreign_future(h):
    class Foreign:
        """A future by duck typing, as hand-written ones in libraries are."""

        _asyncio_future_blocking = False

        def __init__(self):
            self.callbacks = []

        def get_loop(self):
            return h.loop

        def add_done_callback(self, callback, *, context=None):
            h.log("add_done_callback", context is not None)
            h.loop.call_soon(callback, self, context=context)

        def result(self):
            return "foreign result"

        def __await__(self):
            self._asyncio_future_blocking = True
            yield self
            return self.result()

    async def waits():
        return await Foreign()

    await h.wait(h.loop.create_task(waits()))


@parity
def test_repr_by_state(h):
    future = h.loop.create_future()

    async def waits():
        await future

    task = h.loop.create_task(waits(), name="shown")
    h.log(task)
    h.turns()
    h.log(task)
    task.add_done_callback(print)
    h.log(task)
    task.remove_done_callback(print)
    task.cancel()
    h.log(task)
    h.turns(2)
    h.log(task)
    for coroutine in (nothing(), fails(ValueError("shown"))):
        task = h.loop.create_task(coroutine, name="shown")
        h.turns(2)
        h.log(task, task.exception())

    async def running():
        h.log(asyncio.current_task())

    h.complete(h.loop.create_task(running()))


@parity
def test_stack(h):
    async def inner():
        await asyncio.sleep(100)

    async def outer():
        await inner()

    def lines(task, **keywords):
        stream = io.StringIO()
        task.print_stack(file=stream, **keywords)
        return [line for line in stream.getvalue().splitlines() if "await" not in line and "^" not in line]

    task = h.loop.create_task(outer())
    h.log(len(task.get_stack()), lines(task))
    h.turns()
    h.log([frame.f_code.co_name for frame in task.get_stack()], lines(task), lines(task, limit=1))
    h.log(len(task.get_stack(limit=0)), [f.f_code.co_name for f in task.get_stack(limit=1)])
    task.cancel()
    h.turns(2)
    h.log(task.get_stack(), lines(task))
    failed = h.loop.create_task(fails(ValueError("stack")))
    h.turns(2)
    h.log([frame.f_code.co_name for frame in failed.get_stack()], lines(failed))
    failed.exception()


@parity
def test_coroutine_and_context_of_a_task(h):
    import contextvars

    coroutine = nothing()
    context = contextvars.copy_context()
    task = h.loop.create_task(coroutine, context=context)
    h.log(task.get_coro() is coroutine)
    if sys.version_info >= (3, 12):
        h.log(task.get_context() is context)
    h.complete(task)
    h.log(task.get_coro() is coroutine)


@parity
async def test_current_and_all_tasks(h):
    h.log(asyncio.current_task() in asyncio.all_tasks(), len(asyncio.all_tasks()))
    seen = []

    async def looks():
        seen.append(asyncio.current_task())

    task = h.loop.create_task(looks())
    h.log(task in asyncio.all_tasks(), len(asyncio.all_tasks(h.loop)))
    h.loop.call_soon(lambda: h.log("in a callback", asyncio.current_task()))
    await task
    h.log(seen == [task], task in asyncio.all_tasks(), len(asyncio.all_tasks()))
    h.attempt(asyncio.current_task, h.loop)
    h.log(asyncio.current_task(h.new_loop()))


@parity
def test_current_task_outside(h):
    h.attempt(asyncio.current_task)
    h.attempt(asyncio.all_tasks)
    h.log(asyncio.current_task(h.loop), asyncio.all_tasks(h.loop))
    task = h.loop.create_task(nothing())
    h.log(asyncio.all_tasks(h.loop) == {task})
    h.complete(task)
    h.log(asyncio.all_tasks(h.loop))


@parity
def test_destroyed_while_pending(h):
    async def waits():
        await h.loop.create_future()

    # The task and the future that it waits for hold each other, and nothing else holds them.
    h.loop.create_task(waits(), name="left behind")
    h.turns()
    gc.collect()
    h.log("collected")


@parity
def test_destroyed_before_it_started(h):
    loop = h.new_loop()
    task = loop.create_task(nothing(), name="never started")
    loop.close()
    h.log("closed")
    del task, loop
    gc.collect()
    h.log("collected")


@parity
def test_log_destroy_pending(h):
    task = h.loop.create_task(nothing())
    h.log(task._log_destroy_pending)
    task._log_destroy_pending = False
    h.log(task._log_destroy_pending)
    h.complete(task)


@parity
def test_private_attributes_that_libraries_read(h):
    task = h.loop.create_task(fails(ValueError("p")))
    names = (
        "_must_cancel",
        "_state",
        "_exception",
        "_log_traceback",
        "_num_cancels_requested",
        "_cancel_message",
    )
    read = [name for name in names if hasattr(task, name)]
    h.log([(name, getattr(task, name)) for name in read], task._coro is task.get_coro(), task._fut_waiter)
    task.cancel("m")
    h.log([(name, getattr(task, name)) for name in read])
    h.turns(2)
    h.log([(name, getattr(task, name)) for name in read], task._fut_waiter)

    async def waits():
        await future

    future = h.loop.create_future()
    task = h.loop.create_task(waits())
    h.turns()
    h.log(task._fut_waiter is future)
    future.set_result(None)
    h.turns()
    h.log(task._fut_waiter, task.done())


@parity
def test_exception_never_retrieved(h):
    h.loop.create_task(fails(ValueError("never retrieved")), name="failed")
    h.turns(2)
    h.log("dropped")
    h.catch()
    h.loop.create_task(fails(ValueError("to the handler")), name="failed")
    h.turns(2)
    h.log("dropped")


@parity
def test_never_awaited_coroutine(h):
    nothing()
    h.log("dropped")


@parity
def test_callbacks_of_a_task(h):
    task = h.loop.create_task(nothing())
    for name in ("first", "second"):
        task.add_done_callback(lambda t, name=name: h.log(name, t is task, t.result()))
    task.add_done_callback(lambda t: 1 / 0)
    h.complete(task)
    h.turns()
    task.add_done_callback(lambda t: h.log("late"))
    h.turns()


@parity
@since(3, 12)
def test_eager_tasks(h):
    async def at_once():
        h.log("runs at once", asyncio.current_task() is not None)
        return 1

    async def later():
        h.log("first half")
        await asyncio.sleep(0)
        h.log("second half")

    async def main():
        me = asyncio.current_task()
        h.loop.set_task_factory(asyncio.eager_task_factory)
        task = h.loop.create_task(at_once(), name="eager")
        h.log("after", task, asyncio.current_task() is me)
        waiting = h.loop.create_task(later())
        h.log(waiting.done())
        await waiting
        failing = h.loop.create_task(fails(ValueError("eagerly")))
        h.log(failing, failing.exception())
        return await task

    h.complete(main())
    h.attempt(lambda: h.loop.create_task(at_once()).done())
    h.turns()


@parity
@since(3, 12)
def test_eager_start_argument(h):
    async def eager():
        h.log("eager")
        return 1

    async def main():
        task = h.Task(eager(), loop=h.loop, eager_start=True)
        h.log(task.done(), task)
        task = h.Task(eager(), loop=h.loop, eager_start=False)
        h.log(task.done())
        await task

    h.complete(main())


@parity
def test_throw_into_a_task_that_waits_for_a_failing_future(h):
    future = h.loop.create_future()

    async def waits():
        try:
            await future
        except ValueError as error:
            h.log("caught", error)
            raise KeyError("another") from error

    task = h.loop.create_task(waits())
    h.loop.call_soon(future.set_exception, ValueError("one"))
    h.complete(task)
    h.log(task.exception().__cause__ is future.exception())


@parity
def test_step_order_with_sleep_zero_among_callbacks(h):
    async def one():
        for i in range(3):
            h.log("task", i)
            await asyncio.sleep(0)

    def callback(n):
        h.log("callback", n)
        if n:
            h.loop.call_soon(callback, n - 1)

    task = h.loop.create_task(one())
    h.loop.call_soon(callback, 3)
    h.complete(task)


@parity
def test_arguments_of_methods(h):
    task = h.loop.create_task(nothing())
    for name, arguments in [
        ("cancel", (1, 2)),
        ("uncancel", (1,)),
        ("cancelling", (1,)),
        ("get_coro", (1,)),
        ("get_stack", (1,)),
        ("set_name", (1, 2)),
        ("add_done_callback", ()),
    ]:
        try:
            getattr(task, name)(*arguments)
        except TypeError:
            h.log(name, "TypeError")
        else:
            h.log(name, "accepted")
    h.turns(2)


@parity
@since(3, 13)  # asyncio's own Task crashes the process below
def test_never_initialised(h):
    task = h.Task.__new__(h.Task)
    for name in (
        "done",
        "cancelled",
        "get_name",
        "get_coro",
        "result",
        "exception",
        "get_loop",
    ):
        try:
            h.log(name, getattr(task, name)())
        except Exception as error:
            h.log(name, error)
    task._log_destroy_pending = False


@parity
def test_made_again_by_init(h):
    task = h.loop.create_task(nothing(), name="once")
    h.complete(task)
    coroutine = nothing()
    h.attempt(task.__init__, coroutine, loop=h.loop, name="twice")
    h.log(task)
    h.complete(task)
    coroutine.close()
