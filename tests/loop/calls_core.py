"""Running, scheduling, tasks, executors, signals, debug mode and the exception handler."""

import asyncio
import concurrent.futures
import contextvars
import logging
import os
import signal
import threading
import time

import pytest

from .surface import calls


@calls("run_forever", "stop", "is_running", "is_closed", "close", "call_soon")
def runs_and_ends(loop):
    seen = []
    assert not loop.is_running()
    assert not loop.is_closed()
    loop.call_soon(lambda: seen.append(loop.is_running()))
    loop.call_soon(loop.stop)
    loop.call_soon(seen.append, "the batch ends first")
    loop.run_forever()
    assert seen == [True, "the batch ends first"]
    loop.stop()  # before the run: one turn, and out
    loop.call_soon(seen.append, "one turn")
    loop.run_forever()
    assert seen[2:] == ["one turn"]
    loop.close()
    loop.close()
    assert loop.is_closed()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.call_soon(print)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.run_forever()


@calls("run_until_complete", "create_future", "create_task", "call_soon", "stop")
def runs_until_complete(loop):
    async def answer():
        await asyncio.sleep(0)
        return 42

    assert loop.run_until_complete(answer()) == 42
    assert loop.run_until_complete(loop.create_task(answer())) == 42
    future = loop.create_future()
    loop.call_soon(future.set_exception, KeyError("gone"))
    with pytest.raises(KeyError):
        loop.run_until_complete(future)
    never = loop.create_future()
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError, match="Event loop stopped before Future completed"):
        loop.run_until_complete(never)
    with pytest.raises(TypeError):
        loop.run_until_complete(lambda: None)


@calls("call_soon", "call_later", "call_at", "time")
async def schedules_in_order(loop):
    seen, end = [], loop.real.create_future()
    before, now, after = time.monotonic(), loop.time(), time.monotonic()
    assert before <= now <= after
    handles = [
        loop.call_at(now + 0.02, seen.append, 4),
        loop.call_later(0.01, seen.append, 3),
        loop.call_later(0, seen.append, 2),
        loop.call_soon(seen.append, 1),
    ]
    assert isinstance(handles[0], asyncio.TimerHandle)
    assert handles[0].when() == now + 0.02
    assert isinstance(handles[3], asyncio.Handle)
    cancelled = loop.call_later(0.005, seen.append, "cancelled")
    cancelled.cancel()
    assert cancelled.cancelled()
    loop.call_later(0.03, end.set_result, None)
    await end
    assert loop.time() >= now + 0.03
    assert seen == [1, 2, 3, 4]


@calls("call_soon", "call_later", "call_soon_threadsafe")
async def runs_in_the_context_given(loop):
    variable = contextvars.ContextVar("variable", default="none")
    context = contextvars.copy_context()
    context.run(variable.set, "given")
    seen = []
    variable.set("current")
    loop.call_soon(lambda: seen.append(variable.get()))
    loop.call_soon(lambda: seen.append(variable.get()), context=context)
    loop.call_soon_threadsafe(lambda: seen.append(variable.get()), context=context)
    loop.call_later(0, lambda: seen.append(variable.get()), context=context)
    variable.set("changed since")
    await asyncio.sleep(0.005)
    assert seen == ["current", "given", "given", "given"]


@calls("call_soon_threadsafe")
async def wakes_up_from_a_thread(loop):
    seen, all_there = [], asyncio.Event()

    def from_thread():
        for number in range(100):
            loop.call_soon_threadsafe(seen.append, number)
        time.sleep(0.02)  # by now the loop waits in the kernel
        loop.call_soon_threadsafe(all_there.set)

    thread = threading.Thread(target=from_thread)
    thread.start()
    await all_there.wait()
    thread.join()
    assert seen == list(range(100))


@calls("create_future", "create_task")
async def makes_futures_and_tasks(loop):
    future = loop.create_future()
    assert asyncio.isfuture(future)
    assert isinstance(future, asyncio.Future)
    assert future.get_loop() is loop.real

    async def wait():
        return await future, asyncio.current_task().get_name()

    task = loop.create_task(wait(), name="the waiter", context=contextvars.copy_context())
    assert isinstance(task, asyncio.Task)
    assert task in asyncio.all_tasks()
    future.set_result("here")
    assert await task == ("here", "the waiter")


@calls("set_task_factory", "get_task_factory", "create_task")
async def makes_tasks_by_factory(loop):
    made = []

    def factory(loop, coroutine, **options):
        made.append(options)
        return asyncio.Task(coroutine, loop=loop, **options)

    assert loop.get_task_factory() is None
    loop.set_task_factory(factory)
    assert loop.get_task_factory() is factory
    assert await loop.create_task(asyncio.sleep(0, "made")) == "made"
    loop.set_task_factory(None)
    assert await loop.create_task(asyncio.sleep(0, "plain")) == "plain"
    assert len(made) == 1
    with pytest.raises(TypeError):
        loop.set_task_factory("no factory")


@calls("run_in_executor", "set_default_executor", "shutdown_default_executor")
async def works_in_threads(loop):
    with concurrent.futures.ThreadPoolExecutor(1, "ours") as own:
        assert (await loop.run_in_executor(own, lambda: threading.current_thread().name)).startswith("ours")
    loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(2, "default"))
    name = await loop.run_in_executor(None, lambda: threading.current_thread().name)
    assert name.startswith("default")
    with pytest.raises(ZeroDivisionError):
        await loop.run_in_executor(None, divmod, 1, 0)
    with pytest.raises(TypeError):
        loop.set_default_executor(object())
    await loop.shutdown_default_executor()
    with pytest.raises(RuntimeError, match="Executor shutdown has been called"):
        await loop.run_in_executor(None, print)


@calls("shutdown_asyncgens")
async def ends_async_generators(loop):
    ended = []

    async def numbers():
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            ended.append("ended")

    generator = numbers()
    assert await anext(generator) == 1
    await loop.shutdown_asyncgens()
    assert ended == ["ended"]


@calls("add_signal_handler", "remove_signal_handler")
async def handles_signals(loop):
    seen, got = [], asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR2, lambda *a: (seen.append(a), got.set()), 1, "two")
    os.kill(os.getpid(), signal.SIGUSR2)
    await got.wait()
    assert seen == [(1, "two")]
    assert loop.remove_signal_handler(signal.SIGUSR2)
    assert not loop.remove_signal_handler(signal.SIGUSR2)
    assert signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL
    with pytest.raises(ValueError):
        loop.add_signal_handler(12345, print)
    with pytest.raises(RuntimeError):
        loop.add_signal_handler(signal.SIGKILL, print)


@calls(
    "set_exception_handler", "get_exception_handler", "call_exception_handler", "default_exception_handler"
)
async def routes_exceptions(loop):
    kept = loop.get_exception_handler()
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    loop.call_exception_handler({"message": "a message"})
    asyncio.get_running_loop().call_soon(divmod, 1, 0)
    await asyncio.sleep(0)
    assert [type(context.get("exception")) for context in contexts] == [type(None), ZeroDivisionError]
    records = []
    listener = logging.Handler()
    listener.emit = records.append
    logger = logging.getLogger("asyncio")
    logger.addHandler(listener)
    logger.propagate = False
    try:
        loop.set_exception_handler(None)
        assert loop.get_exception_handler() is None
        loop.default_exception_handler({"message": "by default"})
        loop.call_exception_handler({"message": "no handler is set"})
    finally:
        logger.removeHandler(listener)
        logger.propagate = True
    assert [record.getMessage() for record in records] == ["by default", "no handler is set"]
    with pytest.raises(TypeError):
        loop.set_exception_handler("no handler")
    loop.set_exception_handler(kept)


@calls("get_debug", "set_debug", "call_soon")
async def checks_threads_in_debug_mode(loop):
    before = loop.get_debug()
    loop.set_debug(True)
    assert loop.get_debug()

    def from_thread():
        with pytest.raises(RuntimeError, match="Non-thread-safe operation"):
            loop.call_soon(print)
        return "raised"

    assert await asyncio.to_thread(from_thread) == "raised"
    loop.set_debug(before)
