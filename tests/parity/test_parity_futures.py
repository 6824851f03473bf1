"""Future: states, errors, callbacks, repr, awaiting, and what it says when it is dropped."""

import asyncio
import concurrent.futures
import weakref

from .harness import parity, since


@parity
def test_states_and_results(h):
    future = h.loop.create_future()
    h.log(future.done(), future.cancelled(), future)
    h.attempt(future.result)
    h.attempt(future.exception)
    h.attempt(future.set_result, "result")
    h.log(future.done(), future.cancelled(), future, future.result(), future.exception())
    h.attempt(future.set_result, "again")
    h.attempt(future.set_exception, ValueError())
    h.log(future.cancel(), future)


@parity
def test_exceptions(h):
    future = h.loop.create_future()
    for wrong in (None, 5, "text", int, object()):
        h.attempt(future.set_exception, wrong)
    h.attempt(future.set_exception, StopIteration)
    h.log(future)
    future = h.loop.create_future()
    h.attempt(future.set_exception, StopIteration(5))
    h.log(future)
    for given in (
        ValueError,
        ValueError("instance"),
        KeyboardInterrupt("base"),
        asyncio.CancelledError("given"),
    ):
        future = h.loop.create_future()
        h.attempt(future.set_exception, given)
        h.attempt(future.result)
        h.attempt(future.exception)
        h.log(future, future.cancelled())
        h.attempt(future.set_exception, ValueError())

    class Fails(Exception):
        def __init__(self):
            raise RuntimeError("no instance")

    future = h.loop.create_future()
    h.attempt(future.set_exception, Fails)
    h.log(future)
    future.cancel()


@parity
def test_cancel(h):
    future = h.loop.create_future()
    h.log(future.cancel(), future.cancel(), future.cancelled(), future.done(), future)
    h.attempt(future.result)
    h.attempt(future.exception)
    h.attempt(future.set_result, 1)
    h.attempt(future.set_exception, ValueError())
    future = h.loop.create_future()
    h.log(future.cancel(msg="the message"))
    h.attempt(future.result)
    h.attempt(future.result)
    h.attempt(future.exception)
    h.log(future._cancel_message)


@parity
def test_callbacks_run_through_the_loop_in_order(h):
    future = h.loop.create_future()
    for i in range(3):
        h.log(future.add_done_callback(lambda f, i=i: h.log("callback", i, f)))
    future.set_result("r")
    h.log("set; nothing has run")
    h.loop.call_soon(h.log, "scheduled after")
    future.add_done_callback(lambda f: h.log("added late"))
    h.turns()


@parity
def test_removing_callbacks(h):
    future = h.loop.create_future()

    def callback(future):
        h.log("removed callback ran")

    h.log(future.remove_done_callback(callback))
    for _ in range(3):
        future.add_done_callback(callback)
    future.add_done_callback(h.log)
    h.log(future.remove_done_callback(callback), future.remove_done_callback(callback))
    future.add_done_callback(callback)
    h.log(future.remove_done_callback(callback))
    future.set_result(1)
    h.log(future.remove_done_callback(h.log))
    h.turns()


@parity
def test_remove_callbacks_compares_by_equality(h):
    class Equal:
        def __call__(self, future):
            h.log("ran")

        def __eq__(self, other):
            return isinstance(other, Equal)

        __hash__ = None

    future = h.loop.create_future()
    future.add_done_callback(Equal())
    future.add_done_callback(h.log)
    future.add_done_callback(Equal())
    h.log(future.remove_done_callback(Equal()))
    future.cancel()
    h.turns()


@parity
def test_callback_that_fails_or_is_no_callable(h):
    future = h.loop.create_future()
    h.attempt(future.add_done_callback, 5)
    future.remove_done_callback(5)
    future.add_done_callback(lambda f: 1 / 0)
    future.add_done_callback(lambda f: h.log("next"))
    future.set_result(None)
    h.turns()


@parity
def test_callbacks_attribute(h):
    future = h.loop.create_future()
    h.log(future._callbacks)
    future.add_done_callback(print)
    h.log(len(future._callbacks), future._callbacks[0][0])
    future.add_done_callback(len)
    h.log([callback for callback, context in future._callbacks])
    future.remove_done_callback(print)
    h.log([callback for callback, context in future._callbacks])
    future.cancel()
    future.remove_done_callback(len)
    h.log(future._callbacks)


@parity
def test_repr(h):
    def callback(future):
        pass

    future = h.loop.create_future()
    for _ in range(4):
        future.add_done_callback(callback)
        h.log(future)
    future.cancel()
    h.log(future)
    h.turns()
    for result in (None, "x" * 100, list(range(100)), {"k": [1] * 50}):
        future = h.loop.create_future()
        future.set_result(result)
        h.log(future)
    future = h.loop.create_future()
    future.set_exception(ValueError("shown"))
    h.log(future, future.exception())


@parity
def test_repr_that_contains_itself(h):
    future = h.loop.create_future()
    future.set_result([future])
    h.log(future)
    future = h.loop.create_future()
    future.add_done_callback(lambda f, me=future: None)
    h.log(future)


@parity
def test_private_attributes_that_libraries_read(h):
    future = h.loop.create_future()
    names = (
        "_state",
        "_result",
        "_exception",
        "_asyncio_future_blocking",
        "_log_traceback",
        "_cancel_message",
    )
    h.log([getattr(future, name) for name in names], future._loop is h.loop)
    future.set_exception(ValueError("e"))
    h.log([getattr(future, name) for name in names])
    h.attempt(setattr, future, "_log_traceback", True)
    future._log_traceback = False
    h.log([getattr(future, name) for name in names])
    h.log(bool(future._source_traceback))
    blocking = h.loop.create_future()
    blocking._asyncio_future_blocking = True
    h.log(blocking._asyncio_future_blocking)
    blocking._cancel_message = "set"
    h.log(blocking._cancel_message)
    for name in ("_state", "_loop", "_callbacks", "_result", "_exception"):
        try:
            setattr(blocking, name, None)
        except AttributeError:
            h.log(name, "is read-only")


@parity
def test_construction(h):
    h.log(h.Future(loop=h.loop))
    for arguments, keywords in [((), {}), ((h.loop,), {}), ((), {"loop": None}), ((), {"wrong": 1})]:
        try:
            h.log(h.Future(*arguments, **keywords))
        except (RuntimeError, TypeError, DeprecationWarning) as error:
            h.log(type(error), "no current event loop" in str(error))
    h.attempt(lambda: h.Future(loop=5).done())
    h.log(h.loop.create_future().get_loop() is h.loop)

    async def inside():
        return h.Future().get_loop() is h.loop

    h.complete(inside())


@parity
def test_made_again_by_init(h):
    future = h.loop.create_future()
    future.set_result("first")
    h.attempt(future.__init__, loop=h.loop)
    h.log(future)
    failed = h.loop.create_future()
    failed.set_exception(ValueError("dropped"))
    h.attempt(failed.__init__, loop=h.loop)
    h.log(failed, failed.done())


@parity
def test_never_initialised(h):
    future = h.Future.__new__(h.Future)
    h.log(future.done(), future.cancelled())
    for name, arguments in [
        ("result", ()),
        ("exception", ()),
        ("set_result", (1,)),
        ("set_exception", (ValueError(),)),
        ("cancel", ()),
        ("add_done_callback", (print,)),
        ("remove_done_callback", (print,)),
        ("get_loop", ()),
        ("__repr__", ()),
        ("__iter__", ()),
    ]:
        try:
            getattr(future, name)(*arguments)
        except Exception as error:
            h.log(name, type(error))
        else:
            h.log(name, "passed")


@parity
def test_types(h):
    future = h.loop.create_future()
    h.log(asyncio.isfuture(future), isinstance(future, asyncio.Future), type(future).__name__)
    h.log(weakref.ref(future)() is future, hash(future) == hash(future), future == future)
    h.log(isinstance(future, h.Future), issubclass(h.Future, asyncio.Future))
    h.attempt(lambda: h.Future[int].__origin__ is h.Future)
    h.log(type(iter(future)).__name__)
    future.cancel()


@parity
def test_subclass(h):
    class Mine(h.Future):
        def __init__(self, **keywords):
            super().__init__(**keywords)
            self.extra = "extra"

        def set_result(self, result):
            super().set_result(("wrapped", result))

        def add_done_callback(self, callback, *, context=None):
            h.log("add_done_callback", context is not None)
            super().add_done_callback(callback, context=context)

    future = Mine(loop=h.loop)
    h.log(future, future.extra)
    h.loop.call_soon(future.set_result, 5)
    h.complete(future)

    async def waits():
        return await future, await future

    h.complete(waits())


@parity
def test_awaiting_by_hand(h):
    future = h.loop.create_future()
    iterator = iter(future)
    h.log(type(iterator).__name__)
    h.log(next(iterator) is future, future._asyncio_future_blocking)
    h.attempt(next, iterator)
    future.set_result("r")
    other = future.__await__()
    h.attempt(next, other)
    h.attempt(next, other)
    fresh = iter(h.loop.create_future())
    h.attempt(fresh.send, 5)
    waiting = iter(h.loop.create_future())
    waiting.send(None)
    h.attempt(waiting.throw, ValueError("thrown"))
    waiting = iter(h.loop.create_future())
    waiting.send(None)
    h.attempt(waiting.throw, ValueError)
    h.attempt(waiting.close)
    waiting = iter(h.loop.create_future())
    for arguments in [(5,), ("text",), (int,)]:
        try:
            waiting.throw(*arguments)
        except TypeError:
            h.log("TypeError", arguments)


@parity
async def test_awaiting(h):
    future = h.loop.create_future()
    h.loop.call_soon(future.set_result, "value")
    h.log(await future)
    h.log(await future)
    failed = h.loop.create_future()
    h.loop.call_soon(failed.set_exception, ValueError("value"))
    await h.wait(failed)
    await h.wait(failed)
    cancelled = h.loop.create_future()
    h.loop.call_soon(cancelled.cancel, "message")
    await h.wait(cancelled)
    await h.wait(cancelled)


@parity
def test_exception_never_retrieved(h):
    future = h.loop.create_future()
    future.set_exception(ValueError("never retrieved"))
    del future
    h.log("dropped")
    h.catch()
    future = h.loop.create_future()
    future.set_exception(ValueError("to the handler"))
    del future
    future = h.loop.create_future()
    future.set_exception(ValueError("retrieved"))
    future.exception()
    del future


@parity
def test_pending_future_dropped_says_nothing(h):
    h.catch()
    h.loop.create_future()
    h.log("dropped")


@parity
def test_wrap_future(h):
    outer = concurrent.futures.Future()
    wrapped = asyncio.wrap_future(outer, loop=h.loop)
    outer.set_result("from a thread")
    h.complete(wrapped)
    outer = concurrent.futures.Future()
    wrapped = asyncio.wrap_future(outer, loop=h.loop)
    h.log(wrapped.cancel())
    h.turns(2)
    h.log(outer.cancelled())
    h.attempt(asyncio.wrap_future, 5, loop=h.loop)
    future = h.loop.create_future()
    h.log(asyncio.wrap_future(future) is future)
    future.cancel()


@parity
def test_argument_errors(h):
    future = h.loop.create_future()
    for name, arguments in [
        ("set_result", ()),
        ("set_exception", ()),
        ("result", (1,)),
        ("add_done_callback", ()),
        ("cancel", (1, 2)),
        ("done", (1,)),
    ]:
        try:
            getattr(future, name)(*arguments)
        except TypeError:
            h.log(name, "TypeError")
        else:
            h.log(name, "accepted")
    h.attempt(future.cancel, "positional message")
    h.attempt(future.result)


@parity
def test_callback_context(h):
    import contextvars

    variable = contextvars.ContextVar("variable", default="default")
    context = contextvars.copy_context()
    context.run(variable.set, "other")
    future = h.loop.create_future()
    future.add_done_callback(lambda f: h.log("given", variable.get()), context=context)
    variable.set("at add")
    future.add_done_callback(lambda f: h.log("copied", variable.get()))
    variable.set("at set")
    future.set_result(None)
    future.add_done_callback(lambda f: h.log("late", variable.get()))
    variable.set("after")
    h.turns()


@parity
def test_set_result_in_a_callback_of_itself(h):
    first, second = h.loop.create_future(), h.loop.create_future()
    first.add_done_callback(lambda f: second.set_result(f.result() + 1))
    second.add_done_callback(lambda f: h.log("second", f.result()))
    second.add_done_callback(lambda f: h.attempt(first.set_result, 9))
    first.set_result(1)
    h.turns(3)


@parity
@since(3, 14)
def test_awaited_by(h):
    async def inner():
        h.log(len(asyncio.current_task()._asyncio_awaited_by))
        await asyncio.sleep(0)

    async def outer():
        task = h.loop.create_task(inner())
        await asyncio.sleep(0)
        h.log(task._asyncio_awaited_by)
        await task
        h.log(task._asyncio_awaited_by)

    future = h.loop.create_future()
    h.log(future._asyncio_awaited_by)
    asyncio.future_add_to_awaited_by(future, h.loop.create_future())
    h.log(len(future._asyncio_awaited_by))

    async def gathered():
        await asyncio.gather(inner(), inner())

    h.complete(gathered())
