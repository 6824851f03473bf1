"""A `submit` that somebody has wrapped on the *standard* class, as tracers do, is called for our pools too."""

import asyncio
import concurrent.futures
import concurrent.futures.process
import concurrent.futures.thread
import contextlib
import contextvars
import functools
import sys
import threading
import time
import types

import aioxide
import pytest

from tests.support.programs import DEADLINE, output_of, then_set

STANDARD = {
    "threads": concurrent.futures.thread.ThreadPoolExecutor,
    "processes": concurrent.futures.process.ProcessPoolExecutor,
}
OURS = {"threads": aioxide.ThreadPoolExecutor, "processes": aioxide.ProcessPoolExecutor}


@contextlib.contextmanager
def wrapped_in_the_class(kind, wrapper):
    """`setattr(class, "submit", ...)`: OpenTelemetry, Sentry."""
    standard = STANDARD[kind]
    original = standard.submit

    @functools.wraps(original)
    def submit(self, fn, /, *args, **kwargs):
        return wrapper(functools.partial(original, self), fn, *args, **kwargs)

    standard.submit = submit
    try:
        yield
    finally:
        standard.submit = original


@contextlib.contextmanager
def wrapped_in_the_code(kind, wrapper):
    """`function.__code__ = ...`: Datadog's `wrap`, which keeps names and even the file of the original."""
    function = STANDARD[kind].submit
    original = types.FunctionType(function.__code__, function.__globals__, "submit")
    function.__globals__["_test_wrapper"] = lambda self, fn, *args, **kwargs: wrapper(
        functools.partial(original, self), fn, *args, **kwargs
    )

    def submit(self, fn, /, *args, **kwargs):
        return _test_wrapper(self, fn, *args, **kwargs)  # noqa: F821

    function.__code__ = submit.__code__.replace(co_filename=original.__code__.co_filename)
    try:
        yield
    finally:
        function.__code__ = original.__code__
        del function.__globals__["_test_wrapper"]


both_ways = pytest.mark.parametrize(
    "wrapped", [wrapped_in_the_class, wrapped_in_the_code], ids=["class", "code"]
)
both_kinds = pytest.mark.parametrize("kind", STANDARD)


class Tracer:
    def __init__(self):
        self.seen = []

    def __call__(self, submit, fn, *args, **kwargs):
        self.seen.append(fn)
        return submit(fn, *args, **kwargs)


async def every_route(pool, default):
    loop = asyncio.get_running_loop()
    if default:
        assert await loop.run_in_executor(None, pow, 2, 1) == 2
        assert await asyncio.to_thread(pow, 2, 2) == 4
    assert await loop.run_in_executor(pool, pow, 2, 3) == 8
    assert await pool.submit(pow, 2, 4) == 16
    assert pool.submit(pow, 2, exp=5).result(DEADLINE) == 32
    assert list(pool.map(pow, [2, 3], [2, 2])) == [4, 9]


@both_ways
@both_kinds
def test_every_call_is_seen_while_it_is_wrapped_and_none_before_or_after(wrapped, kind):
    tracer = Tracer()
    default = kind == "threads"
    with OURS[kind](2) as pool:
        aioxide.run(every_route(pool, default))
        for _ in range(2):
            tracer.seen.clear()
            with wrapped(kind, tracer):
                aioxide.run(every_route(pool, default))
            assert len(tracer.seen) == (7 if default else 5)
            aioxide.run(every_route(pool, default))
            assert len(tracer.seen) == (7 if default else 5)
        assert type(pool.submit(int)) is aioxide.PoolFuture


@both_ways
def test_what_is_wrapped_while_a_loop_runs_is_called_from_then_on(wrapped):
    tracer = Tracer()

    async def main():
        loop = asyncio.get_running_loop()
        for _ in range(3):
            await loop.run_in_executor(None, int)
        with wrapped("threads", tracer):
            await loop.run_in_executor(None, int)
            assert tracer.seen == [int]
        await loop.run_in_executor(None, int)
        assert tracer.seen == [int]

    aioxide.run(main())


@both_ways
def test_a_wrapper_can_carry_a_context_into_the_thread(wrapped):
    request = contextvars.ContextVar("request", default=None)

    def carry(submit, fn, *args, **kwargs):
        return submit(contextvars.copy_context().run, fn, *args, **kwargs)

    async def main():
        request.set("r1")
        return await asyncio.get_running_loop().run_in_executor(None, request.get)

    with wrapped("threads", carry):
        assert aioxide.run(main()) == "r1"


BEFORE_IMPORT = """
import asyncio, concurrent.futures, sys
standard = concurrent.futures.ThreadPoolExecutor
original, seen = standard.submit, []
def submit(self, fn, /, *args, **kwargs):
    seen.append(fn)
    return original(self, fn, *args, **kwargs)
standard.submit = submit
import aioxide
if sys.argv[1] == "namespace":
    aioxide.install(namespace=True)
    assert concurrent.futures.ThreadPoolExecutor is aioxide.ThreadPoolExecutor
async def main():
    await asyncio.to_thread(int)
    assert await asyncio.get_running_loop().run_in_executor(None, pow, 2, 3) == 8
    with concurrent.futures.ThreadPoolExecutor() as pool:
        assert await asyncio.get_running_loop().run_in_executor(pool, pow, 2, 3) == 8
aioxide.run(main())
print(len(seen))
standard.submit = original
aioxide.run(main())
print(len(seen))
"""


@pytest.mark.parametrize("way", ["plain", "namespace"])
def test_what_was_wrapped_before_aioxide_was_imported_is_called(way):
    assert output_of(BEFORE_IMPORT, way) == ["3", "3"]


def test_a_wrapper_that_refuses_is_heard():
    def refuse(submit, fn, *args, **kwargs):
        raise LookupError("not traced")

    async def main():
        with pytest.raises(LookupError, match="not traced"):
            await asyncio.get_running_loop().run_in_executor(None, int)

    with wrapped_in_the_class("threads", refuse):
        aioxide.run(main())


def test_a_wrapper_and_a_subclass_with_its_own_submit_are_both_called():
    class Pool(aioxide.ThreadPoolExecutor):
        def submit(self, fn, /, *args, **kwargs):
            own.append(fn)
            return super().submit(fn, *args, **kwargs)

    own, tracer = [], Tracer()
    with wrapped_in_the_class("threads", tracer), Pool(1) as pool:
        assert aioxide.run(asyncio.wait_for(_call(pool), DEADLINE)) == 0
    assert own == tracer.seen == [int]


async def _call(pool):
    return await asyncio.get_running_loop().run_in_executor(pool, int)


# ------------------------------------------------------------------- the pool's promises hold behind a wrapper


@pytest.fixture
def traced():
    with wrapped_in_the_class("threads", Tracer()), wrapped_in_the_class("processes", Tracer()):
        yield


@pytest.fixture
def release():
    event = threading.Event()
    yield event
    event.set()


def test_traced_calls_are_counted_as_what_they_became(traced, release):
    with aioxide.ThreadPoolExecutor(1) as pool, then_set(release):
        pool.submit(release.wait)
        failed, cancelled = pool.submit(int, "x"), pool.submit(int)
        assert cancelled.cancel()
        assert pool.stats().queued == 2
        release.set()
        assert isinstance(failed.exception(DEADLINE), ValueError)
        concurrent.futures.wait([cancelled], DEADLINE)
        stats = pool.stats()
    assert (stats.submitted, stats.done, stats.failed, stats.cancelled) == (3, 1, 1, 1)


def test_traced_calls_that_wait_are_cancelled_with_the_pool(traced, release):
    pool = aioxide.ThreadPoolExecutor(1)
    running = pool.submit(release.wait)
    waiting = [pool.submit(int) for _ in range(3)]
    pool.shutdown(wait=False, cancel_futures=True)
    done, pending = concurrent.futures.wait(waiting, DEADLINE)
    assert len(done) == 3
    assert not pending
    assert all(future.cancelled() for future in waiting)
    release.set()
    running.result(DEADLINE)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        pool.submit(int)


def test_max_pending_blocks_a_traced_submit(traced, release):
    with aioxide.ThreadPoolExecutor(1, max_pending=1) as pool, then_set(release):
        began = threading.Event()
        pool.submit(lambda: (began.set(), release.wait()))
        assert began.wait(DEADLINE)
        pool.submit(int)
        through = threading.Event()
        thread = threading.Thread(target=lambda: (pool.submit(int), through.set()))
        thread.start()
        assert not through.wait(0.1)
        release.set()
        assert through.wait(DEADLINE)
        thread.join()


def test_a_traced_pool_whose_initializer_fails_is_broken(traced, caplog):
    with aioxide.ThreadPoolExecutor(1, initializer=lambda: 1 / 0) as pool:
        future = pool.submit(int)
        with pytest.raises(concurrent.futures.thread.BrokenThreadPool):
            future.result(DEADLINE)
        with pytest.raises(concurrent.futures.thread.BrokenThreadPool):
            pool.submit(int)


def test_a_traced_call_in_a_process_can_be_cancelled_timed_and_told_of(traced):
    with aioxide.ProcessPoolExecutor(1, cancel_running=True) as pool:
        running = pool.submit(time.sleep, 60)
        deadline = time.monotonic() + DEADLINE
        while not running.running():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert running.cancel()
        done, _ = concurrent.futures.wait([running], DEADLINE)
        assert done == {running}
        with pytest.raises(TimeoutError):
            pool.schedule(time.sleep, [60], timeout=0.1).result(DEADLINE)
        assert isinstance(pool.submit(int, "x").exception(DEADLINE), ValueError)


# --------------------------------------------------------------------------------------------------- real tracers

on_one_python = pytest.mark.by_version(
    sys.version_info[:2] != (3, 14), "packages of tracers are tried on one Python"
)

SENTRY = """
import asyncio, aioxide, sentry_sdk
from sentry_sdk.integrations.threading import ThreadingIntegration
sentry_sdk.init(default_integrations=False, integrations=[ThreadingIntegration(propagate_scope=True)])
def tag():
    return sentry_sdk.get_isolation_scope()._tags.get("user")
async def main():
    await asyncio.get_running_loop().run_in_executor(None, tag)
    with sentry_sdk.isolation_scope() as scope:
        scope.set_tag("user", "ann")
        return await asyncio.get_running_loop().run_in_executor(None, tag)
print(aioxide.run(main()))
"""

OPENTELEMETRY = """
import asyncio, aioxide
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.instrumentation.threading import ThreadingInstrumentor
trace.set_tracer_provider(TracerProvider())
def trace_id():
    return trace.get_current_span().get_span_context().trace_id
async def main():
    loop = asyncio.get_running_loop()
    with trace.get_tracer("t").start_as_current_span("request") as span:
        return span.get_span_context().trace_id == await loop.run_in_executor(None, trace_id)
print(aioxide.run(main()))
ThreadingInstrumentor().instrument()
print(aioxide.run(main()))
ThreadingInstrumentor().uninstrument()
print(aioxide.run(main()))
"""


@on_one_python
def test_sentrys_scope_is_there_in_the_default_executor():
    assert output_of(SENTRY) == ["ann"]


@on_one_python
def test_opentelemetrys_span_is_there_in_the_default_executor_while_it_is_instrumented():
    assert output_of(OPENTELEMETRY) == ["False", "True", "False"]
