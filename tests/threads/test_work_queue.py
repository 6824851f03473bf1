"""`pool._work_queue` and the other private names of the standard thread pool that programs use, on both pools."""

import asyncio
import concurrent.futures
import concurrent.futures.thread
import queue
import sys
import threading
import time

import aioxide
import pytest

from tests.support.programs import DEADLINE, output_of, then_set, wait_until

STANDARD = concurrent.futures.ThreadPoolExecutor


@pytest.fixture(params=[STANDARD, aioxide.ThreadPoolExecutor], ids=["standard", "aioxide"])
def pool_class(request):
    return request.param


@pytest.fixture
def release():
    event = threading.Event()
    yield event
    event.set()


def occupied(pool, release):
    """Have every thread of a pool of one wait for `release`."""
    began = threading.Event()
    pool.submit(lambda: (began.set(), release.wait()))
    assert began.wait(DEADLINE)


def call_of(item):
    """(function, arguments, keyword arguments) of a work item of the running version."""
    return item.task if sys.version_info >= (3, 14) else (item.fn, item.args, item.kwargs)


def run_by_hand(item):
    if sys.version_info >= (3, 14):
        item.run(concurrent.futures.thread.WorkerContext(None, ()))
    else:
        item.run()


# ---------------------------------------------------------------------------------------------------- taking out


def test_what_is_taken_out_is_a_work_item_and_does_not_run(pool_class, release):
    with pool_class(1) as pool, then_set(release):
        occupied(pool, release)
        futures = [pool.submit(pow, i, exp=2) for i in range(3)]
        item = pool._work_queue.get(block=False)
        assert type(item) is concurrent.futures.thread._WorkItem
        assert item.future is futures[0]
        assert call_of(item) == (pow, (0,), {"exp": 2})
        assert pool._work_queue.qsize() == 2
        assert not pool._work_queue.empty()
        release.set()
        assert [future.result(DEADLINE) for future in futures[1:]] == [1, 4]
        assert not futures[0].done()
        run_by_hand(item)
        assert futures[0].result(0) == 0


def test_a_queue_is_drained_until_it_is_empty(pool_class, release):
    with pool_class(1) as pool, then_set(release):
        occupied(pool, release)
        for i in range(5):
            pool.submit(int, i)
        taken = []
        with pytest.raises(queue.Empty):
            while True:
                taken.append(call_of(pool._work_queue.get_nowait())[1])
        assert taken == [(0,), (1,), (2,), (3,), (4,)]


def test_an_item_can_be_put_back(pool_class, release):
    with pool_class(1) as pool, then_set(release):
        occupied(pool, release)
        future = pool.submit(pow, 2, 3)
        item = pool._work_queue.get(timeout=1)
        pool._work_queue.put(item)
        release.set()
        assert future.result(DEADLINE) == 8


def test_an_item_that_was_cancelled_does_not_run_when_it_is_put_back(pool_class, release):
    ran = []
    with pool_class(1) as pool, then_set(release):
        occupied(pool, release)
        future = pool.submit(ran.append, 1)
        item = pool._work_queue.get_nowait()
        assert future.cancel()
        pool._work_queue.put_nowait(item)
        release.set()
    assert not ran
    assert future.cancelled()


def test_get_waits_for_as_long_as_it_was_told(pool_class, release):
    with pool_class(1) as pool, then_set(release):
        occupied(pool, release)
        begun = time.monotonic()
        with pytest.raises(queue.Empty):
            pool._work_queue.get(timeout=0.05)
        assert time.monotonic() - begun >= 0.05
        with pytest.raises(ValueError, match=r"timeout.* must be a n"):
            pool._work_queue.get(timeout=-1)


def test_a_thread_that_waits_gets_the_next_call(pool_class, release):
    with pool_class(1) as pool, then_set(release):
        occupied(pool, release)
        taken = queue.SimpleQueue()
        thread = threading.Thread(target=lambda: taken.put(pool._work_queue.get()))
        thread.start()
        future = pool.submit(pow, 2, 3)
        item = taken.get(timeout=DEADLINE)
        thread.join()
        assert item.future is future


def test_a_thread_that_waits_is_woken_by_none_and_by_the_end(pool_class, release):
    pool = pool_class(1)
    occupied(pool, release)
    taken = queue.SimpleQueue()
    thread = threading.Thread(target=lambda: [taken.put(pool._work_queue.get()) for _ in range(2)])
    thread.start()
    pool._work_queue.put(None)
    assert taken.get(timeout=DEADLINE) is None
    pool.shutdown(wait=False)
    assert taken.get(timeout=DEADLINE) is None
    thread.join()


def test_none_ends_no_thread_of_a_pool_that_goes_on(pool_class):
    with pool_class(1) as pool:
        pool.submit(int).result(DEADLINE)
        for _ in range(3):
            pool._work_queue.put(None)
        assert pool.submit(pow, 2, 3).result(DEADLINE) == 8
        (thread,) = pool._threads
        assert thread.is_alive()


def test_the_call_of_a_loop_can_be_taken_out_and_run(release):
    with aioxide.ThreadPoolExecutor(1) as pool, then_set(release):

        async def main():
            loop = asyncio.get_running_loop()
            occupied(pool, release)
            first, second, third = (loop.run_in_executor(pool, pow, i, 2) for i in (2, 3, 4))
            second.cancel()
            item = pool._work_queue.get_nowait()
            assert call_of(item) == (pow, (2, 2), {})
            threading.Thread(target=run_by_hand, args=[item]).start()
            assert await asyncio.wait_for(first, DEADLINE) == 4
            item = pool._work_queue.get_nowait()  # nobody waits for the second any more
            assert call_of(item) == (pow, (4, 2), {})
            third.cancel()
            await asyncio.sleep(0)
            assert item.future.cancelled()
            release.set()

        aioxide.run(main())


def test_ctrl_c_ends_a_wait_for_a_call():
    program = """
import os, signal, threading, time, aioxide
pool = aioxide.ThreadPoolExecutor(1)
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    pool._work_queue.get()
except KeyboardInterrupt:
    print(pool.submit(pow, 2, 3).result())
"""
    assert output_of(program) == ["8"]


def test_what_is_no_work_item_is_refused():
    with aioxide.ThreadPoolExecutor(1) as pool, pytest.raises(TypeError, match="takes None and work items"):
        pool._work_queue.put(5)


# ------------------------------------------------------------------------------------------ a queue of one's own


def test_a_bounded_queue_that_is_assigned_holds_submit_back(pool_class, release):
    with pool_class(1) as pool, then_set(release):
        pool._work_queue = queue.Queue(maxsize=2)
        submitted = []

        def produce():
            for i in range(6):
                pool.submit(release.wait)
                submitted.append(i)

        thread = threading.Thread(target=produce)
        thread.start()
        wait_until(lambda: len(submitted) == 3)
        time.sleep(0.05)
        assert len(submitted) == 3
        release.set()
        thread.join(DEADLINE)
        assert len(submitted) == 6


def test_a_queue_that_is_assigned_decides_the_order(pool_class, release):
    class Bounded(pool_class):
        def __init__(self):
            super().__init__(max_workers=1)
            self._work_queue = queue.LifoQueue()

    order = []
    with Bounded() as pool, then_set(release):
        occupied(pool, release)
        futures = [pool.submit(order.append, i) for i in range(4)]
        release.set()
        concurrent.futures.wait(futures, DEADLINE)
    assert order == [3, 2, 1, 0]


def test_a_loop_uses_the_queue_that_was_assigned(release):
    class Counted(queue.SimpleQueue):
        puts = 0

        def put(self, item, block=True, timeout=None):
            if item is not None:
                self.puts += 1
            super().put(item, block, timeout)

    with aioxide.ThreadPoolExecutor(1) as pool, then_set(release):
        pool._work_queue = own = Counted()

        async def main():
            return await asyncio.get_running_loop().run_in_executor(pool, pow, 2, 3)

        assert aioxide.run(main()) == 8
        assert own.puts == 1
        assert pool._work_queue is own
        with pytest.raises(TypeError, match="queue of the user's: nothing is counted"):
            pool.stats()


def test_what_was_queued_before_another_queue_was_assigned_runs(release):
    pool = aioxide.ThreadPoolExecutor(1)
    occupied(pool, release)
    before = [pool.submit(pow, i, 2) for i in range(3)]
    pool._work_queue = queue.SimpleQueue()
    assert pool.submit(pow, 2, 5).result(DEADLINE) == 32
    release.set()
    assert [future.result(DEADLINE) for future in before] == [0, 1, 4]
    pool.shutdown()
    assert not any(thread.is_alive() for thread in pool._retired)


def test_a_queue_cannot_be_assigned_where_a_keyword_would_be_lost():
    with (
        aioxide.ThreadPoolExecutor(1, max_pending=5) as pool,
        pytest.raises(TypeError, match="cannot be assigned to a pool that was made with max_pending"),
    ):
        pool._work_queue = queue.Queue(2)


# ------------------------------------------------------------------------------------------------- other names


def test_more_workers_can_be_allowed_later(pool_class, release):
    with pool_class(1) as pool, then_set(release):
        occupied(pool, release)
        pool._max_workers = 2
        assert pool.submit(pow, 2, 3).result(DEADLINE) == 8
        assert len(pool._threads) == pool._max_workers == 2


def test_the_number_of_idle_threads_is_where_programs_look_for_it(pool_class, release):
    with pool_class(1) as pool, then_set(release):
        occupied(pool, release)
        assert pool._idle_semaphore._value == 0
        assert not pool._idle_semaphore.acquire(timeout=0)
        release.set()
        wait_until(lambda: pool._idle_semaphore._value == 1)


def test_a_pool_can_be_closed_and_opened_by_its_flag(pool_class):
    with pool_class(1) as pool:
        pool._shutdown = True
        with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
            pool.submit(int)
        pool._shutdown = False
        assert pool.submit(pow, 2, 3).result(DEADLINE) == 8


def test_its_threads_are_in_the_list_of_all_threads_of_pools(pool_class):
    with pool_class(1) as pool:
        pool.submit(int).result(DEADLINE)
        (thread,) = pool._threads
        assert concurrent.futures.thread._threads_queues[thread] is pool._work_queue


def test_a_copy_of_the_standard_submit_works(pool_class):
    """What subclasses with a future of their own contain."""

    class Mine(concurrent.futures.Future):
        pass

    class Pool(pool_class):
        def submit(self, fn, /, *args, **kwargs):
            with self._shutdown_lock:
                assert not self._broken
                assert not self._shutdown
                future = Mine()
                call = [(fn, args, kwargs)] if sys.version_info >= (3, 14) else [fn, args, kwargs]
                self._work_queue.put(concurrent.futures.thread._WorkItem(future, *call))
                self._adjust_thread_count()
                return future

    with Pool(2) as pool:
        future = pool.submit(pow, 2, 3)
        assert type(future) is Mine
        assert future.result(DEADLINE) == 8
        assert list(pool.map(str, range(50))) == [str(i) for i in range(50)]


def test_the_standard_class_whose_way_of_starting_threads_was_replaced(monkeypatch):
    started = []
    original = STANDARD._adjust_thread_count

    def adjust(self):
        started.append(self)
        original(self)

    monkeypatch.setattr(STANDARD, "_adjust_thread_count", adjust)
    with aioxide.ThreadPoolExecutor(1) as pool:
        assert pool.submit(pow, 2, 3).result(DEADLINE) == 8
    assert started == [pool]


PUBSUB = """
import threading, aioxide
aioxide.install(namespace=True)
from google.cloud.pubsub_v1.subscriber.scheduler import ThreadScheduler
from concurrent.futures import ThreadPoolExecutor
release, began = threading.Event(), threading.Event()
def callback(message):
    began.set()
    release.wait(60)
scheduler = ThreadScheduler(ThreadPoolExecutor(1))
scheduler.schedule(callback, object())
began.wait(60)
for _ in range(3):
    scheduler.schedule(callback, object())
threading.Timer(0.1, release.set).start()
print(type(scheduler._executor).__module__, len(scheduler.shutdown(await_msg_callbacks=True)))
"""


@pytest.mark.by_version(sys.version_info[:2] != (3, 14), "packages are tried on one Python")
def test_pubsubs_scheduler_takes_back_what_has_not_begun():
    assert output_of(PUBSUB) == ["aioxide", "3"]
