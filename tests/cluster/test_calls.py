"""`ClusterExecutor` keeps what `concurrent.futures` promises, over a real scheduler and two real workers."""

import concurrent.futures
import sys
import threading
import time
import uuid
import warnings

import pytest

from tests.cluster import support as cluster_support
from tests.cluster.support import add, cluster, pids, requests, wait_until, write_pid_and_wait
from tests.support.interpreters import output_of

numpy = pytest.importorskip("numpy", reason="numpy is not installed (tests/cluster/requirements.txt)")
import aioxide  # noqa: E402

DEADLINE = 60


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with cluster(tmp_path_factory.mktemp("cluster"), resources="SLOT=1") as started:
        yield started


@pytest.fixture(scope="module")
def pool(running):
    here = sys.modules[__name__]
    with aioxide.ClusterExecutor(
        scheduler_file=running.file, pickle_by_value=[here, cluster_support]
    ) as pool:
        pool.client.wait_for_workers(2, timeout=DEADLINE)
        yield pool


class NeedsTwo(Exception):
    def __init__(self, code, *, reason):
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


class Unsendable(Exception):
    def __init__(self):
        super().__init__("holds a lock")
        import threading

        self.lock = threading.Lock()


def fail(error, *args, **kwargs):
    raise error(*args, **kwargs)


def test_a_call_is_a_real_future(pool):
    future = pool.submit(add, 2, second=3)
    assert isinstance(future, concurrent.futures.Future)
    assert future.result(DEADLINE) == 5
    assert future.done() and not future.running() and not future.cancelled() and not future.cancel()
    assert isinstance(pool, concurrent.futures.Executor)


def test_every_keyword_is_the_functions(pool):
    names = (
        "fn self key workers resources retries priority fifo_timeout allow_other_workers actor actors pure"
    )
    keywords = {name: f"my {name}" for name in names.split()}
    assert pool.submit(lambda **kwargs: kwargs, **keywords).result(DEADLINE) == keywords


def test_the_same_call_twice_is_two_calls(pool):
    def unlike():
        return uuid.uuid4()

    first, second = pool.submit(unlike), pool.submit(unlike)
    assert first.result(DEADLINE) != second.result(DEADLINE)
    assert len(set(pool.map(lambda _: uuid.uuid4(), [7] * 10, chunksize=1))) == 10


def test_dask_sees_none_of_the_arguments(pool):
    # It would take tuples for tasks, and strings for the keys of others.
    future = pool.submit(add, 1)
    weird = [(add, 1), future.call.number, future.call.group, {"key": (sum, [1])}]
    future.result(DEADLINE)
    echoed = pool.submit(lambda *args: repr(args), *weird).result(DEADLINE)
    assert "sum" in echoed and future.call.group in echoed


def test_exceptions_come_back_as_they_are(pool):
    future = pool.submit(fail, KeyError, "gone")
    error = future.exception(DEADLINE)
    assert type(error) is KeyError and error.args == ("gone",)
    assert "in fail\n" in str(error.__cause__)
    assert "_aioxide_cluster" not in str(error.__cause__)


def test_an_exception_with_required_arguments(pool):
    error = pool.submit(fail, NeedsTwo, 7, reason="so").exception(DEADLINE)
    assert (type(error), str(error), error.code, error.reason) == (NeedsTwo, "7: so", 7, "so")


def test_an_exception_that_cannot_be_sent_is_told_about(pool):
    error = pool.submit(fail, Unsendable).exception(DEADLINE)
    assert type(error) is RuntimeError
    assert "Unsendable, which cannot be pickled" in str(error) and "holds a lock" in str(error)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_ends_programs_ends_only_the_call(pool, kind):
    assert type(pool.submit(fail, kind, 3).exception(DEADLINE)) is kind
    assert pool.submit(add, 1, 2).result(DEADLINE) == 3


def test_what_cannot_be_pickled_fails_its_own_future_only(pool):
    argument = pool.submit(add, threading.Lock())
    result = pool.submit(threading.Lock)
    fine = pool.submit(add, 1)
    assert "cannot pickle '_thread.lock' object" in str(argument.exception(DEADLINE))
    assert "cannot pickle '_thread.lock' object" in str(result.exception(DEADLINE))
    assert fine.result(DEADLINE) == 1


def test_a_coroutine_function_is_not_run_on_the_workers_loop(pool):
    async def body():
        return 1

    with pytest.raises(TypeError, match="cannot pickle 'coroutine' object"):
        pool.submit(body).result(DEADLINE)


def test_running_is_known(pool, tmp_path):
    release = tmp_path / "release"
    future = pool.submit(write_pid_and_wait, str(tmp_path / "pid"), str(release))
    wait_until(lambda: future.running() and pids(tmp_path / "pid"))
    assert not future.done()
    release.touch()
    assert future.result(DEADLINE) == pids(tmp_path / "pid")[0]


def test_wait_as_completed_and_callbacks(pool):
    futures = [pool.submit(add, number) for number in range(20)]
    called = []
    for future in futures:
        future.add_done_callback(called.append)
    done, pending = concurrent.futures.wait(futures, DEADLINE)
    assert len(done) == 20 and not pending
    assert {future.result() for future in concurrent.futures.as_completed(futures)} == set(range(20))
    wait_until(lambda: set(called) == set(futures))


def test_result_waits_no_longer_than_told(pool, tmp_path):
    future = pool.submit(write_pid_and_wait, str(tmp_path / "pid"), str(tmp_path / "release"))
    with pytest.raises(concurrent.futures.TimeoutError):
        future.result(0.1)
    (tmp_path / "release").touch()
    future.result(DEADLINE)


def test_a_big_array_there_and_back(pool):
    array = numpy.arange(50_000_000 // 8, dtype=numpy.float64)

    def increase(given):
        given += 1
        return given

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # "Sending large graph", for one
        back = pool.submit(increase, array).result(DEADLINE)
    assert back.flags.writeable and numpy.array_equal(back, array + 1)
    assert array[0] == 0


def test_what_happens_to_an_argument_after_submit_is_not_sent(pool):
    array = numpy.zeros(4_000_000, dtype=numpy.uint8)
    future = pool.submit(numpy.sum, array)
    array += 1
    assert future.result(DEADLINE) == 0


def test_an_array_that_is_big_once_and_small_once(pool):
    # Around the two thresholds: out of band, and scattered.
    for size in (1000, 64 * 1024, 1 << 20, (1 << 20) + 1, 5 << 20):
        array = numpy.full(size, 3, dtype=numpy.uint8)
        assert numpy.array_equal(pool.submit(lambda given: given, array).result(DEADLINE), array)
    assert pool.submit(len, b"x" * (3 << 20)).result(DEADLINE) == 3 << 20


@pytest.mark.parametrize(("size", "times"), [((1 << 20) - 5000, 0), ((1 << 20) + 1, 1)])
def test_what_is_more_than_a_mebibyte_is_scattered_once_a_call(pool, size, times):
    # Joined, and so through the scheduler, where it can be seen. `direct=` has a test of its own.
    given = bytes(size)
    with requests(pool, "scatter") as counts:
        assert pool.submit(len, given).result(DEADLINE) == size
    assert counts == {"scatter": times}
    with requests(pool, "scatter") as counts:
        results = [
            pool.submit(len, given),
            pool.schedule(lambda a, b: len(a) + len(b), (given,), {"b": given}),
        ]
        assert [each.result(DEADLINE) for each in results] == [size, 2 * size]
    # Pickled together, the two arguments are one object; and what is not scattered alone, is not beside itself.
    assert counts == {"scatter": 2 * times}


def test_map(pool):
    assert list(pool.map(add, range(50), range(100, 200))) == [100 + 2 * n for n in range(50)]
    assert list(pool.map(add, [])) == []
    for chunksize in (1, 7, 1000):
        assert list(pool.map(add, range(50), chunksize=chunksize, timeout=DEADLINE)) == list(range(50))


def test_map_sends_chunks_unless_told(pool):
    def count(**options):
        before = pool.submit(add, 0)
        assert list(pool.map(add, range(80), **options)) == list(range(80))
        return pool.submit(add, 0).call.number - before.call.number - 1

    assert count() == 8  # four a worker
    assert count(chunksize=1) == 80
    assert count(buffersize=5) == 80


def test_map_gives_what_comes_before_an_exception(pool):
    results = pool.map(lambda number: 10 // number, [2, 5, 0, 1], chunksize=4)
    assert [next(results), next(results)] == [5, 2]
    with pytest.raises(ZeroDivisionError) as caught:
        next(results)
    assert "division" in str(caught.value) and "<lambda>" in str(caught.value.__cause__)
    assert list(results) == []


def test_map_takes_no_more_than_the_buffer_holds(pool):
    taken = []

    def items():
        for number in range(12):
            taken.append(number)
            yield number

    results = pool.map(add, items(), buffersize=3)
    assert taken == [0, 1, 2]
    assert next(results) == 0 and taken == [0, 1, 2, 3]
    assert list(results) == list(range(1, 12))


def test_map_stops_in_time(pool, tmp_path):
    results = pool.map(lambda _: time.sleep(1), range(2), timeout=0.2)
    with pytest.raises(concurrent.futures.TimeoutError):
        list(results)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"chunksize": 0}, ValueError, "chunksize must be >= 1."),
        ({"buffersize": 0}, ValueError, "buffersize must be None or > 0"),
        ({"buffersize": "a"}, TypeError, "buffersize must be an integer or None"),
    ],
)
def test_map_refuses_what_the_standard_pools_refuse(pool, options, error, text):
    with pytest.raises(error) as caught:
        pool.map(add, [1], **options)
    assert str(caught.value) == text


def test_schedule_chooses_the_worker(pool):
    def where():
        from distributed import get_worker

        return get_worker().address

    workers = list(pool.client.scheduler_info()["workers"])
    for address in workers:
        assert pool.schedule(where, workers=[address]).result(DEADLINE) == address
    with_slot = {pool.schedule(where, resources={"SLOT": 1}).result(DEADLINE) for _ in range(4)}
    assert len(with_slot) == 1 and with_slot < set(workers)
    assert pool.schedule(add, (1,), {"second": 2}, priority=5).result(DEADLINE) == 3
    with pytest.raises(ValueError, match="name them"):
        pool.schedule(add, allow_other_workers=True)
    with pytest.raises(ValueError, match="retries must be an integer, 0 or more, not -1"):
        pool.schedule(add, retries=-1)
    with pytest.raises(TypeError, match="retries must be an integer, not str"):
        pool.schedule(add, retries="1")


def test_a_module_that_the_workers_lack_is_named(pool, running, tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("def double(number):\n    return 2 * number\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import only_here

    error = pool.submit(only_here.double, 4).exception(DEADLINE)
    assert isinstance(error, ModuleNotFoundError) and "cannot import 'only_here'" in error.__notes__[0]
    with aioxide.ClusterExecutor(scheduler_file=running.file, pickle_by_value=[only_here]) as other:
        with aioxide.ClusterExecutor(scheduler_file=running.file, pickle_by_value=[only_here]):
            pass
        assert other.submit(only_here.double, 4).result(DEADLINE) == 8
    assert isinstance(pool.submit(only_here.double, 4).exception(DEADLINE), ModuleNotFoundError)


def test_another_version_of_python_is_refused(pool, monkeypatch):
    monkeypatch.setattr("aioxide._cluster.calls.PYTHON", (3, 10))
    error = pool.submit(add, 1).exception(DEADLINE)
    assert type(error) is RuntimeError
    assert f"runs Python {sys.version_info[0]}.{sys.version_info[1]}, and this client 3.10" in str(error)
    with pytest.raises(RuntimeError, match=r"and this client 3.10"):
        aioxide.ClusterExecutor(pool.client.scheduler.address)


def test_distributed_is_imported_when_it_is_needed_and_missed_by_name():
    program = """if True:
        import sys
        import aioxide
        aioxide.ClusterExecutor, aioxide.BrokenCluster
        print({"distributed", "dask", "cloudpickle", "multiprocessing"} & sys.modules.keys())
        assert "ClusterExecutor" in dir(aioxide)
        sys.modules["distributed"] = None
        try:
            aioxide.ClusterExecutor()
        except ImportError as error:
            print(error)
    """
    lines = output_of("-c", program).splitlines()
    assert lines[0] == "set()"
    assert lines[1].startswith(
        "aioxide.ClusterExecutor needs Dask's distributed: pip install aioxide[cluster] ("
    )
