"""`aioxide.ThreadPoolExecutor` is the standard library's, with the same arguments, results and errors."""

import asyncio
import concurrent.futures
import contextvars
import gc
import inspect
import itertools
import logging
import sys
import threading
import time
import weakref
from concurrent.futures.thread import BrokenThreadPool, ThreadPoolExecutor as StandardPool

import aioxide
import pytest

from tests.support.programs import DEADLINE, wait_until

POOLS = [StandardPool, aioxide.ThreadPoolExecutor]


@pytest.fixture
def pool():
    with aioxide.ThreadPoolExecutor(4) as pool:
        yield pool


def error_of(function, *args, **options):
    try:
        function(*args, **options)
    except BaseException as error:
        return type(error), str(error)
    return None


def test_it_is_a_standard_pool(pool):
    assert isinstance(pool, StandardPool)
    assert isinstance(pool, concurrent.futures.Executor)
    assert isinstance(pool.submit(int), concurrent.futures.Future)


def test_standard_pools_count_as_ours():
    # As asyncio's tasks count as Task: `isinstance` must go on to work where our class is in the standard name.
    with StandardPool(1) as standard:
        assert isinstance(standard, aioxide.ThreadPoolExecutor)
    assert not isinstance(object(), aioxide.ThreadPoolExecutor)

    class Own(aioxide.ThreadPoolExecutor):
        pass

    assert not isinstance(standard, Own)


def test_arguments_come_in_the_standard_order():
    ours = list(inspect.signature(aioxide.ThreadPoolExecutor).parameters.values())
    standard = list(inspect.signature(StandardPool).parameters.values())
    names = [parameter.name for parameter in standard if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    assert [p.name for p in ours][: len(names)] == names
    assert all(p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD) for p in ours[len(names) :])


BAD_ARGUMENTS = [
    {"max_workers": 0},
    {"max_workers": -1},
    {"initializer": 3},
]


@pytest.mark.parametrize("options", BAD_ARGUMENTS, ids=str)
def test_constructor_has_the_standard_errors(options):
    standard, ours = (error_of(kind, **options) for kind in POOLS)
    assert standard is not None
    assert ours == standard


BAD_KEYWORDS = [
    ({"idle_timeout": -1}, ValueError),
    ({"idle_timeout": float("nan")}, ValueError),
    ({"idle_timeout": "1"}, TypeError),
    ({"idle_timeout": True}, TypeError),
    ({"spin": -0.1}, ValueError),
    ({"spin": []}, TypeError),
    ({"max_pending": 0}, ValueError),
    ({"max_pending": 1.5}, TypeError),
    ({"unknown": 1}, TypeError),
]


@pytest.mark.parametrize(("options", "kind"), BAD_KEYWORDS, ids=str)
def test_own_keywords_are_checked(options, kind):
    with pytest.raises(kind, match=next(iter(options))):
        aioxide.ThreadPoolExecutor(**options)


def test_default_number_of_workers_is_the_standard_one():
    with StandardPool() as standard, aioxide.ThreadPoolExecutor() as ours:
        assert ours._max_workers == standard._max_workers


@pytest.mark.parametrize(
    "call",
    [
        lambda pool: pool.submit(),
        lambda pool: pool.submit(fn=int),
        lambda pool: pool.submit(arg=1),
        lambda pool: pool.map(str, [1]) and pool.map(),
    ],
)
def test_submit_has_the_standard_errors(call):
    errors = []
    for kind in POOLS:
        with kind(1) as pool:
            errors.append(error_of(call, pool))
    assert errors[0] is not None
    assert errors[1] == (errors[0][0], errors[0][1].replace("Executor.map", "ThreadPoolExecutor.map", 1)) or (
        errors[1] == errors[0]
    )


def test_submit_passes_any_arguments(pool):
    def capture(*args, **kwargs):
        return args, kwargs

    assert pool.submit(capture).result() == ((), {})
    assert pool.submit(capture, 1, self=2, fn=3).result() == ((1,), {"self": 2, "fn": 3})
    assert pool.submit(capture, *range(20), **{f"k{i}": i for i in range(20)}).result() == (
        tuple(range(20)),
        {f"k{i}": i for i in range(20)},
    )


@pytest.mark.parametrize(
    "kind", [ZeroDivisionError, SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration]
)
def test_whatever_a_call_raises_is_in_its_future(pool, kind):
    raised = kind("why")

    def fail():
        raise raised

    future = pool.submit(fail)
    assert future.exception() is raised
    with pytest.raises(kind):
        future.result()
    # The worker has survived it.
    assert pool.submit(int).result() == 0


def test_false_exceptions_are_raised_too(pool):
    class FalseError(Exception):
        def __bool__(self):
            return False

    def fail():
        raise FalseError

    with pytest.raises(FalseError):
        pool.submit(fail).result()


def test_calls_run_in_threads_with_standard_names():
    with aioxide.ThreadPoolExecutor(2, "Prefix") as pool:
        names = set(pool.map(lambda _: (time.sleep(0.05), threading.current_thread().name)[1], range(2)))
    assert names == {"Prefix_0", "Prefix_1"}
    with aioxide.ThreadPoolExecutor(1) as pool:
        name = pool.submit(lambda: threading.current_thread().name).result()
    assert name.startswith("ThreadPoolExecutor-")
    assert name.endswith("_0")


def test_workers_are_not_daemons(pool):
    assert pool.submit(lambda: threading.current_thread().daemon).result() is False


def test_a_worker_keeps_its_thread_state():
    # threading.local and trace functions live in it.
    local = threading.local()
    traced = []
    threading.setprofile(lambda frame, event, arg: traced.append(frame.f_code.co_name))
    try:
        pool = aioxide.ThreadPoolExecutor(1)

        def marked():
            local.count = getattr(local, "count", 0) + 1
            return local.count

        assert [pool.submit(marked).result() for _ in range(50)] == list(range(1, 51))
    finally:
        threading.setprofile(None)
    pool.shutdown()
    assert traced.count("marked") >= 100  # call and return, each time


def test_as_many_threads_as_calls_but_no_more_than_allowed():
    release = threading.Event()
    with aioxide.ThreadPoolExecutor(3) as pool:
        for expected in (1, 2, 3, 3, 3):
            pool.submit(release.wait, DEADLINE)
            assert len(pool._threads) == expected
        release.set()


def test_idle_threads_are_used_again():
    with aioxide.ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            pool.submit(int).result()
        assert len(pool._threads) == 1


def test_blocking_calls_run_side_by_side():
    with aioxide.ThreadPoolExecutor(4) as pool:
        barrier = threading.Barrier(4)
        for _ in range(20):  # also with workers that wait already
            calls = [pool.submit(barrier.wait, DEADLINE) for _ in range(4)]
            assert sorted(call.result() for call in calls) == [0, 1, 2, 3]


def test_calls_start_in_order():
    started = []
    with aioxide.ThreadPoolExecutor(1) as pool:
        for i in range(200):
            pool.submit(started.append, i)
    assert started == list(range(200))


# ------------------------------------------------------------------------------------------------------------ map


def test_map_is_like_map(pool):
    assert list(pool.map(pow, range(10), range(10))) == list(map(pow, range(10), range(10)))
    assert list(pool.map(pow, range(10), range(10), chunksize=3)) == list(map(pow, range(10), range(10)))
    assert list(pool.map(str, [])) == []


def test_map_takes_a_buffersize_on_every_version(pool):
    assert list(pool.map(str, range(5), buffersize=2)) == list("01234")
    endless = pool.map(str, itertools.count(), buffersize=2)
    assert [next(endless) for _ in range(3)] == list("012")
    endless.close()
    for bad, kind, text in [("2", TypeError, "an integer or None"), (0, ValueError, "None or > 0")]:
        with pytest.raises(kind, match=text):
            pool.map(str, range(4), buffersize=bad)


def test_map_is_never_ahead_by_more_than_its_buffersize(pool):
    ahead = itertools.count()
    results = pool.map(str, ahead, buffersize=3)
    for yielded in range(10):
        assert next(ahead) <= 3 + 2 * yielded  # each look takes one itself
        next(results)
    results.close()


def test_map_gives_up_when_its_time_is_over(pool):
    release = threading.Event()
    results = pool.map(lambda event: event.wait(DEADLINE), [release], timeout=0.05)
    with pytest.raises(concurrent.futures.TimeoutError):
        next(results)
    release.set()


# ---------------------------------------------------------------------------------------------- initializers, end


def test_initializer_runs_once_in_each_thread():
    local = threading.local()

    def initialize(value):
        local.value = value

    with aioxide.ThreadPoolExecutor(2, initializer=initialize, initargs=("set",)) as pool:
        assert set(pool.map(lambda _: local.value, range(20))) == {"set"}


def test_failing_initializer_breaks_the_pool(caplog):
    def initialize():
        raise ValueError("no")

    pool = aioxide.ThreadPoolExecutor(2, initializer=initialize)
    with caplog.at_level(logging.CRITICAL, "concurrent.futures"):
        first = pool.submit(int)
        with pytest.raises(BrokenThreadPool, match="initializer failed"):
            first.result(DEADLINE)
    assert "Exception in initializer" in caplog.text
    with pytest.raises(BrokenThreadPool, match="not usable"):
        pool.submit(int)
    assert pool._broken
    pool.shutdown()


def test_shutdown_runs_what_is_queued():
    pool = aioxide.ThreadPoolExecutor(1)
    calls = [pool.submit(time.sleep, 0.001) for _ in range(50)]
    pool.shutdown()
    assert all(call.done() and not call.cancelled() for call in calls)
    assert not any(thread.is_alive() for thread in pool._threads)
    pool.shutdown()


def test_shutdown_can_cancel_what_is_queued():
    pool = aioxide.ThreadPoolExecutor(1)
    started, release = threading.Event(), threading.Event()
    runs = pool.submit(lambda: started.set() or release.wait(DEADLINE))
    waits = [pool.submit(int) for _ in range(10)]
    assert started.wait(DEADLINE)
    pool.shutdown(wait=False, cancel_futures=True)
    assert all(call.cancelled() for call in waits)
    assert not runs.cancelled()
    release.set()
    assert runs.result(DEADLINE)


@pytest.mark.parametrize("kind", POOLS)
def test_no_calls_after_shutdown(kind):
    pool = kind(1)
    pool.shutdown()
    with pytest.raises(RuntimeError, match=r"^cannot schedule new futures after shutdown$"):
        pool.submit(int)


def test_shutdown_without_waiting_lets_threads_end():
    pool = aioxide.ThreadPoolExecutor(3)
    results = pool.map(abs, range(-5, 5))
    threads = list(pool._threads)
    pool.shutdown(wait=False)
    for thread in threads:
        thread.join(DEADLINE)
        assert not thread.is_alive()
    assert list(results) == [abs(i) for i in range(-5, 5)]


def test_a_pool_that_nobody_has_ends_its_threads():
    pool = aioxide.ThreadPoolExecutor(3)
    results = pool.map(abs, range(-5, 5))
    threads = list(pool._threads)
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is None
    for thread in threads:
        thread.join(DEADLINE)
        assert not thread.is_alive()
    assert list(results) == [abs(i) for i in range(-5, 5)]


def test_a_pool_in_a_cycle_is_collected():
    pool = aioxide.ThreadPoolExecutor(1)
    pool.itself = pool
    pool.submit(int).result()
    (thread,) = pool._threads
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is None
    thread.join(DEADLINE)
    assert not thread.is_alive()


# ---------------------------------------------------------------------------------------------------- references


class Thing:
    def method(self):
        pass


def test_nothing_of_a_call_is_kept(pool):
    thing = Thing()
    gone = threading.Event()
    watch = weakref.ref(thing, lambda _: gone.set())
    pool.submit(thing.method)
    del thing
    assert gone.wait(DEADLINE)
    assert watch() is None


def test_whoever_has_the_result_has_the_only_references(pool):
    # Arguments are released before the outcome is told.
    argument = Thing()
    gone = weakref.ref(argument)
    call = pool.submit(lambda thing, key: None, argument, key=argument)
    del argument
    assert call.result() is None
    assert gone() is None


def test_results_of_map_are_not_kept(pool):
    for result in pool.map(lambda _: Thing(), range(20)):
        gone = weakref.ref(result)
        del result
        wait_until(lambda gone=gone: gone() is None)


def test_a_cycle_through_a_queued_call_is_collected():
    pool = aioxide.ThreadPoolExecutor(1)
    release = threading.Event()
    pool.submit(release.wait, DEADLINE)
    thing = Thing()
    thing.future = pool.submit(thing.method)
    gone = weakref.ref(thing)
    pool.shutdown(wait=False, cancel_futures=True)
    del thing
    gc.collect()
    assert gone() is None
    release.set()


# ------------------------------------------------------------------------------------------------------- contexts


def test_the_context_is_that_of_the_standard_pool():
    variable = contextvars.ContextVar("variable", default="default")
    variable.set("set")
    seen = []
    for kind in POOLS:
        with kind(1) as pool:
            seen.append(pool.submit(variable.get).result())
    assert seen[0] == seen[1]


# ---------------------------------------------------------------------------------------------------- subclasses


@pytest.mark.by_version(sys.version_info < (3, 14), reason="prepare_context came with 3.14")
def test_a_subclass_with_worker_contexts_of_its_own():
    from concurrent.futures.thread import WorkerContext

    log = []

    class Context(WorkerContext):
        def initialize(self):
            log.append("initialize")

        def finalize(self):
            log.append("finalize")

        def run(self, task):
            function, args, kwargs = task
            return "ran", function(*args, **kwargs)

    class Own(aioxide.ThreadPoolExecutor):
        @classmethod
        def prepare_context(cls, initializer, initargs):
            _, resolve = super().prepare_context(initializer, initargs)
            return lambda: Context(initializer, initargs), resolve

    with Own(1) as pool:
        assert pool.submit(pow, 2, 3).result() == ("ran", 8)
        assert pool.submit(int, x="10", **{}).exception().__class__ is TypeError
        assert asyncio.run(through_a_loop(pool), loop_factory=aioxide.new_event_loop) == ("ran", 32)
    assert log == ["initialize", "finalize"]


async def through_a_loop(pool):
    return await asyncio.get_running_loop().run_in_executor(pool, pow, 2, 5)


def test_a_subclass_that_starts_its_threads_itself():
    # Many programs have one, for daemon threads; it drives the standard library's queue.
    started = []

    class Own(aioxide.ThreadPoolExecutor):
        def _adjust_thread_count(self):
            started.append(self)
            super()._adjust_thread_count()

    with Own(2) as pool:
        assert pool.submit(pow, 2, 3).result(DEADLINE) == 8
        assert aioxide.run(through_a_loop(pool)) == 32
        assert len(started) == 2
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(int)
    with pytest.raises(TypeError, match="starts its threads itself"):
        Own(2, idle_timeout=1)
