"""What an object of ours holds is released when the object is whole again: a `__del__` that comes back finds it so."""

import gc
import socket
import sys

import aioxide
import pytest


class Comes:
    """Calls `back` when it goes."""

    def __init__(self, back):
        self.back = back

    def __del__(self):
        self.back()


@pytest.fixture
def loop():
    loop = aioxide.new_event_loop()
    yield loop
    loop.close()


def touch(future):
    """Everything that a future keeps beside its result."""
    future._cancel_message = "message"
    for _ in range(50):
        future.add_done_callback(print)
    future.remove_done_callback(print)
    repr(future)


def test_a_future_that_is_initialised_again(loop):
    if sys.version_info >= (3, 15):
        pytest.skip("by version: __init__ refuses a second time")
    future = loop.create_future()
    seen = []
    for _ in range(100):
        future._cancel_message = Comes(lambda: (touch(future), seen.append(1)))
        future.__init__(loop=loop)
    assert len(seen) == 100


def test_a_cancel_message_that_another_replaces(loop):
    future, seen = loop.create_future(), []

    def back():
        seen.append(1)
        touch(future)

    for _ in range(100):
        future._cancel_message = Comes(back)
    future._cancel_message = None
    assert len(seen) == 100


def test_a_traceback_that_another_replaces(loop):
    """The task of a future whose exception is set again, by its `__init__`, holds the frames of the first."""
    if sys.version_info >= (3, 15):
        pytest.skip("by version: __init__ refuses a second time")
    seen = []

    def fails(held):
        raise ValueError(held is None)

    def raised(held):
        try:
            fails(held)
        except ValueError as error:
            return error

    for _ in range(100):
        future = loop.create_future()
        future.set_exception(raised(Comes(lambda f=future: (touch(f), seen.append(1)))))
        future.__init__(loop=loop)
        future.set_exception(raised(None))
        future.exception()
        del future
        gc.collect(0)
    gc.collect()
    assert len(seen) == 100


def test_a_handle_whose_source_is_replaced(loop):
    handle, seen = loop.call_soon(print), []

    def back():
        seen.append(1)
        handle._source_traceback = None
        loop.call_soon(handle.cancelled)

    for _ in range(100):
        handle._source_traceback = Comes(back)
    handle._source_traceback = None
    handle.cancel()
    assert len(seen) == 100


def test_collections_within_a_pools_statistics():
    """`stats()` makes tuples, which may collect; a callback of the collector waits for a worker that counts."""
    with aioxide.ThreadPoolExecutor(2) as pool:
        ran, busy = [], []

        def collected(phase, info):
            if phase == "start" and not busy:
                busy.append(1)
                ran.append(pool.submit(len, "four").result(10))
                busy.clear()

        pool.submit(len, "").result()
        threshold = gc.get_threshold()
        gc.callbacks.append(collected)
        gc.set_threshold(1)
        try:
            for _ in range(300):
                pool.stats()
        finally:
            gc.set_threshold(*threshold)
            gc.callbacks.remove(collected)
        assert ran and set(ran) == {4}
        assert pool.submit(len, "five5").result(10) == 5


def test_timers_that_are_swept_while_others_are_set(loop):
    """A cancelled timer's callback comes back when the heap is swept of it."""
    seen = []

    def back():
        seen.append(1)
        timers.append(loop.call_later(1000, print))

    timers = []
    for _ in range(300):
        timers.append(loop.call_later(1000, Comes(back).back))
    for timer in timers[:300]:
        timer.cancel()
    del timers[:300]
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert len(loop._scheduled) <= 300 + len(seen)


def test_descriptors_whose_handles_come_back(loop):
    """A reader that another replaces, or that is removed, goes when the table of descriptors is whole."""
    near, far = socket.socketpair()
    seen = []
    with near, far:

        def back():
            seen.append(1)
            loop.remove_reader(near)
            loop.add_writer(far, print)
            loop.remove_writer(far)

        for _ in range(50):
            held = Comes(back)
            loop.add_reader(near, lambda held=held: None)
            del held
            loop.add_reader(near, print)
            loop.remove_reader(near)
    assert len(seen) == 50
