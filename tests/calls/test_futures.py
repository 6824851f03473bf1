"""The future of a pool: a `concurrent.futures.Future` in all that it does, without a lock until one is asked for."""

import asyncio
import concurrent.futures
import copy
import inspect
import logging
import pickle
import signal
import threading
import time
from concurrent.futures import CancelledError, InvalidStateError

import aioxide
import pytest
from aioxide import PoolFuture as Future

from tests.support.programs import DEADLINE, output_of

StandardFuture = concurrent.futures.Future
FUTURES = [StandardFuture, Future]


def deeds(future):
    """All that can be done to a future, by name."""
    return {
        "run": future.set_running_or_notify_cancel,
        "return": lambda: future.set_result("result"),
        "raise": lambda: future.set_exception(ValueError("wrong")),
        "cancel": future.cancel,
        "lock": lambda: future._condition and None,
        "callback": lambda: future.add_done_callback(lambda done: future.log.append("called")),
    }


HISTORIES = [
    " ".join(steps)
    for steps in [
        ("return",),
        ("raise",),
        ("cancel",),
        ("run", "return"),
        ("run", "cancel", "return"),
        ("cancel", "run", "cancel"),
        ("cancel", "return"),
        ("cancel", "run", "return"),
        ("return", "return"),
        ("return", "cancel"),
        ("return", "run"),
        ("raise", "raise"),
        ("run", "run"),
        ("callback", "callback", "return", "callback"),
        ("callback", "cancel", "run"),
        ("callback", "run", "raise", "callback"),
    ]
] + [
    "lock " + steps
    for steps in ("return", "raise", "cancel run", "callback run return callback", "cancel return")
]


def history(kind, steps, caplog):
    """What a future shows after each of these steps."""
    future = kind()
    future.log = []
    seen = []
    for step in steps.split():
        try:
            outcome = deeds(future)[step]()
        except Exception as error:
            outcome = type(error), str(error).replace(hex(id(future)), "ADDRESS")
        looks = [future.done(), future.cancelled(), future.running(), future._state]
        try:
            looks += [future.result(0), future.exception(0)]
        except Exception as error:
            looks.append((type(error), str(error)))
        seen.append(
            (step, outcome, looks, list(future.log), repr(future).replace(hex(id(future)), "ADDRESS"))
        )
    return seen


@pytest.mark.parametrize("steps", HISTORIES)
def test_it_has_the_history_of_the_standard_future(steps, caplog):
    assert history(Future, steps, caplog) == history(StandardFuture, steps, caplog)


def test_names_and_signatures_are_the_standard_ones():
    for name, method in inspect.getmembers(StandardFuture, inspect.isfunction):
        if name.startswith("__"):
            continue
        ours = list(inspect.signature(getattr(Future, name)).parameters)
        assert ours == list(inspect.signature(method).parameters), name


@pytest.mark.parametrize(
    "arguments",
    [((1, 2), {}), (("soon",), {}), ((), {"time": 1}), ((1e300,), {}), ((float("nan"),), {})],
    ids=str,
)
@pytest.mark.parametrize("method", ["result", "exception"])
def test_bad_timeouts_are_refused_as_usual(method, arguments):
    errors = []
    for kind in FUTURES:
        args, options = arguments
        with pytest.raises((TypeError, OverflowError, ValueError, TimeoutError)) as caught:
            getattr(kind(), method)(*args, **options)
        errors.append((caught.type, str(caught.value)))
    assert errors[0] == errors[1]


@pytest.mark.parametrize("timeout", [0, 0.0, -1, -1.5, 0.01, True])
def test_it_gives_up_when_the_time_is_over(timeout):
    for kind in FUTURES:
        with pytest.raises(TimeoutError, match=r"^$"):
            kind().result(timeout)


def test_it_is_never_early():
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        Future().result(timeout=0.05)
    assert time.monotonic() - start >= 0.05


@pytest.mark.parametrize("timeout", [None, DEADLINE])
@pytest.mark.parametrize("locked", [False, True])
def test_it_wakes_all_who_wait(timeout, locked):
    future = Future()
    results = []
    threads = [threading.Thread(target=lambda: results.append(future.result(timeout))) for _ in range(5)]
    for thread in threads:
        thread.start()
    if locked:
        future.__class__._condition.__get__(future)
    time.sleep(0.02)
    future.set_result("result")
    for thread in threads:
        thread.join(DEADLINE)
    assert results == ["result"] * 5


def test_it_wakes_who_waits_when_inherited_code_finishes_it():
    # A subclass or a library may call the standard method unbound; it only sets attributes, under the condition.
    future = Future()
    threading.Timer(0.02, StandardFuture.set_result, (future, 7)).start()
    assert future.result(DEADLINE) == 7
    future = Future()
    threading.Timer(0.02, StandardFuture.cancel, (future,)).start()
    with pytest.raises(CancelledError):
        future.result(DEADLINE)


def test_it_respects_a_lock_that_somebody_holds():
    # `wait()` holds the conditions of all its futures while it looks at them: nothing may change meanwhile.
    future = Future()
    with future._condition:
        thread = threading.Thread(target=future.set_result, args=(1,))
        thread.start()
        time.sleep(0.05)
        assert not future.done()
    thread.join(DEADLINE)
    assert future.result(0) == 1


def test_no_lock_is_made_for_a_call():
    made = []
    original = threading.Condition

    class Counted(original):
        def __init__(self, *args):
            made.append(self)
            super().__init__(*args)

    with aioxide.ThreadPoolExecutor(1) as pool:
        future = Future()
        assert type(future._condition) is original  # by whoever asks
        pool.submit(int).result()
        threading.Condition = Counted
        try:
            future = pool.submit(int)
            future.add_done_callback(id)
            assert future.result(DEADLINE) == 0
            assert future.done()
            assert not future.cancel()
        finally:
            threading.Condition = original
    assert made == []


def test_wait_and_as_completed():
    with aioxide.ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(time.sleep, 0.001 * i) for i in range(20)]
        assert set(concurrent.futures.as_completed(calls, DEADLINE)) == set(calls)
        calls = [pool.submit(time.sleep, 0.001 * i) for i in range(20)]
        done, pending = concurrent.futures.wait(calls, DEADLINE)
        assert (done, pending) == (set(calls), set())
        release = threading.Event()
        blocked = pool.submit(release.wait, DEADLINE)
        failing = pool.submit(lambda: 1 / 0)
        done, pending = concurrent.futures.wait(
            [blocked, failing], DEADLINE, return_when=concurrent.futures.FIRST_EXCEPTION
        )
        assert (done, pending) == ({failing}, {blocked})
        release.set()


def test_callbacks_are_called_in_order_and_their_exceptions_logged(caplog):
    future, calls = Future(), []
    future.add_done_callback(lambda done: calls.append(1))
    future.add_done_callback(lambda done: 1 / 0)

    def adds_another(done):
        calls.append(2)
        done.add_done_callback(lambda done: calls.append(3))

    future.add_done_callback(adds_another)
    future.add_done_callback(lambda done: calls.append(4))
    with caplog.at_level(logging.ERROR, "concurrent.futures"):
        future.set_result(None)
    assert calls == [1, 2, 3, 4]
    (record,) = caplog.records
    assert record.getMessage().startswith("exception calling callback for <Future at")
    assert record.exc_info[0] is ZeroDivisionError


def test_a_callback_may_raise_what_is_no_exception():
    # As in the standard future, it comes out of set_result(); a pool's worker logs it and goes on.
    def leave(done):
        raise SystemExit

    future = Future()
    future.add_done_callback(leave)
    with pytest.raises(SystemExit):
        future.set_result(None)
    with aioxide.ThreadPoolExecutor(1) as pool:
        release = threading.Event()
        future = pool.submit(release.wait, DEADLINE)
        future.add_done_callback(leave)
        release.set()
        assert pool.submit(int).result(DEADLINE) == 0


def test_it_cannot_be_copied():
    for act in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot pickle"):
            act(Future())


def test_an_unknown_state_is_refused():
    with pytest.raises(ValueError, match="'DONE' is not a state"):
        Future()._state = "DONE"


def test_it_can_be_awaited():
    async def main(pool):
        assert await pool.submit(pow, 2, 3) == 8
        with pytest.raises(ZeroDivisionError):
            await pool.submit(lambda: 1 / 0)
        return await asyncio.gather(*[pool.submit(pow, 2, i) for i in range(5)])

    with aioxide.ThreadPoolExecutor(2) as pool:
        for factory in (aioxide.new_event_loop, asyncio.new_event_loop):
            loop = factory()
            assert loop.run_until_complete(main(pool)) == [1, 2, 4, 8, 16]
            loop.close()


def test_cancelling_the_task_that_awaits_it_cancels_it():
    release = threading.Event()

    async def main(pool):
        runs = pool.submit(release.wait, DEADLINE)
        waits = pool.submit(int)
        task = asyncio.ensure_future(waits)
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert waits.cancelled()
        release.set()
        assert await runs

    with aioxide.ThreadPoolExecutor(1) as pool:
        aioxide.run(main(pool))


def test_set_result_twice_says_so():
    future = Future()
    future.set_result(1)
    with pytest.raises(InvalidStateError, match=r"^FINISHED: <Future at .* state=finished returned int>$"):
        future.set_result(2)


INTERRUPTED = """
import os, signal, sys, threading, time
import aioxide

pool = aioxide.ThreadPoolExecutor(1)
release = threading.Event()
call = pool.submit(release.wait, 60)
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
begun = time.monotonic()
try:
    call.result(*eval(sys.argv[1]))
except KeyboardInterrupt:
    print("interrupted" if time.monotonic() - begun < 30 else "late")
release.set()
print(call.result())
"""


@pytest.mark.parametrize("timeout", ["()", "(60,)"])
def test_ctrl_c_ends_the_wait(timeout):
    assert output_of(INTERRUPTED, timeout) == ["interrupted", "True"]


def test_a_signal_handler_that_returns_does_not_end_the_wait():
    future, handled = Future(), []
    before = signal.signal(signal.SIGUSR1, lambda *_: handled.append(1))
    try:
        threading.Timer(0.05, signal.raise_signal, (signal.SIGUSR1,)).start()
        threading.Timer(0.2, future.set_result, (5,)).start()
        assert future.result(DEADLINE) == 5
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert handled == [1]
