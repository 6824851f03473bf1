"""How calls get to worker processes: whose descriptors, which threads, which start method, and where errors surface."""

import asyncio
import concurrent.futures
import multiprocessing
import os
import pickle
import stat
import sys
import threading
import warnings

import aioxide
import pytest

from tests.support import process_tasks as tasks
from tests.support.programs import DEADLINE, output_of, wait_until

METHODS = ("fork", "spawn", "forkserver")


@pytest.fixture(params=METHODS)
def context(request):
    return multiprocessing.get_context(request.param)


def sockets(pid="self"):
    """The numbers of the sockets that a process has open."""
    found = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            status = os.stat(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue
        if stat.S_ISSOCK(status.st_mode):
            found.add(status.st_ino)
    return found


def test_the_start_method_is_the_interpreters_default():
    with aioxide.ProcessPoolExecutor(1) as ours, concurrent.futures.ProcessPoolExecutor(1) as standard:
        assert ours._mp_context is standard._mp_context


@pytest.mark.parametrize("method", ("spawn", "forkserver"))
def test_each_worker_has_a_socket_of_its_own_and_none_of_anothers(method):
    before = sockets()
    with aioxide.ProcessPoolExecutor(3, multiprocessing.get_context(method)) as pool:
        list(pool.map(tasks.nap, [0.1] * 3))
        wait_until(lambda: len(pool.workers()) == 3 and all(worker.ready for worker in pool.workers()))
        assert len(sockets() - before) == 3
        theirs = [sockets(worker.pid) - before for worker in pool.workers()]
        assert [len(each) for each in theirs] == [1, 1, 1] and len(set.union(*theirs)) == 3
    wait_until(lambda: sockets() <= before)


NOTHING_SHARED = """
import os, multiprocessing
import numpy
from multiprocessing import resource_tracker
import aioxide
from aioxide import shared
from tests.support import process_tasks as tasks

def mapped(pid):
    with open(f"/proc/{pid}/maps") as lines:
        return [line for line in lines if "/dev/shm" in line]


if __name__ == "__main__":
    with aioxide.ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        pool.submit(tasks.same, numpy.ones(1_000_000)).result(60)
        pool.submit(tasks.same, shared.empty(100_000)).result(60)
        pool.submit(tasks.same, pool.share([1])).result(60)
        pids = [os.getpid(), *(worker.pid for worker in pool.workers())]
        print(resource_tracker._resource_tracker._pid, len(pids), [line for pid in pids for line in mapped(pid)])
"""


def test_neither_the_resource_tracker_nor_dev_shm_has_a_part_in_it():
    pytest.importorskip("numpy", reason="numpy is not installed (tests/processes/requirements.txt)")
    assert output_of(NOTHING_SHARED) == ["None", "3", "[]"]


def test_run_in_executor_gives_a_future_of_the_loop_and_needs_no_thread(context):
    async def main(pool):
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(pool, tasks.square, 1)
        threads = len(os.listdir("/proc/self/task"))
        future = loop.run_in_executor(pool, tasks.nap, 0.1, "done")
        assert type(future) is aioxide.Future and future.get_loop() is loop
        assert pool._pool.home() is loop
        assert len(os.listdir("/proc/self/task")) == threads
        return await future

    with aioxide.ProcessPoolExecutor(1, context) as pool:
        assert aioxide.run(main(pool)) == "done"


@pytest.mark.parametrize("size", (1000, 1 << 14, 1 << 20, 20 << 20))
@pytest.mark.parametrize("kind", (bytes, bytearray))
def test_pickle_buffers_arrive_as_the_standard_library_has_them(kind, size):
    """As bytes where the source is read-only, or else as a bytearray, both ways and at every size."""
    data = kind(size)
    with aioxide.ProcessPoolExecutor(1) as pool:
        for function, argument in (
            (tasks.kind_and_size, pickle.PickleBuffer(data)),
            (tasks.kind_in, tasks.Zero(data)),
        ):
            assert pool.submit(function, argument).result(DEADLINE) == (kind.__name__, size)
        back = pool.submit(tasks.same, tasks.Zero(data)).result(DEADLINE)
        assert type(back.data) is kind and back.data == data
        assert pool.submit(tasks.same, pickle.PickleBuffer(data)).result(DEADLINE) == data


def test_a_call_is_pickled_when_it_is_sent():
    """The table of docs/explanation/pools.md: at once where a worker is idle, else when one has room for it."""
    with aioxide.ProcessPoolExecutor(1) as pool:
        assert pool.submit(tasks.nap, 0.1).result(DEADLINE) is None
        values = [1, 2]
        sent = pool.submit(tasks.same, values)
        values.append(3)
        assert sent.result(DEADLINE) == [1, 2]
        bad = pool.submit(tasks.same, threading.Lock())
        assert bad.done() and isinstance(bad.exception(0), TypeError)
        ahead = [pool.submit(tasks.nap, 0.2, "done") for _ in range(3)]
        waiting, bad = pool.submit(tasks.same, values), pool.submit(tasks.same, threading.Lock())
        values.append(4)
        assert not bad.done() and ahead[0].result(DEADLINE) == "done"
        assert waiting.result(DEADLINE) == [1, 2, 3, 4]
        assert isinstance(bad.exception(DEADLINE), TypeError) and bad.exception().__cause__ is not None


def test_the_standard_pool_too_pickles_what_waits_when_its_turn_comes():
    with concurrent.futures.ProcessPoolExecutor(1) as pool:
        ahead = [pool.submit(tasks.nap, 0.2, "done") for _ in range(5)]
        values = [1, 2]
        waiting, bad = pool.submit(tasks.same, values), pool.submit(tasks.same, threading.Lock())
        values.append(3)
        assert not bad.done() and ahead[-1].result(DEADLINE) == "done"
        assert waiting.result(DEADLINE) == [1, 2, 3]
        assert isinstance(bad.exception(DEADLINE), TypeError)


def test_arguments_that_wait_are_held_once():
    """In numbers of the pool's own: bytes in memory to send in, and references to what all calls have."""
    data = bytes(1 << 20)
    with aioxide.ProcessPoolExecutor(1) as pool:
        for _ in range(50):  # trusted with many calls ahead
            pool.submit(tasks.square, 1).result(DEADLINE)
        first = pool.submit(tasks.nap, 0.5)
        futures = [pool.submit(len, data) for _ in range(400)]
        assert pool.stats().shared_bytes < 16 << 20
        for future in futures[5:]:
            future.cancel()
        assert first.result(DEADLINE) is None
        assert futures[0].result(DEADLINE) == 1 << 20
        assert pool.stats().shared_bytes < 16 << 20


def forks_beside_a_thread(factory):
    """The categories of the warnings that a pool gives whose workers are forked while another thread runs."""
    release = threading.Event()
    thread = threading.Thread(target=release.wait, args=(DEADLINE,))
    thread.start()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with factory(1, multiprocessing.get_context("fork")) as pool:
                assert pool.submit(tasks.square, 3).result(DEADLINE) == 9
        return {warning.category for warning in caught}
    finally:
        release.set()
        thread.join()


def test_fork_beside_threads_warns_as_cpython_does():
    assert forks_beside_a_thread(aioxide.ProcessPoolExecutor) == forks_beside_a_thread(
        concurrent.futures.ProcessPoolExecutor
    )


FORKS_WITHOUT_THREADS = """
import multiprocessing, os, sys, warnings
import aioxide
from tests.support import process_tasks as tasks

if __name__ == "__main__":
    warnings.simplefilter("error")
    with aioxide.ProcessPoolExecutor(3, multiprocessing.get_context("fork")) as pool:
        # All workers of fork are there before a thread of ours is.
        print(pool.submit(tasks.square, 3).result(60), len(pool.workers()))
"""


def test_workers_are_forked_before_there_is_a_thread_of_ours():
    assert output_of(FORKS_WITHOUT_THREADS) == ["9", "3"]


def test_a_worker_has_the_signal_handling_of_a_fresh_process(context):
    """No wake-up descriptor of the parent's loop (python/cpython#94454)."""

    async def main(pool):
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(10, lambda: None)
        return await loop.run_in_executor(pool, tasks.wakeup_descriptor)

    with aioxide.ProcessPoolExecutor(1, context) as pool:
        assert aioxide.run(main(pool)) == -1


def test_calls_of_many_threads_all_arrive():
    results = {}

    def work(pool, thread):
        futures = [pool.submit(tasks.square, thread * 1000 + n) for n in range(200)]
        results[thread] = [future.result(DEADLINE) for future in futures]

    with aioxide.ProcessPoolExecutor(2) as pool:
        threads = [threading.Thread(target=work, args=(pool, n)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
    assert results == {n: [(n * 1000 + k) ** 2 for k in range(200)] for n in range(8)}


def control_pages():
    with open("/proc/self/maps") as lines:
        return {int(line.split("-")[0], 16) for line in lines if "/memfd:aioxide-page" in line}


def test_several_calls_go_by_one_system_call():
    """The first word of a worker's control page counts what was sent to it."""
    before = control_pages()
    with aioxide.ProcessPoolExecutor(1) as pool, open("/proc/self/mem", "rb", 0) as memory:
        pool.submit(tasks.square, 1).result(DEADLINE)
        [page] = control_pages() - before

        def sent():
            return int.from_bytes(os.pread(memory.fileno(), 8, page), "little")

        def batched():
            # On a busy machine calls look long, and a worker is given few of them ahead: so more than once.
            begun = sent()
            assert list(pool.map(tasks.square, range(2000))) == [n * n for n in range(2000)]
            return 0 < sent() - begun < 500

        wait_until(batched)
        begun = sent()
        for n in range(100):
            pool.submit(tasks.square, n).result(DEADLINE)
        assert sent() - begun >= 100


needs_multiprocess = pytest.mark.by_version(
    sys.version_info >= (3, 15), "multiprocess does not know 3.15 yet"
)
MISSING = "multiprocess is not installed (tests/processes/requirements.txt)"


@needs_multiprocess
@pytest.mark.parametrize("method", METHODS)
def test_a_context_of_a_package_that_has_copied_multiprocessing(method):
    """In the standard pool only fork works with it: its workers get a queue of multiprocessing's."""
    context = pytest.importorskip("multiprocess", reason=MISSING).get_context(method)
    started = context.Event()
    with aioxide.ProcessPoolExecutor(1, context, started.set) as pool:
        assert pool.submit(tasks.square, 3).result(60) == 9 and started.is_set()


@needs_multiprocess
def test_the_fork_server_of_such_a_package_imports_what_workers_need():
    context = pytest.importorskip("multiprocess", reason=MISSING).get_context("forkserver")
    with aioxide.ProcessPoolExecutor(1, context):
        from multiprocess import forkserver

        assert "_aioxide_worker" in forkserver._forkserver._preload_modules
