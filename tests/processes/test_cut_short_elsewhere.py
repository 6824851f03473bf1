"""As `test_cut_short.py`, where its thread serves the pool, or whoever waits for its end; and with exceptions
that another thread raises in the loop's (`PyThreadState_SetAsyncExc`), which come somewhere after the line."""

import concurrent.futures
import contextlib
import ctypes
import multiprocessing
import os
import sys
import threading
import time

import aioxide
import pytest

from tests.support.programs import until

from .cut_short import DEADLINE, Raises, outcome, same
from .test_cut_short import HARD, PROGRAMS, Cancelling

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork")


@pytest.fixture
def told(monkeypatch):
    """What was raised where nobody can be raised to."""
    told = []
    monkeypatch.setattr("sys.unraisablehook", lambda hint: told.append(hint.exc_type))
    return told


# ---------------------------------------------------------------------------------------- by the thread, or by no loop


def nap(value):
    time.sleep(0.02)
    return value


def death(pool):
    return [pool.submit(*call) for call in ((nap, 0), (os._exit, 3), (same, 1), (same, 2))]


def death_that_breaks(pool):
    return [pool.submit(*call) for call in ((nap, 0), (os._exit, 3))]


def retirement(pool):
    return [pool.submit(*call) for call in ((nap, 0), (same, 1))]


def stopping(pool):
    futures = [pool.submit(nap, 0), pool.submit(time.sleep, DEADLINE)]
    while not futures[1].running():
        time.sleep(0.001)
    futures[1].cancel()
    return futures


def timers(pool):
    late = pool.schedule(time.sleep, (DEADLINE,), timeout=0.02)
    return [late, pool.schedule(os._exit, (1,), retries=1), pool.submit(same, 1)]


RESPAWN = {"on_worker_death": "respawn"}
CASES = {
    death: ("fork", RESPAWN, 10),
    death_that_breaks: ("fork", {}, 10),
    retirement: ("forkserver", {"max_tasks_per_child": 1}, 4),
    stopping: ("fork", {**RESPAWN, "cancel_running": True}, 10),
    timers: ("fork", RESPAWN, 8),
}


class Served:
    """A program of `CASES`, with what is raised there."""

    def __init__(self, program, raises):
        self.program, self.raises, self.caught = program, raises, 0
        self.method, self.options, _ = CASES[program]

    def run(self):
        context = multiprocessing.get_context(self.method)
        self.pool = aioxide.ProcessPoolExecutor(1, context, **self.options)
        first = self.pool.submit(nap, 0)
        self.begun(first)
        first.result(DEADLINE)
        try:
            futures = self.program(self.pool)
            self.end(futures)
        finally:
            # The pool's thread may go on with it.
            self.raises.at = 0
        assert self.pool._manager.finished.is_set()
        assert not concurrent.futures.wait(futures, DEADLINE).not_done
        # Here and below: the pool's thread may still be at its end when whoever waited for the pool goes on.
        until(lambda: not multiprocessing.active_children(), "a worker has not ended", 5)
        return [outcome(future) for future in futures]

    def begun(self, first):
        """The first call is under way."""


class ByThread(Served):
    """Done callbacks run in the thread that serves the pool: one of them has it traced."""

    def begun(self, first):
        main = threading.get_ident()
        first.add_done_callback(lambda _: threading.get_ident() == main or sys.settrace(self.raises))

    def end(self, futures):
        self.pool.shutdown()


class ByNoLoop(Served):
    """`shutdown` serves a pool that has no other: in this thread, which is raised to."""

    def end(self, futures):
        self.pool._pool.leave_home()
        sys.settrace(self.raises)
        try:
            self.pool.shutdown()
        except KeyboardInterrupt:
            self.caught += 1
        finally:
            sys.settrace(None)
        self.pool.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize("server", [ByThread, ByNoLoop])
@pytest.mark.parametrize("program", CASES, ids=lambda program: program.__name__)
def test_whoever_serves_a_pool_does_all_of_what_was_cut_short_at_any_line(program, server, told):
    seen = Raises(KeyboardInterrupt)
    expected = server(program, seen).run()
    assert seen.count > 10, "nothing of it runs in this thread"
    step = 1 if HARD else max(seen.count // CASES[program][2], 1)
    for at in range(1 + os.getpid() % step, seen.count + 1, step):
        told.clear()
        cut_short_at(at, program, server, told, expected)


def cut_short_at(at, program, server, told, expected):
    raises = Raises(KeyboardInterrupt, at)
    this = server(program, raises)
    assert this.run() == expected, raises.place
    until(lambda: this.caught + len(told) == (raises.place != ""), lambda: (raises.place, told), 5)


# ------------------------------------------------------------------------------------------ raised by another thread


class Asks(Raises):
    """Has another thread raise in this one, from that line on: where it comes is left to the interpreter."""

    def __init__(self, at=0):
        super().__init__(KeyboardInterrupt, at)
        self.bell, self.sent = threading.Semaphore(0), 0
        self.thread, self.lock = threading.get_ident(), threading.Lock()
        self.sender = threading.Thread(target=self.send)
        self.sender.start()

    def strike(self):
        self.bell.release()

    def send(self):
        self.bell.acquire()
        while self.expected and self.forks():
            time.sleep(1e-4)
        with self.lock:
            if self.expected:
                raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
                self.sent += raise_in(ctypes.c_ulong(self.thread), ctypes.py_object(KeyboardInterrupt))

    def expect_none(self):
        if self.sent:
            return
        # If it is sent now, it comes here, behind this line.
        self.lock.acquire()
        self.expected = False
        self.lock.release()

    def forks(self):
        """Whether it is in `os.fork`, where each module's hooks are cut short in their own way."""
        frame = sys._current_frames()[self.thread]
        while frame is not None and not frame.f_code.co_filename.endswith("popen_fork.py"):
            frame = frame.f_back
        return frame is not None

    def end(self):
        self.bell.release()
        self.sender.join()


class NoLock(contextlib.nullcontext):
    def acquire(self):
        return True

    release = acquire


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_exception_that_another_thread_raises_in_the_loop_s_costs_nothing_else(program, told, monkeypatch):
    # Of logging's hooks for forks one leaves this locked if it is cut short.
    monkeypatch.setattr("logging._lock", NoLock())
    seen = Raises(KeyboardInterrupt)
    expected = program(seen).run()
    interval = sys.getswitchinterval()
    # So that the other thread has its turn a few bytecodes later.
    sys.setswitchinterval(1e-6)
    try:
        step = 1 if HARD else max(seen.count // 6, 1)
        for at in range(1 + os.getpid() % step, seen.count + 1, step):
            told.clear()
            raises = Asks(at)
            this = program(raises)
            try:
                outcomes = this.run()
            finally:
                raises.end()
            if program is Cancelling:
                assert set(outcomes) <= {*expected, *range(6)}, raises.place
            else:
                assert outcomes == expected, raises.place
            assert this.caught + len(told) == raises.sent, raises.place
    finally:
        sys.setswitchinterval(interval)
