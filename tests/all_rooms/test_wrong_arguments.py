"""Every public callable of ours, with arguments that do not fit: which one it is, what it takes, what it got."""

import contextvars
import gc
import inspect
import multiprocessing
import re

import aioxide
import aioxide.gunicorn
import aioxide.shared
import pytest

from tests.support.wrong_arguments import INSIDE, VALUES, Index, faults

CONTEXT_VARIABLE = contextvars.ContextVar("CONTEXT_VARIABLE")

SECONDS = {"inf", "0", "1.5", "2", "10**30", "10**400", "index"}
COUNTS = {"2", "index"}
ANYTHING = set(VALUES)
TRUTHS = ANYTHING - {"refusing"}
NONE = {"None"}


def thread_pool(**options):
    aioxide.ThreadPoolExecutor(**options).shutdown()


def process_pool(**options):
    aioxide.ProcessPoolExecutor(**options).shutdown()


@pytest.fixture(scope="module")
def processes():
    with aioxide.ProcessPoolExecutor(1) as pool:
        pool.submit(int).result()
        yield pool


@pytest.fixture(scope="module")
def threads():
    with aioxide.ThreadPoolExecutor(1) as pool:
        yield pool


CONSTRUCTORS = [
    (thread_pool, "max_workers", NONE | {"inf", "1.5", "2", "10**30", "10**400", "True"}),
    (thread_pool, "idle_timeout", NONE | SECONDS),
    (thread_pool, "max_pending", NONE | COUNTS),
    (thread_pool, "spin", NONE | SECONDS),
    (thread_pool, "initializer", NONE | {"function", "type", "refusing"}),
    (thread_pool, "thread_name_prefix", TRUTHS),
    (thread_pool, "initargs", ANYTHING),  # as the standard class, which looks at them in the thread
    (process_pool, "max_workers", NONE | {"2"}),
    (process_pool, "mp_context", NONE),
    (process_pool, "initializer", NONE | {"function", "type", "refusing"}),
    (process_pool, "initargs", ANYTHING),
    (process_pool, "max_tasks_per_child", NONE | {"2", "True"}),
    (process_pool, "on_worker_death", set()),
    (process_pool, "cancel_running", TRUTHS),
    (process_pool, "idle_timeout", NONE | SECONDS - {"0"}),
    (process_pool, "max_pending", NONE | COUNTS),
    (process_pool, "max_rss", NONE | COUNTS),
]


@pytest.mark.parametrize(
    ("make", "argument", "accepted"),
    CONSTRUCTORS,
    ids=[f"{make.__name__}-{argument}" for make, argument, _ in CONSTRUCTORS],
)
def test_arguments_of_a_pool(make, argument, accepted):
    assert faults(lambda value: make(**{argument: value}), argument, accepted) == []


@pytest.mark.parametrize(
    ("argument", "accepted"),
    [
        ("fn", {"function", "type", "refusing"}),
        ("args", {"str", "bytes", "list", "dict", "numbered dict"}),
        ("kwargs", NONE | {"dict"}),
        ("timeout", NONE | SECONDS - {"0"}),
        ("retries", {"0", "2", "index"}),
        ("context", NONE),
    ],
)
def test_arguments_of_schedule(processes, argument, accepted):
    def schedule(value):
        processes.schedule(**{"fn": int, argument: value}).cancel()

    assert faults(schedule, argument, accepted) == []


def test_schedule_takes_a_context_and_variables_with_or_without_a_value(processes):
    assert processes.schedule(int, context=contextvars.Context()).result() == 0
    assert processes.schedule(int, context=[CONTEXT_VARIABLE]).result() == 0


def test_a_pool_takes_integers_of_numpys_kind(processes):
    assert processes.schedule(int, retries=Index()).result() == 0
    with aioxide.ThreadPoolExecutor(1, max_pending=Index()) as pool:
        assert pool.submit(int).result() == 0


@pytest.mark.parametrize(
    ("argument", "accepted"),
    [
        ("timeout", NONE | {"1.5", "2"}),
        ("chunksize", {"2", "index", "True"}),
        ("buffersize", NONE | {"2", "True"}),
    ],
)
def test_arguments_of_map_in_processes(processes, argument, accepted):
    def call(value):
        try:
            list(processes.map(str, [1], **{argument: value}))
        except TimeoutError:  # as in the standard pool, for times that are over
            pass

    late = SECONDS | {"-1", "-0.5", "-inf", "-10**30"} if argument == "timeout" else set()
    assert faults(call, argument, accepted | late) == []


@pytest.mark.parametrize(
    ("argument", "accepted"),
    [
        ("fn", {"function", "type", "refusing"}),
        ("iterables", {"str", "bytes", "list", "dict", "numbered dict", "refusing"}),
        ("chunksize", {"2", "index"}),
        ("ordered", ANYTHING),
    ],
)
def test_arguments_of_map_progress(processes, argument, accepted):
    def call(value):
        given = {"fn": str, "iterables": [1], argument: value}
        processes.map_progress(given.pop("fn"), given.pop("iterables"), **given)

    assert faults(call, argument, accepted) == []


@pytest.mark.parametrize("argument", ["wait", "cancel_futures"])
def test_arguments_of_shutdown_are_truths(argument):
    for make in (aioxide.ThreadPoolExecutor, aioxide.ProcessPoolExecutor):
        assert faults(lambda value, make=make: make(1).shutdown(**{argument: value}), argument, TRUTHS) == []


def test_arguments_of_what_shares_memory():
    assert faults(aioxide.shared.buffer, "size", {"0", "2", "index"}) == []
    assert faults(aioxide.shared.empty, "shape", {"0", "2", "list", "index"}) == []
    assert faults(lambda value: aioxide.shared.empty((value, 2)), "shape", {"0", "2", "index"}) == []
    with pytest.raises(TypeError, match=r"^shape must be an integer or a sequence of integers, not str$"):
        aioxide.shared.empty(["x"])


def test_arguments_of_quantile(threads):
    histogram = threads.stats().run
    assert faults(histogram.quantile, "q", {"0"}) == []


def test_a_loop_takes_no_selector():
    assert faults(lambda value: aioxide.EventLoop(value).close(), "selector", NONE) == []
    with pytest.raises(TypeError, match=r"polls no selector; asyncio.SelectorEventLoop\(selector\) does"):
        aioxide.EventLoop(selector=5)


@pytest.mark.filterwarnings("error")
def test_a_loop_whose_arguments_do_not_fit_leaves_nothing_behind():
    with pytest.raises(TypeError, match="takes from 1 to 2 positional arguments but 3 were given"):
        aioxide.EventLoop(None, 1)
    gc.collect()


def test_a_number_that_is_too_long_to_be_written_is_told_by_its_size(threads, processes):
    """Of more than 4300 digits Python itself writes none (`sys.set_int_max_str_digits`)."""
    huge = 10**5000
    for call in (
        lambda: aioxide.shared.buffer(huge),
        lambda: aioxide.shared.buffer(-huge),
        lambda: thread_pool(max_pending=huge),
        lambda: thread_pool(idle_timeout=-huge),
        lambda: process_pool(max_rss=-huge),
        lambda: process_pool(on_worker_death=huge),
        lambda: threads.stats().run.quantile(huge),
        lambda: threads.map(abs, [1], buffersize=huge),
        lambda: processes.map(abs, [1], chunksize=huge),
        lambda: processes.schedule(int, retries=-huge),
        lambda: processes.schedule(int, timeout=-huge),
    ):
        with pytest.raises((ValueError, OverflowError), match=r"not an int of 16610 bits$"):
            call()
    loop = aioxide.new_event_loop()
    for method in (loop.call_later, loop.call_at):
        with pytest.raises(OverflowError, match=r"a float can hold, not an int of 16610 bits$"):
            method(huge, id)
    loop.close()


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_a_start_method_is_not_a_context(method):
    with pytest.raises(ValueError, match=re.escape(f"(multiprocessing.get_context({method!r}))")):
        aioxide.ProcessPoolExecutor(mp_context=method)


@pytest.mark.parametrize(
    ("argument", "accepted"),
    [
        ("max_workers", NONE),
        ("memory_limit", NONE),
        ("timeout", set()),
        ("retries", set()),
        ("pickle_by_value", set()),
        ("cluster_options", NONE),
        ("client_options", NONE),
        ("scheduler_file", NONE),
        ("dashboard_address", NONE),
    ],
)
def test_arguments_of_a_cluster(argument, accepted, monkeypatch):
    import aioxide._cluster.executor as module

    class Reached(Exception):
        pass

    def reached(*args, **kwargs):
        raise Reached

    # Behind the checks: nothing is to be started here for what is right.
    monkeypatch.setattr(module, "_processors", reached)
    monkeypatch.setattr(module, "_read_scheduler_file", reached)
    monkeypatch.setattr(module, "_Session", reached)
    monkeypatch.setattr(module, "_import_distributed", lambda: None)

    def make(value):
        try:
            aioxide.ClusterExecutor(**{"scheduler_file": "x", argument: value} if rest else {argument: value})
        except (Reached, AttributeError):
            pass

    rest = argument not in (
        "max_workers",
        "memory_limit",
        "cluster_options",
        "scheduler_file",
        "dashboard_address",
    )
    found = [fault for fault in faults(make, argument, accepted) if not fault.endswith(": accepted")]
    assert found == []


@pytest.mark.parametrize(
    ("argument", "accepted"),
    [
        ("fn", {"function", "type", "refusing"}),
        ("args", {"str", "bytes", "list", "dict", "numbered dict"}),
        ("kwargs", NONE | {"dict"}),
        ("retries", NONE | {"0", "2", "index"}),
        ("workers", NONE | {"str", "dict"}),
        ("resources", NONE | {"dict"}),
        ("priority", {"0", "1.5", "2", "-1", "-0.5", "inf", "-inf", "10**30", "-10**30", "10**400", "index"}),
    ],
)
def test_arguments_of_a_call_in_a_cluster(argument, accepted, monkeypatch):
    pool = object.__new__(aioxide.ClusterExecutor)
    monkeypatch.setattr(pool, "_retries", 0, raising=False)
    monkeypatch.setattr(pool, "_post", lambda *call: None)

    def schedule(value):
        pool.schedule(**{"fn": int, argument: value})

    assert faults(schedule, argument, accepted) == []
    for value in ({"GPU": "x"}, {"GPU": -1}, {"GPU": float("nan")}):
        with pytest.raises(
            (TypeError, ValueError), match=r"^resources\['GPU'\] must be .*, not (str|-1|nan)$"
        ):
            schedule(value) if argument == "resources" else pool.schedule(int, resources=value)


# ---------------------------------------------------------------------------------- names and number of arguments


def own_callables(threads, processes):
    """(name, callable) of all that is public and ours."""
    for name in dir(aioxide):
        value = getattr(aioxide, name) if not name.startswith("_") and name != "EventLoopPolicy" else None
        if callable(value) and (getattr(value, "__module__", "") or "").startswith("aioxide"):
            yield f"aioxide.{name}", value
    # Nobody makes a Buffer: `buffer()` does.
    for name in set(aioxide.shared.__all__) - {"Buffer"}:
        yield f"aioxide.shared.{name}", getattr(aioxide.shared, name)
    things = (
        threads,
        processes,
        threads.stats(),
        threads.stats().run,
        processes.stats(),
        threads.submit(int),
    )
    for thing in (*things, processes.share(1)):
        for name in dir(thing):
            if not name.startswith("_") and callable(getattr(thing, name)):
                yield f"{type(thing).__name__}.{name}", getattr(thing, name)


# These pass keywords on to what they call, or take any.
TAKES_ANY = {"submit"}


def test_a_keyword_or_an_argument_too_many_is_refused_by_name(threads, processes):
    seen = 0
    for name, function in own_callables(threads, processes):
        short = name.rpartition(".")[2]
        if short in TAKES_ANY or (isinstance(function, type) and issubclass(function, BaseException)):
            continue
        seen += 1
        with pytest.raises(TypeError) as refused:
            function(no_such_argument=1)
        assert re.search(
            r"no_such_argument|no keyword arguments|missing required argument", str(refused.value)
        ), name
        assert not INSIDE.search(str(refused.value)), name
        kinds = {parameter.kind for parameter in inspect.signature(function).parameters.values()}
        if inspect.Parameter.VAR_POSITIONAL in kinds:
            continue
        with pytest.raises(TypeError) as refused:
            function(*range(30))
        assert re.search(r"takes|given|fit|expected", str(refused.value)), (name, refused.value)
        assert not INSIDE.search(str(refused.value)), name
    assert seen > 30


def test_a_worker_for_gunicorn_that_is_not_there_is_named():
    with pytest.raises(AttributeError, match=r"module 'aioxide.gunicorn' has no attribute 'NoSuchWorker'"):
        aioxide.gunicorn.NoSuchWorker
