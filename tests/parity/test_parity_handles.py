"""call_soon and its handle: order, arguments, cancellation, repr, errors."""

import asyncio
import functools
import weakref

from .harness import parity, since


def named(*args, **kwargs):
    return args


@parity
def test_order_is_fifo(h):
    for i in range(5):
        h.loop.call_soon(h.log, "soon", i)
    h.loop.call_soon_threadsafe(h.log, "threadsafe")
    h.loop.call_soon(h.log, "last")
    h.turns()


@parity
def test_scheduled_in_a_callback_runs_in_the_next_turn(h):
    def first():
        h.log("first")
        h.loop.call_soon(second)
        h.loop.call_soon(h.loop.stop)

    def second():
        h.log("second")
        h.loop.call_soon(h.log, "third")

    h.loop.call_soon(first)
    h.loop.call_soon(h.log, "between")
    h.loop.run_forever()
    h.log("stopped")
    h.turns(2)


@parity
def test_arguments_reach_the_callback(h):
    h.loop.call_soon(named)
    h.loop.call_soon(h.log, 1, "two", [3], (4,), {"five": 5})
    h.loop.call_soon(functools.partial(h.log, "partial", sorted({"a": 1})), "tail")
    h.turns()


@parity
def test_cancel_before_it_runs(h):
    handle = h.loop.call_soon(h.log, "never")
    h.log(handle.cancelled())
    h.log(handle.cancel(), handle.cancelled(), handle)
    h.log(handle.cancel(), handle.cancelled())
    h.turns()
    h.log(handle.cancelled(), handle)


@parity
def test_cancel_the_next_one_in_the_same_turn(h):
    handles = []
    h.loop.call_soon(lambda: handles[0].cancel())
    handles.append(h.loop.call_soon(h.log, "never"))
    h.loop.call_soon(h.log, "after")
    h.turns()


@parity
def test_cancel_after_and_while_it_ran(h):
    handles = []
    handles.append(h.loop.call_soon(lambda: h.log("cancels itself", handles[0].cancel(), handles[0])))
    h.turns()
    h.log(handles[0].cancelled(), handles[0])
    late = h.loop.call_soon(h.log, "ran")
    h.turns()
    late.cancel()
    h.log(late.cancelled())


@parity
def test_handle_repr(h):
    handles = [
        h.loop.call_soon(named, 1, "two"),
        h.loop.call_soon(functools.partial(named, 1, key=2), 3),
        h.loop.call_soon(functools.partial(functools.partial(named, 1), 2)),
        h.loop.call_soon(h.lines.append, "x"),
        h.loop.call_soon(h.log, "y"),
        h.loop.call_soon(len, ""),
        h.loop.call_soon(named, "long " * 100),
        h.loop.call_soon(lambda: None),
        h.loop.call_soon(type("Callable", (), {"__call__": lambda self: None})()),
        h.loop.call_soon_threadsafe(named),
    ]
    for handle in handles:
        h.log(handle)
    h.turns()


@parity
def test_repr_of_a_handle_that_ran(h):
    handles = [
        h.loop.call_soon(named, 1, "two"),
        h.loop.call_soon(functools.partial(named, 1, key=2), 3),
        h.loop.call_at(0, named, 1),
    ]
    h.turns(2)
    h.log(handles)
    for handle in handles:
        handle.cancel()
    h.log(handles)


@parity
def test_handle_type(h):
    handle = h.loop.call_soon(named)
    timer = h.loop.call_later(100, named)
    for which in (handle, timer):
        h.log(type(which).__name__, isinstance(which, asyncio.Handle), isinstance(which, asyncio.TimerHandle))
        h.log(issubclass(which.__class__, asyncio.Handle), bool(which))
        h.log(weakref.ref(which)() is which)
    h.log(handle == handle, handle == h.loop.call_soon(named), handle == 1, hash(handle) == hash(handle))
    timer.cancel()


@parity
def test_handle_private_names_that_libraries_read(h):
    handle = h.loop.call_soon(named, 1, 2)
    h.log(handle._callback, handle._args, handle._cancelled, handle._loop is h.loop)
    h.log(bool(handle._source_traceback), handle._repr)
    handle.cancel()
    h.log(handle._callback, handle._args, handle._cancelled)
    timer = h.loop.call_later(50, named, 3)
    h.log(timer._callback, timer._args, timer._cancelled, timer._scheduled, timer._when == timer.when())
    timer.cancel()
    h.log(timer._callback, timer._args, timer._cancelled)


@parity
@since(3, 12)
def test_handle_context(h):
    import contextvars

    context = contextvars.copy_context()
    h.log(h.loop.call_soon(named, context=context).get_context() is context)
    h.log(type(h.loop.call_soon(named).get_context()))
    timer = h.loop.call_later(9, named, context=context)
    h.log(timer.get_context() is context)
    timer.cancel()


@parity
@since(3, 12)
def test_handle_context_outlives_cancel_and_run(h):
    import contextvars

    context = contextvars.copy_context()
    cancelled = h.loop.call_soon(named, context=context)
    ran = h.loop.call_soon(named, context=context)
    cancelled.cancel()
    h.turns()
    h.log(cancelled.get_context() is context, ran.get_context() is context)


@parity
def test_callback_that_is_no_callable(h):
    async def coroutine_function():
        pass

    coroutine = coroutine_function()
    for callback in (None, 5, "text", coroutine_function, coroutine):
        h.attempt(h.loop.call_soon, callback)
        h.attempt(h.loop.call_soon_threadsafe, callback)
        h.attempt(h.loop.call_later, 0.0, callback)
        h.attempt(h.loop.call_at, h.loop.time(), callback)
    coroutine.close()
    h.turns(2)


@parity
def test_wrong_arguments(h):
    for function in (h.loop.call_soon, h.loop.call_soon_threadsafe):
        for arguments, keywords in [((), {}), ((named,), {"key": 1}), ((), {"callback": named, "more": 1})]:
            try:
                function(*arguments, **keywords)
            except TypeError:
                h.log("TypeError")
            else:
                h.log("accepted")
    h.log(isinstance(h.loop.call_soon(named, context=None), asyncio.Handle))
    h.turns()


@parity
def test_context_that_is_none_of_contextvars(h):
    # asyncio finds out when the callback is due; the message names what its code happens to do with it.
    h.loop.set_exception_handler(lambda loop, context: h.log("handler", list(context), context["message"]))
    h.attempt(h.loop.call_soon, h.log, "x", context=5)
    h.turns()


@parity
def test_on_a_closed_loop(h):
    h.loop.close()
    h.attempt(h.loop.call_soon, named)
    h.attempt(h.loop.call_soon_threadsafe, named)
    h.attempt(h.loop.call_later, 1, named)
    h.attempt(h.loop.call_at, 1, named)
    h.attempt(h.loop.call_soon, None)


@parity
def test_what_is_pending_at_close_is_dropped(h):
    class Argument:
        def __del__(self):
            h.log("argument dropped")

    h.loop.call_soon(named, Argument())
    h.loop.call_later(50, named, Argument())
    h.log("closing")
    h.loop.close()
    h.log("closed")


@parity
def test_a_handle_lets_go_of_its_arguments_when_cancelled(h):
    class Argument:
        def __del__(self):
            h.log("argument dropped")

    handle = h.loop.call_soon(named, Argument())
    handle.cancel()
    h.log("cancelled")
    timer = h.loop.call_later(50, named, Argument())
    timer.cancel()
    h.log("timer cancelled")


@parity
def test_stop_keeps_the_rest_of_the_turn(h):
    h.loop.call_soon(h.log, "one")
    h.loop.call_soon(h.loop.stop)
    h.loop.call_soon(h.log, "two")
    h.loop.run_forever()
    h.log("first run over")
    h.loop.call_soon(h.log, "three")
    h.turns()


@parity
def test_stop_before_the_run(h):
    h.loop.stop()
    h.loop.call_soon(h.log, "one")
    h.loop.call_soon(lambda: h.loop.call_soon(h.log, "not yet"))
    h.loop.run_forever()
    h.log("stopped at once")
    h.turns()


@parity
def test_threadsafe_from_a_thread(h):
    import threading

    types = []

    def work():
        for i in range(3):
            handle = h.loop.call_soon_threadsafe(h.log, "from thread", i)
        types.append(isinstance(handle, asyncio.Handle))
        h.loop.call_soon_threadsafe(h.loop.stop)

    thread = threading.Thread(target=work)
    h.loop.call_soon(thread.start)
    h.loop.run_forever()
    thread.join()
    h.log(types)


@parity(debug=[True])
def test_wrong_thread(h):
    import threading

    def work():
        h.attempt(h.loop.call_soon, named)
        h.attempt(h.loop.call_later, 1, named)
        h.attempt(h.loop.call_at, h.loop.time() + 1, named)
        h.loop.call_soon_threadsafe(h.loop.stop)

    thread = threading.Thread(target=work)
    h.loop.call_soon(thread.start)
    h.loop.run_forever()
    thread.join()


@parity
def test_a_subclass_of_handle_made_by_hand(h):
    handle = asyncio.Handle(h.log, ("by hand",), h.loop)
    h.log(handle)
    handle._run()
    h.loop.call_soon(handle._run)
    h.turns()
    handle.cancel()
    h.log(handle)
