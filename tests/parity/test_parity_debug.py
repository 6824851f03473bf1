"""Debug mode and what it says: slow callbacks, origins of coroutines and objects, threads."""

import asyncio
import logging
import sys
import time

from .harness import parity


def busy(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@parity(debug=[True])
def test_slow_callback(h):
    h.loop.slow_callback_duration = 0.01
    h.loop.call_soon(busy, 0.015)
    h.turns()
    h.loop.call_later(0, busy, 0.015)
    h.turns(2)


@parity(debug=[True])
def test_slow_task_step(h):
    async def slow():
        busy(0.015)
        await asyncio.sleep(0)
        return "done"

    h.loop.slow_callback_duration = 0.01
    h.complete(h.loop.create_task(slow(), name="slow"))


@parity(debug=[False])
def test_slow_callbacks_are_not_told_in_normal_mode(h):
    h.loop.slow_callback_duration = 0.001
    h.loop.call_soon(busy, 0.005)
    h.turns()
    h.log("nothing said")


@parity
def test_slow_callback_limit_can_be_changed_while_it_runs(h):
    def change():
        h.loop.slow_callback_duration = 0.005
        h.loop.call_soon(busy, 0.01)

    h.loop.call_soon(change)
    h.turns(2)
    h.log(h.loop.slow_callback_duration)


@parity
def test_set_debug_while_it_runs(h):
    def tracking():
        return sys.get_coroutine_origin_tracking_depth() > 0

    async def main():
        h.log(tracking(), h.loop.get_debug())
        h.loop.set_debug(True)
        await asyncio.sleep(0)
        h.log(tracking(), h.loop.get_debug())
        h.loop.set_debug(False)
        await asyncio.sleep(0)
        h.log(tracking(), h.loop.get_debug())

    h.complete(main())
    h.log(tracking())


@parity
def test_origin_tracking_ends_with_the_run(h):
    h.loop.call_soon(lambda: h.log(sys.get_coroutine_origin_tracking_depth() > 0))
    h.turns()
    h.log(sys.get_coroutine_origin_tracking_depth())


@parity
def test_source_tracebacks(h):
    async def nothing():
        pass

    handle = h.loop.call_soon(h.log, "ran")
    timer = h.loop.call_later(50, print)
    future = h.loop.create_future()
    task = h.loop.create_task(nothing())
    for made in (handle, timer, task):
        traceback = made._source_traceback
        h.log(traceback and (traceback[-1].name, traceback[-1].lineno))
    h.log(future._source_traceback is None)
    timer.cancel()
    h.complete(task)


@parity
def test_exception_context_tells_the_source(h):
    h.catch()
    h.loop.call_soon(lambda: 1 / 0)
    h.turns()
    future = h.loop.create_future()
    future.set_exception(ValueError("never retrieved"))
    del future


@parity(debug=[True])
def test_the_handle_that_was_running_is_told(h):
    """In debug mode the default handler adds where the callback was scheduled that reported the error."""

    class Records(logging.Handler):
        def emit(self, record):
            h.log([line for line in record.getMessage().splitlines() if line.startswith("handle_traceback")])

    handler = Records()
    logging.getLogger("asyncio").addHandler(handler)
    h.loop.call_soon(h.loop.call_exception_handler, {"message": "reported by a callback"})
    h.turns()
    logging.getLogger("asyncio").removeHandler(handler)


@parity
def test_asyncgen_hooks(h):
    before = sys.get_asyncgen_hooks()

    def look():
        hooks = sys.get_asyncgen_hooks()
        h.log(callable(hooks.firstiter), callable(hooks.finalizer))

    h.loop.call_soon(look)
    h.turns()
    h.log(sys.get_asyncgen_hooks() == before)


@parity(debug=[True])
def test_a_blocking_executor_call_is_told(h):
    # Starting the thread is part of a callback, and takes its time on a busy machine.
    h.loop.slow_callback_duration = 1.0

    async def main():
        await asyncio.to_thread(time.sleep, 1.2)  # in another thread: not a slow callback
        return "fine"

    h.complete(main())
