"""What our thread pool has beyond the standard one: retiring, back-pressure, numbers, and the word on a deadlock."""

import asyncio
import linecache
import os
import sys
import threading
import time

import aioxide
import pytest

from tests.support.programs import DEADLINE, output_of, wait_until


@pytest.fixture
def release():
    event = threading.Event()
    yield event
    event.set()


# ------------------------------------------------------------------------------------------------------- retiring


def test_idle_threads_retire_and_new_ones_start():
    with aioxide.ThreadPoolExecutor(3, "Pool", idle_timeout=0.05) as pool:
        barrier = threading.Barrier(3)
        list(pool.map(lambda _: barrier.wait(DEADLINE), range(3)))
        threads = list(pool._threads)
        assert len(threads) == 3
        for thread in threads:
            thread.join(DEADLINE)
            assert not thread.is_alive()
        wait_until(lambda: pool.stats().threads == 0)
        assert not pool._threads
        assert pool.submit(lambda: threading.current_thread().name).result(DEADLINE) == "Pool_3"


def test_threads_in_use_do_not_retire():
    with aioxide.ThreadPoolExecutor(2, idle_timeout=0.2) as pool:
        name, since = None, time.monotonic()
        was_idle = since
        # Until one has been there for four times as long as an idle one may be.
        while was_idle - since < 0.8:
            idle = time.monotonic() - was_idle
            before, name = name, pool.submit(lambda: threading.current_thread().name).result()
            was_idle = time.monotonic()
            if before != name:
                # Another comes only after one that had nothing to do for so long, as on a machine that stood still.
                assert before is None or idle >= 0.2
                since = was_idle
            time.sleep(0.01)


def test_without_idle_timeout_threads_stay():
    with aioxide.ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        (thread,) = pool._threads
        time.sleep(0.3)
        assert thread.is_alive()


def test_retiring_and_submitting_at_the_same_time_loses_no_call():
    with aioxide.ThreadPoolExecutor(2, idle_timeout=0.0005) as pool:
        for i in range(300):
            assert pool.submit(pow, i, 2).result(DEADLINE) == i * i
            time.sleep(0.0005)


def test_shutdown_waits_for_threads_that_retire():
    for _ in range(20):
        pool = aioxide.ThreadPoolExecutor(4, idle_timeout=0.001)
        list(pool.map(int, range(4)))
        threads = list(pool._threads)
        time.sleep(0.001)
        pool.shutdown()
        assert not any(thread.is_alive() for thread in threads)


# --------------------------------------------------------------------------------------------------- back-pressure


def test_submit_blocks_while_too_many_calls_wait(release):
    with aioxide.ThreadPoolExecutor(1, max_pending=2) as pool:
        pool.submit(release.wait, DEADLINE)
        wait_until(lambda: pool.stats().queued == 0)
        submitted = []
        thread = threading.Thread(target=lambda: [submitted.append(pool.submit(int)) for _ in range(5)])
        thread.start()
        wait_until(lambda: len(submitted) == 2)
        time.sleep(0.05)
        assert len(submitted) == 2
        assert pool.stats().queued == 2
        release.set()
        thread.join(DEADLINE)
        assert [call.result(DEADLINE) for call in submitted] == [0] * 5


def test_submit_goes_on_when_waiting_calls_were_cancelled(release):
    with aioxide.ThreadPoolExecutor(1, max_pending=2) as pool:
        pool.submit(release.wait, DEADLINE)
        wait_until(lambda: pool.stats().queued == 0)
        for call in [pool.submit(int) for _ in range(2)]:
            assert call.cancel()
        pool.submit(int)  # does not block
        assert pool.stats().cancelled == 2
        release.set()  # or the pool's end would wait for it


@pytest.mark.parametrize(
    "touch", (lambda call: None, lambda call: call._condition), ids=("plain", "condition")
)
def test_a_cancelled_call_makes_room_for_a_submit_that_waits(release, touch):
    with aioxide.ThreadPoolExecutor(1, max_pending=1) as pool:
        try:
            pool.submit(release.wait, DEADLINE)
            wait_until(lambda: pool.stats().queued == 0)
            queued, submitted = pool.submit(int), []
            touch(queued)
            thread = threading.Thread(target=lambda: submitted.append(pool.submit(int)))
            thread.start()
            time.sleep(0.1)
            assert not submitted
            assert queued.cancel()
            wait_until(lambda: submitted, 10)
            assert pool.stats().cancelled == pool.stats().queued == 1
        finally:
            release.set()
        assert submitted[0].result(DEADLINE) == 0
        thread.join(DEADLINE)


INTERRUPTED = """
import signal, sys, threading, time, aioxide

class Interrupted(Exception):
    pass

def interrupt(*args):
    raise Interrupted

def second():
    time.sleep(0.1)
    submitted.append(pool.submit(int))

def cancels():
    time.sleep(0.3)
    queued.cancel()
    signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

signal.signal(signal.SIGUSR1, interrupt)
sys.setswitchinterval(5)  # the thread that cancels keeps the GIL
release, submitted = threading.Event(), []
with aioxide.ThreadPoolExecutor(1, max_pending=1) as pool:
    pool.submit(release.wait, 60)
    while pool.stats().queued:
        time.sleep(0.01)
    queued = pool.submit(int)
    threads = [threading.Thread(target=each) for each in (second, cancels)]
    for thread in threads:
        thread.start()
    try:
        pool.submit(int)
    except Interrupted:
        print("interrupted")
    threads[0].join(10)
    print(len(submitted))
    release.set()
"""


def test_room_that_one_was_told_of_who_is_interrupted_is_found_by_the_next():
    assert output_of(INTERRUPTED) == ["interrupted", "1"]


def test_a_cancelled_call_of_a_loop_makes_room_for_a_submit_that_waits(release):
    async def main(pool):
        loop = asyncio.get_running_loop()
        queued, submitted = loop.run_in_executor(pool, int), []
        thread = threading.Thread(target=lambda: submitted.append(pool.submit(int)))
        thread.start()
        await asyncio.sleep(0.1)
        assert not submitted
        assert queued.cancel()
        async with asyncio.timeout(10):
            while not submitted:
                await asyncio.sleep(0.01)
        return submitted[0]

    with aioxide.ThreadPoolExecutor(1, max_pending=1) as pool:
        try:
            pool.submit(release.wait, DEADLINE)
            wait_until(lambda: pool.stats().queued == 0)
            call = aioxide.run(main(pool))
        finally:
            release.set()
        assert call.result(DEADLINE) == 0


def test_a_call_that_outlives_its_pool_can_be_cancelled():
    """Its queue, which it would tell of the room, is gone."""
    program = """
import gc, aioxide

class Idle(aioxide.ThreadPoolExecutor):
    def _start_worker(self):
        pass

calls = [Idle(1, max_pending=1).submit(int) for _ in range(100)]
gc.collect()
print(all(call.cancel() for call in calls))
"""
    assert output_of(program) == ["True"]


def test_shutdown_ends_the_wait_in_submit(release):
    pool = aioxide.ThreadPoolExecutor(1, max_pending=1)
    pool.submit(release.wait, DEADLINE)
    wait_until(lambda: pool.stats().queued == 0)
    pool.submit(int)
    errors = []

    def submit():
        try:
            pool.submit(int)
        except RuntimeError as error:
            errors.append(str(error))

    thread = threading.Thread(target=submit)
    thread.start()
    time.sleep(0.05)
    pool.shutdown(wait=False)
    thread.join(DEADLINE)
    assert errors == ["cannot schedule new futures after shutdown"]


def test_ctrl_c_ends_the_wait_in_submit():
    program = """
import os, signal, threading
import aioxide

pool = aioxide.ThreadPoolExecutor(1, max_pending=1)
release = threading.Event()
pool.submit(release.wait, 60)
while pool.stats().queued: pass
pool.submit(int)
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    pool.submit(int)
except KeyboardInterrupt:
    print("interrupted")
release.set()
"""
    assert output_of(program) == ["interrupted"]


def test_a_loop_is_never_blocked(release):
    async def main():
        loop = asyncio.get_running_loop()
        with aioxide.ThreadPoolExecutor(1, max_pending=1) as pool:
            calls = [loop.run_in_executor(pool, release.wait, DEADLINE)]
            calls += [loop.run_in_executor(pool, int) for _ in range(20)]
            direct = [pool.submit(int) for _ in range(20)]
            release.set()
            assert await asyncio.gather(*calls) == [True] + [0] * 20
            assert await asyncio.gather(*direct) == [0] * 20

    aioxide.run(asyncio.wait_for(main(), DEADLINE))


def test_a_worker_is_never_blocked_by_its_own_pool():
    with aioxide.ThreadPoolExecutor(1, max_pending=1) as pool:
        calls = pool.submit(lambda: [pool.submit(int) for _ in range(20)]).result(DEADLINE)
        assert [call.result(DEADLINE) for call in calls] == [0] * 20


# --------------------------------------------------------------------------------------------------------- stats


def test_stats_count(release):
    with aioxide.ThreadPoolExecutor(2) as pool:
        assert pool.stats().submitted == pool.stats().threads == 0
        done = [pool.submit(time.sleep, 0.01) for _ in range(3)]
        failed = pool.submit(lambda: 1 / 0)
        assert failed.exception(DEADLINE)
        for call in done:
            call.result(DEADLINE)
        busy = [pool.submit(release.wait, DEADLINE) for _ in range(2)]
        wait_until(lambda: pool.stats().busy == 2)
        queued = [pool.submit(int) for _ in range(3)]
        queued[0].cancel()
        stats = pool.stats()
        assert (stats.queued, stats.busy, stats.idle, stats.threads) == (3, 2, 0, 2)
        assert (stats.submitted, stats.done, stats.failed, stats.cancelled) == (9, 3, 1, 0)
        assert stats.run.count == 4
        assert stats.wait.count == 6
        release.set()
        for call in busy + queued[1:]:
            call.result(DEADLINE)
        wait_until(lambda: pool.stats().idle == 2)
        stats = pool.stats()
        assert (stats.queued, stats.busy, stats.done, stats.failed, stats.cancelled) == (0, 0, 7, 1, 1)


def test_histograms_tell_how_long_calls_waited_and_ran():
    with aioxide.ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        calls = [pool.submit(time.sleep, 0.02) for _ in range(5)]
        took = time.monotonic() - began
        for call in calls:
            call.result(DEADLINE)
        wait_until(lambda: pool.stats().run.count == 5)
        stats = pool.stats()
    assert stats.run.total >= 5 * 0.02
    assert 0.02 * 0.99 <= stats.run.mean <= stats.run.largest
    assert sum(count for _, count in stats.run.buckets) == 5
    assert stats.run.buckets[0][0] > 0.02 * 0.99
    assert 0.02 * 0.99 <= stats.run.quantile(0.5) <= stats.run.largest
    # The last one has waited for the four before it.
    assert stats.wait.largest >= 4 * 0.02 * 0.99 - took
    with pytest.raises(ValueError, match="from 0 to 1"):
        stats.wait.quantile(2)


def test_the_length_of_the_queue_is_where_programs_look_for_it(release):
    with aioxide.ThreadPoolExecutor(1) as pool:
        pool.submit(release.wait, DEADLINE)
        wait_until(pool._work_queue.empty)
        for _ in range(3):
            pool.submit(int)
        assert pool._work_queue.qsize() == 3
        release.set()


# -------------------------------------------------------------------------------------------------------- deadlock


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("way", ["result", "exception", "map"])
def test_a_pool_that_waits_for_itself_is_told(workers, way):
    with aioxide.ThreadPoolExecutor(workers) as pool:
        barrier = threading.Barrier(workers)

        def outer(i):
            barrier.wait(DEADLINE)
            inner = pool.submit(pow, i, 2)
            if way == "map":
                return next(pool.map(pow, [i], [2]))
            return inner.result() if way == "result" else (inner.exception(), inner.result())[1]

        outcomes = []
        for call in [pool.submit(outer, i) for i in range(workers)]:
            try:
                outcomes.append(call.result(DEADLINE))
            except RuntimeError as error:
                assert "deadlock" in str(error)
                outcomes.append("deadlock")
        # One is told, and has left its thread to the calls that the others waited for.
        assert outcomes.count("deadlock") == 1
        assert [o for o in outcomes if o != "deadlock"] == [
            i * i for i, o in enumerate(outcomes) if o != "deadlock"
        ]


def test_no_deadlock_is_seen_where_there_is_none():
    # Recursion that a pool of this size can just do: a worker is free at each moment.
    with aioxide.ThreadPoolExecutor(6) as pool:

        def down(depth):
            return pool.submit(down, depth - 1).result() + 1 if depth else 0

        for _ in range(50):
            assert pool.submit(down, 5).result(DEADLINE) == 5

        def wide(i):
            return sum(call.result() for call in [pool.submit(pow, i, 1) for _ in range(20)])

        with aioxide.ThreadPoolExecutor(5) as outer:
            assert sum(outer.map(wide, range(50))) == 20 * sum(range(50))


def test_a_wait_with_a_timeout_is_no_deadlock():
    with aioxide.ThreadPoolExecutor(1) as pool:

        def outer():
            inner = pool.submit(int)
            with pytest.raises(TimeoutError):
                inner.result(0.05)
            return inner

        assert pool.submit(outer).result(DEADLINE).result(DEADLINE) == 0


def test_waiting_for_a_call_that_runs_is_no_deadlock(release):
    with aioxide.ThreadPoolExecutor(2) as pool:
        runs = pool.submit(release.wait, DEADLINE)
        waits = pool.submit(runs.result)
        also = pool.submit(int)
        time.sleep(0.05)
        release.set()
        assert waits.result(DEADLINE) is True
        assert also.result(DEADLINE) == 0


def test_waiting_for_another_pool_is_no_deadlock():
    with aioxide.ThreadPoolExecutor(1) as one, aioxide.ThreadPoolExecutor(1) as other:
        assert one.submit(lambda: other.submit(pow, 2, 3).result()).result(DEADLINE) == 8


# ------------------------------------------------------------------------------------------------------------ spin


SPIN = """
import os, sys, time, resource
os.sched_setaffinity(0, set(list(os.sched_getaffinity(0))[: int(sys.argv[1])]))
import aioxide
from tests.support.programs import wait_until

pool = aioxide.ThreadPoolExecutor(1, spin=eval(sys.argv[2]))
pool.submit(int).result()
wait_until(lambda: pool.stats().idle == 1)
time.sleep(0.1)

def switches():
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw

before = switches()
for _ in range(300):
    pool.submit(int).result()
print(switches() - before)
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")
def test_spinning_spares_switches_and_can_be_turned_off():
    spun, off, by_variable, one = (
        int(output_of(SPIN, *arguments, AIOXIDE_SPIN=variable)[0])
        for arguments, variable in [
            (("2", "0.1"), ""),
            (("2", "0"), ""),
            (("2", "None"), "0"),
            (("1", "0.1"), ""),
        ]
    )
    # Asleep, the worker switches once a call at least. A tenth of a second is enough on a busy machine too.
    assert min(off, by_variable, one) > 250
    assert spun < 125


IDLE = """
import asyncio, sys, threading, time
import aioxide
from tests.support.programs import wait_until

def wakeups():
    total = 0
    for thread in threading.enumerate():
        with open(f"/proc/self/task/{thread.native_id}/status") as status:
            total += next(int(line.split()[1]) for line in status if line.startswith("voluntary_ctxt"))
    return total

def tell(before, cpu, begun):
    print(wakeups() - before, time.process_time() - cpu, time.monotonic() - begun)

async def main():
    await asyncio.gather(*[asyncio.to_thread(time.sleep, 0.01) for _ in range(5)])
    await asyncio.sleep(0.1)
    before, cpu, begun = wakeups(), time.process_time(), time.monotonic()
    await asyncio.sleep(0.3)
    tell(before, cpu, begun)

async def busy():
    # A call that runs for long: nobody spins for it all the time.
    call = asyncio.ensure_future(asyncio.to_thread(time.sleep, 0.6))
    await asyncio.sleep(0.1)
    before, cpu, begun = wakeups(), time.process_time(), time.monotonic()
    await asyncio.sleep(0.3)
    tell(before, cpu, begun)
    await call

aioxide.run(globals()[sys.argv[1]]())
"""


@pytest.mark.parametrize("situation", ["main", "busy"])
def test_idle_workers_and_loops_sleep(situation):
    wakeups, cpu, seconds = map(float, output_of(IDLE, situation))
    # The sleep's own wake-ups, and what the kernel adds, are a few. A worker that looked every 5 ms would have 200 a
    # second; one that spun would use a processor all the time.
    assert wakeups <= 50 * seconds
    assert cpu <= seconds / 4


def test_a_start_that_is_cut_short_at_any_line_costs_no_thread():
    """Else a pool of one thread would wait for ever for a thread that was counted, and never came."""

    def raises_at(number):
        def trace(frame, event, arg):
            if frame.f_code.co_name in ("_start_worker", "_create_worker_context"):
                return look
            return None

        def look(frame, event, arg):
            nonlocal number
            # Where a `with` block ends there is such an event, but the interpreter looks for no signal.
            with_block = "with " in linecache.getline(frame.f_code.co_filename, frame.f_lineno)
            if event == "line" and not with_block:
                number -= 1
                if number == 0:
                    raise KeyboardInterrupt
            return look

        return trace, lambda: number

    for at in range(1, 100):
        pool = aioxide.ThreadPoolExecutor(1)
        trace, left = raises_at(at)
        try:
            sys.settrace(trace)
            pool.submit(int)
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        assert pool.submit(int).result(10) == 0
        pool.shutdown()
        if left() > 0:
            break
    assert 5 < at < 100
