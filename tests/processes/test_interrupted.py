"""Interrupts and process pools: one that is a call's outcome interrupts nobody, one that comes while a result is read
is raised once and costs no other result, and Ctrl-C in a terminal, which reaches workers too, breaks no pool."""

import asyncio
import concurrent.futures
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import aioxide
import pytest

from tests.support import process_tasks as tasks

DEADLINE = 60


def made_by(parent):
    if os.getpid() == parent:
        raise KeyboardInterrupt
    return parent


class Interrupts:
    """Cannot be read in the process whose number it has."""

    def __init__(self, parent):
        self.parent = parent

    def __reduce__(self):
        return made_by, (self.parent,)


def same(value):
    return value


@pytest.mark.parametrize("at", [0, 2, 5])
def test_results_behind_one_that_is_interrupted_arrive(at):
    loop = aioxide.new_event_loop()
    with aioxide.ProcessPoolExecutor(1, on_worker_death="respawn") as pool:

        def call(function, value):
            return loop.run_in_executor(pool, function, value)

        async def warm():
            for _ in range(5):  # until the worker is trusted with several calls at a time
                await asyncio.gather(*[call(same, number) for number in range(500)])

        async def main():
            futures[:] = [
                call(*((Interrupts, os.getpid()) if number == at else (same, number))) for number in range(6)
            ]
            # Busy for so long that all of them have come when the loop looks; and not much longer, or a thread
            # serves the pool, which no signal handler runs in.
            blocked = loop.time() + 0.003
            while loop.time() < blocked:
                pass
            await asyncio.wait(futures, timeout=DEADLINE)

        def once():
            try:
                loop.run_until_complete(main())
            except KeyboardInterrupt:
                return True
            finally:
                loop.run_until_complete(asyncio.wait(futures, timeout=DEADLINE))
                assert [future.done() for future in futures] == [True] * 6
                error = futures.pop(at).exception()
                assert isinstance(error, concurrent.futures.process.BrokenProcessPool)
                assert isinstance(error.__cause__, KeyboardInterrupt)
                assert [future.result() for future in futures] == [n for n in range(6) if n != at]
            return False

        futures: list[asyncio.Future[int]] = []
        loop.run_until_complete(warm())
        assert any(once() for _ in range(50))
        assert pool.submit(same, 7).result(DEADLINE) == 7
    loop.close()


def test_a_result_that_cannot_be_read_in_a_thread_interrupts_nobody(monkeypatch):
    """Handlers of signals run in the main thread: elsewhere a KeyboardInterrupt is the data's own."""
    told = []
    monkeypatch.setattr("sys.unraisablehook", lambda hint: told.append(hint))
    with aioxide.ProcessPoolExecutor(1) as pool:
        error = pool.submit(Interrupts, os.getpid()).exception(DEADLINE)
        assert isinstance(error, concurrent.futures.process.BrokenProcessPool)
        assert isinstance(error.__cause__, KeyboardInterrupt)
        assert pool.submit(same, 7).result(DEADLINE) == 7
    assert not told


# ------------------------------------------------------------------------------------------- an interrupt as a result


def shown(error):
    """What is to be the same of an exception; of groups, what is in them too."""
    inner = [shown(each) for each in getattr(error, "exceptions", ())]
    return type(error), error.args if not inner else error.args[0], inner, type(error.__cause__).__name__


@pytest.fixture(scope="module")
def outcomes():
    """Of each kind of exception that ends a call, what the standard library's pool makes of it."""
    with concurrent.futures.ProcessPoolExecutor(1) as pool:
        futures = [pool.submit(tasks.raise_kind, number) for number in range(len(tasks.kinds()))]
        return [shown(future.exception(DEADLINE)) for future in futures]


@pytest.fixture
def quiet(monkeypatch, capfd):
    """Nothing may be told to stderr, nor to a hook."""
    told = []
    monkeypatch.setattr("sys.unraisablehook", lambda hint: told.append(hint))
    yield
    assert told == [] and capfd.readouterr().err == ""


@pytest.mark.usefixtures("quiet")
def test_every_exception_that_ends_a_call_is_its_future_s_and_interrupts_nobody(outcomes):
    with aioxide.ProcessPoolExecutor(1) as pool:
        for number, expected in enumerate(outcomes):
            assert shown(pool.submit(tasks.raise_kind, number).exception(DEADLINE)) == expected
        assert pool.submit(same, 7).result(DEADLINE) == 7


# A coroutine cannot end in one of these, asyncio.Future refuses it or changes its class.
ODD = (StopIteration, concurrent.futures.CancelledError)


async def awaited(pool, number):
    future = asyncio.get_running_loop().run_in_executor(pool, tasks.raise_kind, number)
    await asyncio.wait([future], timeout=DEADLINE)
    try:
        await future
    except BaseException as error:
        assert await asyncio.get_running_loop().run_in_executor(pool, same, 7) == 7
        return error
    return None


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("server", ["loop", "thread"])
@pytest.mark.parametrize("how", ["run", "bare loop"])
def test_every_exception_that_ends_a_call_is_raised_once_in_the_coroutine(outcomes, server, how, tmp_path):
    async def main(pool):
        # Not awaited by the loop: the thread has the pool.
        calls = 1 if server == "thread" else 0
        blocked = [pool.submit(tasks.until_there, str(tmp_path / "end")) for _ in range(calls)]
        got = []
        for number, expected in enumerate(outcomes):
            error = await awaited(pool, number)
            if not issubclass(tasks.kinds()[number], ODD):
                assert shown(error) == expected
                assert (pool._pool.home() == "reactor") == (server == "thread")
            got.append(error)
        (tmp_path / "end").touch()
        for future in blocked:
            await asyncio.wrap_future(future)
        return got

    with aioxide.ProcessPoolExecutor(2) as pool:
        if how == "run":
            got = aioxide.run(main(pool))
        else:
            loop = aioxide.new_event_loop()
            got = loop.run_until_complete(main(pool))
            loop.close()
    assert len(got) == len(outcomes) and None not in got


@pytest.mark.parametrize("server", ["loop", "thread"])
def test_an_interrupt_that_a_coroutine_lets_through_leaves_run_as_it_is(server):
    async def main(pool):
        if server == "thread":
            await asyncio.wrap_future(pool.submit(tasks.raise_kind, 1))
        await asyncio.get_running_loop().run_in_executor(pool, tasks.raise_kind, 1)

    with aioxide.ProcessPoolExecutor(1) as pool:
        assert tasks.kinds()[1] is KeyboardInterrupt
        with pytest.raises(KeyboardInterrupt, match="from the call"):
            aioxide.run(main(pool))
        assert pool.submit(same, 7).result(DEADLINE) == 7


# ------------------------------------------------------------------------------------------------ Ctrl-C in a terminal

PHASES = ["starting", "idle", "running", "ending", "results"]
HANDLED = {
    "runner": ["cancelled", "{outcome}", "KeyboardInterrupt", "pool ended: True"],
    "own": ["stopped", "{outcome}", "pool ended: True"],
    "none": ["interrupted", "{outcome}", "KeyboardInterrupt", "pool ended: True"],
}
# By phase. A call that runs is interrupted, as in the standard pool; none else is.
OUTCOMES = {"starting": {"rested"}, "idle": {"rested"}, "running": {"KeyboardInterrupt"}}
OUTCOMES["ending"] = OUTCOMES["running"]


def begin(phase, handler, folder):
    folder.mkdir()
    command = [sys.executable, "-m", "tests.processes.interrupt_programs", phase, handler, "spawn"]
    root = str(Path(__file__).parents[2])
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": root},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("handler", HANDLED)
def test_ctrl_c_for_the_whole_group_breaks_no_pool_whatever_its_workers_do(handler, tmp_path):
    programs = {phase: begin(phase, handler, tmp_path / phase) for phase in PHASES}
    for phase, program in programs.items():
        out, err = program.communicate(timeout=DEADLINE)
        lines = out.splitlines()
        expected = [line for line in HANDLED[handler] if line != "{outcome}"]
        # Without a handler the interrupt comes before the program has its futures.
        early = handler == "none" and phase in ("starting", "idle", "running", "ending")
        told = [] if early else [lines.pop(1)]
        assert (lines, err, program.returncode) == (expected, "", 0), phase
        for line in told:
            assert set(line.split()) <= OUTCOMES.get(phase, {"rested", "KeyboardInterrupt"}), (phase, line)


def sends_ctrl_c(parent):
    if os.getpid() == parent:
        signal.raise_signal(signal.SIGINT)
        sum(range(10))  # the handler runs before the next loop or call of Python's
    return "read"


class CtrlC(Interrupts):
    """While the process of that number reads it, Ctrl-C comes."""

    def __reduce__(self):
        return sends_ctrl_c, (self.parent,)


def test_ctrl_c_while_a_result_is_read_is_raised_once_and_the_pool_goes_on():
    loop = aioxide.new_event_loop()
    with aioxide.ProcessPoolExecutor(1) as pool:

        async def main(kind, value):
            futures.append(asyncio.get_running_loop().run_in_executor(pool, kind, value))
            return await futures[-1]

        futures: list[asyncio.Future[object]] = []
        assert loop.run_until_complete(main(same, 1)) == 1
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(main(CtrlC, os.getpid()))
        assert loop.run_until_complete(main(same, 2)) == 2
        assert isinstance(futures[1].exception(), concurrent.futures.process.BrokenProcessPool)
    loop.close()


def test_ctrl_c_while_a_result_is_read_cancels_main_once_under_run():
    told = []

    async def main(pool):
        loop = asyncio.get_running_loop()
        try:
            told.append(await loop.run_in_executor(pool, CtrlC, os.getpid()))
            await asyncio.sleep(DEADLINE)
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)
            told.append(await loop.run_in_executor(pool, same, "cleaned up"))
            raise

    with aioxide.ProcessPoolExecutor(1) as pool, pytest.raises(KeyboardInterrupt):
        aioxide.run(main(pool))
    assert told == ["cleaned up"] or told == ["read", "cleaned up"]


class SlowlyPickled:
    """Takes a moment to pickle; while one of them is, Ctrl-C comes."""

    def __init__(self, interrupts):
        self.interrupts = interrupts

    def __reduce__(self):
        time.sleep(0.05)
        if self.interrupts:
            signal.raise_signal(signal.SIGINT)
            sum(range(10))  # the handler runs before the next loop or call of Python's
        return same, (7,)


def test_ctrl_c_while_a_call_is_pickled_leaves_none_of_those_behind_it():
    loop = aioxide.new_event_loop()
    with aioxide.ProcessPoolExecutor(1) as pool:
        futures: list[asyncio.Future[object]] = []

        async def main():
            # Pickling takes longer than a call, so when it is interrupted the worker is idle.
            calls = [SlowlyPickled(number == 3) for number in range(6)]
            futures.extend(loop.run_in_executor(pool, same, call) for call in calls)
            await asyncio.wait(futures, timeout=DEADLINE)

        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(main())
        loop.run_until_complete(asyncio.wait(futures, timeout=5))
        assert [future.done() for future in futures] == [True] * 6
        assert isinstance(futures.pop(3).exception(), concurrent.futures.process.BrokenProcessPool)
        assert [future.result() for future in futures] == [7] * 5
    loop.close()


@pytest.mark.parametrize("mode", ["break", "respawn"])
def test_ctrl_c_while_the_loop_waits_for_a_dead_worker_leaves_no_call_behind(mode, monkeypatch):
    is_alive = multiprocessing.process.BaseProcess.is_alive

    def interrupted(process):
        monkeypatch.undo()
        signal.raise_signal(signal.SIGINT)
        return is_alive(process)

    loop = aioxide.new_event_loop()
    with aioxide.ProcessPoolExecutor(1, on_worker_death=mode) as pool:
        futures: list[asyncio.Future[object]] = []

        async def main():
            monkeypatch.setattr(multiprocessing.process.BaseProcess, "is_alive", interrupted)
            futures.append(loop.run_in_executor(pool, os._exit, 3))
            await asyncio.wait(futures, timeout=DEADLINE)

        async def first():
            return await loop.run_in_executor(pool, same, 1)

        assert loop.run_until_complete(first()) == 1
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(main())
        loop.run_until_complete(asyncio.wait(futures, timeout=5))
        assert isinstance(futures[0].exception(), concurrent.futures.process.BrokenProcessPool)
    loop.close()


def test_ctrl_c_while_a_worker_is_replaced_leaves_no_call_behind(monkeypatch):
    context = multiprocessing.get_context("spawn")
    start = context.Process.start

    def interrupted(process):
        monkeypatch.undo()
        signal.raise_signal(signal.SIGINT)
        start(process)

    loop = aioxide.new_event_loop()
    with aioxide.ProcessPoolExecutor(1, context, max_tasks_per_child=2) as pool:
        futures: list[asyncio.Future[object]] = []

        async def main():
            futures.extend(loop.run_in_executor(pool, same, number) for number in range(4))
            monkeypatch.setattr(context.Process, "start", interrupted)
            await asyncio.wait(futures, timeout=DEADLINE)

        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(main())
        loop.run_until_complete(asyncio.wait(futures, timeout=10))
        assert [future.result() for future in futures] == [0, 1, 2, 3]
    loop.close()
