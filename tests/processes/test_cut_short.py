"""An exception may come between any two bytecodes of a process pool's Python code: Ctrl-C, what a handler of a signal
raises, what another thread raises. At each line of what the core calls, and of what that calls, one is raised here,
once; then the pool has to do all that it would have done: no call is lost, no worker left, `shutdown` comes to its end.
"""

import asyncio
import multiprocessing
import os
import signal
import sys
import threading
import time

import aioxide
import pytest
from aioxide._processes import signals as pool_signals

from . import cut_short
from .cut_short import DEADLINE, Other, Raises, outcome, same


def _state_of(pid):
    """What a process does that should have ended."""
    try:
        with open(f"/proc/{pid}/stat") as stat, open(f"/proc/{pid}/wchan") as wchan:
            return stat.read().split()[2], wchan.read()
    except OSError as error:
        return error


class Program:
    """What is done with a pool of one worker; what is raised is counted, and what was begun is gone on with."""

    method, cancel = "fork", False
    # Of all lines so many, spread over the whole, where each needs the time that it takes to start a process.
    lines = 16

    def __init__(self, raises):
        self.options = {"on_worker_death": "respawn"}
        self.choose()
        self.raises, self.caught, self.futures = raises, 0, []

    def choose(self):
        """Say what the pool is to be like."""

    def begin(self):
        raise NotImplementedError

    def call(self, function, *args):
        self.futures.append(self.loop.run_in_executor(self.pool, function, *args))

    async def main(self):
        await self.begin()
        await self.wait()

    async def wait(self):
        _, pending = await asyncio.wait(self.futures, timeout=DEADLINE)
        assert not pending

    def wait_on(self):
        # Where `main` was done when it was cut short, its end has stopped the loop already, for the next run.
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()
        self.loop.run_until_complete(self.wait())

    def step(self, function, again):
        for attempt in range(3):
            try:
                self.raises.expected = True
                value = (again if attempt else function)()
                self.raises.expect_none()
                return value
            except self.raises.kind:
                self.raises.expected = False
                self.caught += 1
        raise AssertionError("raised more than once")

    def run(self):
        self.loop = aioxide.new_event_loop()
        context = multiprocessing.get_context(self.method)
        self.pool = aioxide.ProcessPoolExecutor(1, context, **self.options)
        end = lambda: self.pool.shutdown(cancel_futures=self.cancel)  # noqa: E731
        try:
            sys.settrace(self.raises)
            self.step(
                lambda: self.loop.run_until_complete(self.main()),
                self.wait_on,
            )
            if self.cancel:
                end = self.end_at_once
            self.step(end, self.pool.shutdown)
        finally:
            sys.settrace(None)
        assert self.pool._manager.finished.is_set()
        self.loop.run_until_complete(self.wait())
        self.loop.close()
        deadline = time.monotonic() + 5
        while multiprocessing.active_children() and time.monotonic() < deadline:
            time.sleep(0.005)
        left = [(child, _state_of(child.pid)) for child in multiprocessing.active_children()]
        assert not left, self.raises.place
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ()), self.raises.place
        return [outcome(future) for future in self.futures]


class Death(Program):
    async def begin(self):
        for function, value in ((same, 0), (os._exit, 3), (same, 1), (same, 2)):
            self.call(function, value)


class DeathThatBreaks(Program):
    def choose(self):
        self.options = {}

    async def begin(self):
        self.call(same, 0)
        self.call(os._exit, 3)


class Retirement(Program):
    method, lines = "forkserver", 6

    def choose(self):
        self.options = {"max_tasks_per_child": 1}

    async def begin(self):
        for number in range(2):
            self.call(same, number)


class Idleness(Program):
    method, lines = "forkserver", 6

    def choose(self):
        self.options = {"idle_timeout": 0.01}

    async def begin(self):
        self.call(same, 0)

    async def wait(self):
        await super().wait()
        for _ in range(1000):
            if not self.pool.workers():
                return
            await asyncio.sleep(0.01)


class Stopping(Program):
    def choose(self):
        self.options["cancel_running"] = True

    async def begin(self):
        self.call(time.sleep, DEADLINE)
        while not any(worker.running for worker in self.pool.workers()):
            await asyncio.sleep(0.001)
        self.futures[0].cancel()


class Schedule(Program):
    async def begin(self):
        pool = self.pool
        late, dead = (
            pool.schedule(time.sleep, (DEADLINE,), timeout=0.02),
            pool.schedule(os._exit, (1,), retries=1),
        )
        self.futures += [asyncio.wrap_future(late), asyncio.wrap_future(dead)]
        # The loop serves the pool, not a thread: nothing waits for these but it.
        pool._pool.leave_home()
        self.call(same, 1)


class Cancelling(Program):
    cancel = True

    async def begin(self):
        self.call(same, 0)

    def end_at_once(self):
        self.futures += [self.loop.run_in_executor(self.pool, same, number) for number in range(6)]
        self.pool.shutdown(cancel_futures=True)


PROGRAMS = [Death, DeathThatBreaks, Retirement, Idleness, Stopping, Schedule, Cancelling]
HARD = bool(os.environ.get("AIOXIDE_HARD"))


def lines_of(program, least=10):
    """How many lines there are, and what the calls end in."""
    # On a busy machine the pool may be lent to its own thread, which nobody traces.
    for _ in range(5):
        seen = Raises(KeyboardInterrupt)
        outcomes = program(seen).run()
        if seen.count > least:
            return seen.count, outcomes
    raise AssertionError("nothing of it runs in this thread")


@pytest.mark.filterwarnings("ignore:.*use of fork")
@pytest.mark.parametrize("program", PROGRAMS)
def test_what_is_cut_short_at_any_line_is_done_all_the_same(program):
    count, expected = lines_of(program)
    step = 1 if HARD else max(count // program.lines, 1)
    for at in range(1 + os.getpid() % step, count + 1, step):
        raises = Raises(KeyboardInterrupt, at)
        this = program(raises)
        outcomes = this.run()
        if expected.count("CancelledError") and program is Cancelling:
            assert set(outcomes) <= {*expected, *range(6)}, raises.place
        else:
            assert outcomes == expected, raises.place
        assert this.caught == (raises.place != ""), raises.place


@pytest.mark.filterwarnings("ignore:.*use of fork")
def test_ctrl_c_goes_on_coming_where_the_start_of_a_worker_is_cut_short(monkeypatch):
    lines = pool_signals.no_interrupt.__wrapped__, pool_signals.restore_mask
    codes, in_one_piece = [function.__code__ for function in lines], cut_short._is_in_one_piece
    monkeypatch.setattr(
        cut_short, "_is_in_one_piece", lambda frame: frame.f_code in codes and in_one_piece(frame)
    )
    count, expected = lines_of(Death, least=4)
    for at in range(1, count + 1):
        assert Death(Raises(KeyboardInterrupt, at)).run() == expected


@pytest.mark.filterwarnings("ignore:.*use of fork")
def test_what_a_handler_of_a_signal_raises_is_reported_and_costs_nothing_else(monkeypatch):
    told = []
    monkeypatch.setattr("sys.unraisablehook", lambda hint: told.append(hint.exc_type))
    count, expected = lines_of(Death)
    for at in range(3, count, 1 if HARD else max(count // 20, 1)):
        told.clear()
        this = Death(Raises(Other, at))
        assert this.run() == expected, this.raises.place
        # A line that this run had no need of is not come to.
        assert this.caught + len(told) == (this.raises.place != ""), this.raises.place
        assert set(told) <= {Other}


def test_a_thread_that_waits_for_the_end_or_for_room_is_woken_whatever_is_cut_short():
    with aioxide.ProcessPoolExecutor(1, max_pending=1) as pool:
        pool.submit(same, 0).result(DEADLINE)
        futures = []
        calls = [pool.submit(time.sleep, 0.05) for _ in range(3)]
        thread = threading.Thread(target=lambda: futures.append(pool.submit(same, 1)))
        thread.start()
        waiter = threading.Thread(target=pool._manager.finished.wait)
        waiter.start()
        thread.join(DEADLINE)
        assert futures[0].result(DEADLINE) == 1 and [call.result(DEADLINE) for call in calls]
    waiter.join(DEADLINE)
    assert not waiter.is_alive()


def test_a_callback_that_is_interrupted_keeps_no_other_from_being_called():
    called = []

    def interrupt(_):
        raise KeyboardInterrupt

    pending = aioxide.PoolFuture()
    for callback in (called.append, interrupt, called.append):
        pending.add_done_callback(callback)
    with pytest.raises(KeyboardInterrupt):
        pending.set_result(1)
    assert called == [pending, pending]
