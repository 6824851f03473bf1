"""Running, stopping and closing a loop; the exception handler; executors; async generators."""

import asyncio
import contextlib
import threading

from .harness import but_not, parity, since


async def nothing():
    return "nothing"


@parity
def test_states(h):
    h.log(h.loop, h.loop.is_running(), h.loop.is_closed(), h.loop.get_debug())
    h.loop.call_soon(lambda: h.log(h.loop, h.loop.is_running(), asyncio.get_running_loop() is h.loop))
    h.turns()
    h.log(h.loop.close(), h.loop, h.loop.is_closed())
    h.log(h.loop.close())
    h.attempt(h.loop.run_forever)
    h.attempt(h.loop.stop)


@parity
def test_run_on_a_closed_loop(h):
    h.loop.close()
    coroutine = nothing()
    h.attempt(h.loop.run_until_complete, coroutine)
    coroutine.close()
    h.attempt(h.loop.run_forever)
    coroutine = nothing()
    h.attempt(h.loop.create_task, coroutine)
    coroutine.close()
    h.log(h.loop.create_future())


@parity
def test_run_until_complete_arguments(h):
    for wrong in (None, 5, "text", nothing, [nothing]):
        h.attempt(h.loop.run_until_complete, wrong)
    h.complete(nothing())
    done = h.loop.create_future()
    done.set_result("done before")
    h.complete(done)
    failed = h.loop.create_future()
    failed.set_exception(ValueError("failed before"))
    h.complete(failed)
    cancelled = h.loop.create_future()
    cancelled.cancel("why")
    h.complete(cancelled)


@parity
def test_run_until_complete_of_another_loop_s_future(h):
    other = h.new_loop()
    h.attempt(h.loop.run_until_complete, other.create_future())
    task = other.create_task(nothing())
    h.attempt(h.loop.run_until_complete, task)
    h.attempt(other.run_until_complete, task)


@parity
def test_stopped_before_the_future_is_done(h):
    future = h.loop.create_future()
    h.loop.call_soon(h.loop.stop)
    h.complete(future)
    future.set_result("late")
    h.complete(future)


@parity
@but_not((3, 13, 0), "a refused nested run_forever clears the running loop there")
def test_nested_runs(h):
    other = h.new_loop()

    def nested():
        h.attempt(h.loop.run_forever)
        coroutine = nothing()
        h.attempt(h.loop.run_until_complete, coroutine)
        coroutine.close()
        h.attempt(other.run_forever)
        coroutine = nothing()
        h.attempt(other.run_until_complete, coroutine)
        coroutine.close()
        coroutine = nothing()
        h.attempt(asyncio.run, coroutine)
        coroutine.close()
        h.log(asyncio.get_running_loop() is h.loop, other.is_running())

    h.loop.call_soon(nested)
    h.turns()
    h.attempt(asyncio.get_running_loop)


@parity
def test_close_while_running(h):
    h.loop.call_soon(h.attempt, h.loop.close)
    h.turns()
    h.log(h.loop.is_closed())


@parity
def test_run_from_a_second_thread(h):
    def work():
        h.attempt(h.loop.run_forever)
        h.loop.call_soon_threadsafe(h.loop.stop)

    thread = threading.Thread(target=work)
    h.loop.call_soon(thread.start)
    h.loop.run_forever()
    thread.join()


@parity
def test_exceptions_of_callbacks(h):
    def fail(exception):
        raise exception

    for exception in (
        ValueError("text"),
        asyncio.CancelledError("cancelled"),
        StopIteration(1),
        OSError(5, "io"),
    ):
        h.loop.call_soon(fail, exception)
    h.loop.call_soon(h.log, "after")
    h.turns()
    h.catch()
    h.loop.call_soon(fail, ValueError("to the handler"))
    h.loop.call_later(0, fail, ValueError("of a timer"))
    h.turns(2)


@parity
def test_exceptions_that_end_the_run(h):
    def fail(exception):
        raise exception

    for exception in (KeyboardInterrupt("interrupt"), SystemExit(3), GeneratorExit("exit")):
        h.loop.call_soon(h.log, "before")
        h.loop.call_soon(fail, exception)
        h.loop.call_soon(h.log, "after")
        h.attempt(h.loop.run_forever) if not isinstance(exception, GeneratorExit) else h.turns()
        h.log(h.loop.is_running(), h.loop.is_closed())
        h.turns()


@parity
def test_keyboard_interrupt_in_a_task(h):
    async def interrupted():
        raise KeyboardInterrupt("from a task")

    async def exits():
        raise SystemExit(4)

    for function in (interrupted, exits):
        task = h.loop.create_task(function())
        h.complete(nothing())
        h.log(task)
        h.log(task.done() and task.exception())
        h.turns()


@parity
def test_handler_set_and_get(h):
    def handler(loop, context):
        pass

    h.log(h.loop.get_exception_handler())
    h.loop.set_exception_handler(handler)
    h.log(h.loop.get_exception_handler() is handler)
    for wrong in (5, "text"):
        h.attempt(h.loop.set_exception_handler, wrong)
    h.loop.set_exception_handler(None)
    h.log(h.loop.get_exception_handler())


@parity
def test_handler_that_fails(h):
    def failing(loop, context):
        raise RuntimeError("the handler fails")

    def interrupting(loop, context):
        raise KeyboardInterrupt("in the handler")

    h.loop.set_exception_handler(failing)
    h.loop.call_exception_handler({"message": "told", "exception": ValueError("told")})
    h.loop.call_soon(lambda: 1 / 0)
    h.turns()
    h.loop.set_exception_handler(interrupting)
    h.attempt(h.loop.call_exception_handler, {"message": "told"})
    h.loop.call_soon(lambda: 1 / 0)
    h.loop.call_soon(h.log, "after")
    h.turns(2)


@parity
def test_default_handler_s_log(h):
    h.loop.call_exception_handler({})
    h.loop.call_exception_handler({"message": "only a message"})
    h.loop.call_exception_handler(
        {"message": "m", "exception": ValueError("v"), "extra": [1], "another": {"k": "v"}}
    )
    future = h.loop.create_future()
    h.loop.call_exception_handler({"message": "with a future", "future": future})
    h.loop.default_exception_handler({"message": "straight to the default"})


@parity
def test_overridden_default_handler(h):
    def broken(context):
        raise RuntimeError("broken default")

    h.loop.default_exception_handler = broken
    h.loop.call_exception_handler({"message": "to the broken default"})
    h.loop.call_soon(lambda: 1 / 0)
    h.turns()


@parity
def test_overridden_call_exception_handler(h):
    h.loop.call_exception_handler = lambda context: h.log("overridden", sorted(context), context["message"])
    h.loop.call_soon(lambda: 1 / 0)
    h.turns()


@parity
def test_task_factory(h):
    def factory(loop, coroutine, **keywords):
        h.log("factory", sorted(keywords))
        return h.Task(coroutine, loop=loop, **keywords)

    h.log(h.loop.get_task_factory())
    for wrong in (5, "text"):
        h.attempt(h.loop.set_task_factory, wrong)
    h.loop.set_task_factory(factory)
    h.log(h.loop.get_task_factory() is factory)
    h.complete(nothing())
    h.complete(h.loop.create_task(nothing(), name="named"))
    h.loop.set_task_factory(None)
    h.complete(nothing())


@parity
def test_task_factory_that_fails(h):
    def factory(loop, coroutine, **keywords):
        coroutine.close()
        raise RuntimeError("no task today")

    h.loop.set_task_factory(factory)
    h.attempt(h.loop.create_task, nothing())
    h.attempt(h.loop.run_until_complete, nothing())


@parity
def test_default_executor(h):
    for wrong in (5, object()):
        h.attempt(h.loop.set_default_executor, wrong)

    def work(*values):
        return values

    h.complete(h.loop.run_in_executor(None, work, 1, 2))
    h.complete(h.loop.run_in_executor(None, lambda: 1 / 0))

    async def a_coroutine():
        pass

    # Only whether there is a future: asyncio's shows the callback that chains it to the pool's.
    h.attempt(lambda: h.loop.run_in_executor(None, a_coroutine).cancelled())
    h.complete(h.loop.shutdown_default_executor())
    h.attempt(lambda: h.loop.run_in_executor(None, work).cancelled())
    h.complete(h.loop.shutdown_default_executor())


@parity
async def test_to_thread_keeps_the_context(h):
    import contextvars

    variable = contextvars.ContextVar("variable")
    variable.set("outer")
    h.log(await asyncio.to_thread(variable.get))
    await h.wait(asyncio.to_thread(lambda: 1 / 0))


@parity
def test_async_generators_are_finalised(h):
    async def generator():
        try:
            yield 1
            yield 2
        finally:
            h.log("finalised")
            await asyncio.sleep(0)
            h.log("finalised after a turn")

    async def abandons():
        async for value in generator():
            h.log(value)
            break

    h.complete(abandons())
    h.turns(3)


@parity
def test_shutdown_asyncgens(h):
    async def generator():
        try:
            yield 1
        finally:
            h.log("closed")

    async def failing():
        try:
            yield 1
        finally:
            raise ValueError("in the generator")

    kept = [generator(), failing()]

    async def opens():
        for one in kept:
            h.log(await one.__anext__())

    h.complete(opens())
    h.complete(h.loop.shutdown_asyncgens())
    late = generator()
    h.complete(late.__anext__())
    h.complete(late.aclose())


@parity
def test_an_unclosed_loop_that_is_dropped_warns(h):
    import gc

    loop = h.factory()
    loop.call_soon(print)
    del loop
    gc.collect()
    h.log("collected")


@parity
def test_debug_flag(h):
    h.log(h.loop.get_debug())
    h.loop.set_debug(not h.debug)
    h.log(h.loop.get_debug())
    h.loop.set_debug("truthy")
    h.log(bool(h.loop.get_debug()))
    h.log(h.loop.slow_callback_duration)


@parity
def test_time_is_monotonic(h):
    import time

    first, clock, second = h.loop.time(), time.monotonic(), h.loop.time()
    h.log(type(first), first <= clock <= second)


@parity
def test_overridden_time(h):
    class Clock:
        now = 1000.0

        def __call__(self):
            return self.now

    clock = Clock()
    h.loop.time = clock
    handle = h.loop.call_later(5, h.log, "due")
    h.log(handle.when())
    h.turns()
    clock.now = 1006.0
    h.turns(2)


@parity
def test_attributes_that_a_user_sets(h):
    h.loop.anything = "mine"
    h.log(h.loop.anything, hash(h.loop) == hash(h.loop))
    with contextlib.suppress(AttributeError):
        del h.loop.anything
    h.log(hasattr(h.loop, "anything"))
    import weakref

    h.log(weakref.ref(h.loop)() is h.loop)


@parity
def test_abstract_calls_with_wrong_arguments(h):
    h.attempt(h.loop.run_until_complete)
    for name in ("stop", "close", "is_running", "time", "create_future"):
        try:
            getattr(h.loop, name)(1, 2, 3)
        except TypeError:
            h.log(name, "TypeError")


@parity
@since(3, 12)
def test_runner_with_a_factory(h):
    async def main():
        h.log(type(asyncio.get_running_loop()).__mro__.index(asyncio.AbstractEventLoop) > 0)
        task = asyncio.create_task(asyncio.sleep(100))
        await asyncio.sleep(0)
        h.log("leaving", task)
        return "result"

    h.log(asyncio.run(main(), loop_factory=h.factory, debug=h.debug))
    with asyncio.Runner(loop_factory=h.factory, debug=h.debug) as runner:
        h.log(runner.run(nothing()))
        h.attempt(runner.run, 5)
        h.attempt(runner.run, asyncio.sleep(0, "again"))
    h.attempt(runner.run, None)
