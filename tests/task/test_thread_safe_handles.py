"""Handles of call_soon_threadsafe. From 3.14 on, another thread that cancels one waits while its callback runs."""

import asyncio.events
import contextvars
import sys
import threading
import time

import aioxide
import pytest

WAITS = hasattr(asyncio.events, "_ThreadSafeHandle")
waits = pytest.mark.by_version(not WAITS, "handles that let a cancelling thread wait are new in 3.14")


@pytest.fixture(params=[aioxide.new_event_loop, asyncio.SelectorEventLoop], ids=["aioxide", "asyncio"])
def loop(request):
    loop = request.param()
    yield loop
    loop.close()


class Callback:
    """Takes a moment, and knows when it was in it."""

    def __init__(self, loop, fails=False):
        self.loop, self.fails = loop, fails
        self.started, self.finished = threading.Event(), threading.Event()

    def __call__(self):
        self.started.set()
        time.sleep(0.05)
        self.finished.set()
        self.loop.call_soon(self.loop.stop)
        if self.fails:
            raise ValueError("from the callback")


def run_with_threads(loop, *functions):
    """Run the loop while each function runs in a thread; what they returned."""
    results = {}

    def call(number, function):
        results[number] = function()

    threads = [threading.Thread(target=call, args=pair) for pair in enumerate(functions)]
    for thread in threads:
        thread.start()
    loop.run_forever()
    for thread in threads:
        thread.join(20)
    return [results[number] for number in range(len(functions))]


def test_is_asyncios_class(loop):
    expected = asyncio.events._ThreadSafeHandle if WAITS else asyncio.Handle
    handle = loop.call_soon_threadsafe(print)
    assert isinstance(handle, expected) and handle.__class__ is expected
    assert "print()" in repr(handle)
    context = contextvars.copy_context()
    assert loop.call_soon_threadsafe(print, context=context)._context is context


@waits
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("what", ["cancel", "cancelled"])
def test_other_threads_wait(loop, what, fails):
    loop.set_exception_handler(lambda loop, context: None)
    callback = Callback(loop, fails)
    handle = loop.call_soon_threadsafe(callback)

    def ask():
        callback.started.wait(20)
        getattr(handle, what)()
        return callback.finished.is_set()

    assert run_with_threads(loop, ask, ask, ask) == [True, True, True]


@waits
def test_cancelling_before_it_runs_does_not_wait(loop):
    handle = loop.call_soon_threadsafe(Callback(loop))
    thread = threading.Thread(target=handle.cancel)
    thread.start()
    thread.join(20)
    assert not thread.is_alive() and handle.cancelled()


def test_cancelling_itself_does_not_wait(loop):
    seen = []

    def callback():
        handle.cancel()
        seen.append(handle.cancelled())
        loop.stop()

    handle = loop.call_soon_threadsafe(callback)
    loop.run_forever()
    assert seen == [True]


@waits
def test_the_callbacks_thread_may_be_waited_for(loop):
    """Nobody who waits for the callback is needed by it: it may even start the thread that cancels it."""
    threads = []

    def callback():
        thread = threading.Thread(target=handle.cancel)
        thread.start()
        threads.append(thread)
        loop.stop()

    handle = loop.call_soon_threadsafe(callback)
    loop.run_forever()
    threads[0].join(20)
    assert not threads[0].is_alive() and handle.cancelled()


def test_other_handles_do_not_wait(loop):
    callback = Callback(loop)
    handle = loop.call_soon(callback)

    def cancel():
        callback.started.wait(20)
        handle.cancel()
        return callback.finished.is_set()

    assert run_with_threads(loop, cancel) == [False]


def test_many_from_many_threads(loop):
    seen = []

    def schedule():
        for number in range(200):
            handle = loop.call_soon_threadsafe(seen.append, number)
            if number % 3 == 0:
                handle.cancel()
        return True

    loop.call_later(0.2 if sys.gettrace() is None else 2, loop.stop)
    assert run_with_threads(loop, *[schedule] * 4) == [True] * 4
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert len(seen) >= 4 * 133
