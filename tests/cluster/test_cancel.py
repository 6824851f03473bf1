"""`cancel()` and `shutdown()` of a `ClusterExecutor` tell the truth, over a real scheduler and two real workers."""

import asyncio
import concurrent.futures
import os
import sys
import threading
import time

import pytest

from tests.cluster import support as cluster_support
from tests.cluster.support import (
    add,
    pids,
    wait_until,
    write_pid_and_sleep,
    write_pid_and_wait,
)
from tests.support.interpreters import run_python

import aioxide  # isort: skip

DEADLINE = 60


@pytest.fixture
def make_pool(running):
    """Makes pools over the cluster, with both workers there."""
    pools = []

    def make(**options):
        pool = aioxide.ClusterExecutor(
            scheduler_file=running.file, pickle_by_value=[cluster_support, sys.modules[__name__]], **options
        )
        pools.append(pool)
        pool.client.wait_for_workers(2, timeout=DEADLINE)
        return pool

    yield make
    for pool in pools:
        pool.shutdown(cancel_futures=True)


class Occupied:
    """Both workers are busy with a call each, until it is left."""

    def __init__(self, pool, folder):
        self.release = folder / "release"
        paths = [folder / f"occupied {number}" for number in range(2)]
        self.futures = [pool.submit(write_pid_and_wait, str(path), str(self.release)) for path in paths]
        wait_until(lambda: all(future.running() for future in self.futures) and all(map(pids, paths)))

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.release.touch()
        for future in self.futures:
            if not future.cancelled():
                future.result(DEADLINE)


def test_what_has_not_begun_is_withdrawn(make_pool, tmp_path):
    pool = make_pool()
    with Occupied(pool, tmp_path):
        futures = [pool.submit(write_pid_and_sleep, str(tmp_path / "ran"), 0) for _ in range(5)]
        # So that the workers have some of them, and the scheduler the others.
        wait_until(lambda: [len(keys) for keys in pool.client.processing().values()] == [2, 2])
        assert not any(future.running() for future in futures)
        called = []
        futures[0].add_done_callback(called.append)
        assert all(future.cancel() for future in futures)
        assert all(future.cancelled() and future.cancel() for future in futures)
        assert called == futures[:1]
        assert concurrent.futures.wait(futures, DEADLINE).done == set(futures)
        with pytest.raises(concurrent.futures.CancelledError):
            futures[0].result(DEADLINE)
    assert list(pool.map(add, range(4), chunksize=1)) == list(range(4))
    assert pids(tmp_path / "ran") == []


def test_what_runs_is_not_cancelled_unless_asked(make_pool, tmp_path):
    pool = make_pool()
    with Occupied(pool, tmp_path) as occupied:
        assert [future.cancel() for future in occupied.futures] == [False, False]
        assert all(future.running() for future in occupied.futures)
    assert all(future.result() for future in occupied.futures)


def test_cancelled_means_not_run_at_every_moment(make_pool, tmp_path):
    pool = make_pool()
    counts = {True: 0, False: 0}
    delay = 0.01
    for number in range(120):
        future = pool.submit(write_pid_and_sleep, str(tmp_path / str(number)), 0)
        time.sleep(delay)
        cancelled = future.cancel()
        counts[cancelled] += 1
        # Always around the moment at which it begins, however slow the machine is just now.
        delay *= 1.3 if cancelled else 1 / 1.3
    assert list(pool.map(add, range(20), chunksize=1)) == list(range(20))
    assert min(counts.values()) > 5, counts
    ran = {int(path.name) for path in tmp_path.iterdir()}
    assert len(ran) == counts[False]


def test_a_running_call_is_stopped_where_that_was_asked_for(make_pool, tmp_path):
    pool = make_pool(cancel_running=True)
    with Occupied(pool, tmp_path) as occupied:
        queued = [pool.submit(write_pid_and_sleep, str(tmp_path / "queued"), 0) for _ in range(6)]
        victim = pids(tmp_path / "occupied 0")[0]
        assert occupied.futures[0].cancel() is True
        assert occupied.futures[0].cancelled() and not occupied.futures[0].running()
        wait_until(lambda: not os.path.exists(f"/proc/{victim}"))
        # Nothing else was lost, also not what that worker had waiting.
        assert all(future.result(DEADLINE) for future in queued)
        assert occupied.futures[1].running()
    assert len(pids(tmp_path / "occupied 0")) == 1
    assert len(pids(tmp_path / "queued")) == 6
    pool.client.wait_for_workers(2, timeout=DEADLINE)


def test_a_worker_that_holds_the_gil_is_stopped_too(make_pool, tmp_path, monkeypatch):
    monkeypatch.setattr("aioxide._cluster.calls.STOP_TIMEOUT", 0.5)
    pool = make_pool(cancel_running=True)

    def hold_the_gil(path):
        sys.setswitchinterval(1e6)
        with open(path, "a") as file:
            print(os.getpid(), file=file)
        while True:
            pass

    future = pool.submit(hold_the_gil, str(tmp_path / "pid"))
    wait_until(lambda: pids(tmp_path / "pid") and future.running())
    assert future.cancel()
    wait_until(lambda: not os.path.exists(f"/proc/{pids(tmp_path / 'pid')[0]}"))
    pool.client.wait_for_workers(2, timeout=DEADLINE)
    assert pool.submit(add, 1).result(DEADLINE) == 1
    assert len(pids(tmp_path / "pid")) == 1


def test_in_a_loops_thread_cancel_does_not_wait(make_pool, tmp_path):
    pool = make_pool()

    async def main():
        ran = str(tmp_path / "ran")
        with Occupied(pool, tmp_path):
            futures = [pool.submit(write_pid_and_sleep, ran, 0) for _ in range(2)]
            inside = asyncio.get_running_loop().run_in_executor(pool, write_pid_and_sleep, ran, 0)
            await asyncio.to_thread(
                wait_until, lambda: all(call.task for call in list(pool._calls._open.values()))
            )
            # Nobody answers: whoever waited for an answer would wait for long.
            held, go_on = threading.Event(), threading.Event()
            pool._calls.loop.call_soon_threadsafe(lambda: (held.set(), go_on.wait(DEADLINE)))
            assert await asyncio.to_thread(held.wait, DEADLINE)
            assert [future.cancel() for future in futures] == [True, True]
            assert inside.cancel()
            go_on.set()
            # Now it is told, and while the workers are still busy.
            await asyncio.to_thread(wait_until, lambda: len(pool._calls._open) == 2)
        return await asyncio.gather(*futures, inside, return_exceptions=True)

    assert [type(each) for each in aioxide.run(main())] == [asyncio.CancelledError] * 3
    assert list(pool.map(add, range(4), chunksize=1)) == list(range(4))
    assert pids(tmp_path / "ran") == []


def test_a_cancelled_task_stops_its_work_where_that_was_asked_for(make_pool, tmp_path):
    pool = make_pool(cancel_running=True)

    async def main():
        path = tmp_path / "pid"
        work = asyncio.get_running_loop().run_in_executor(pool, write_pid_and_sleep, str(path), 60)
        task = asyncio.ensure_future(asyncio.wait_for(work, DEADLINE))
        await asyncio.to_thread(wait_until, lambda: pids(path))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(wait_until, lambda: not os.path.exists(f"/proc/{pids(path)[0]}"))

    aioxide.run(main())
    pool.client.wait_for_workers(2, timeout=DEADLINE)


def test_what_had_begun_unknown_to_a_loops_thread_is_stopped_where_that_was_asked_for(make_pool, tmp_path):
    pool = make_pool(cancel_running=True)
    path = tmp_path / "pid"

    async def main():
        held, go_on = threading.Event(), threading.Event()
        occupied = Occupied(pool, tmp_path)
        future = pool.submit(write_pid_and_sleep, str(path), 60)
        await asyncio.to_thread(wait_until, lambda: future.call.task is not None)
        await asyncio.to_thread(wait_until, lambda: sum(map(len, pool.client.processing().values())) == 3)
        # From here on the client hears nothing of what the workers do.
        pool._calls.loop.call_soon_threadsafe(lambda: (held.set(), go_on.wait(DEADLINE)))
        assert await asyncio.to_thread(held.wait, DEADLINE)
        occupied.release.touch()
        await asyncio.to_thread(wait_until, lambda: pids(path))
        assert not future.running() and future.cancel() is True
        go_on.set()
        await asyncio.to_thread(wait_until, lambda: not os.path.exists(f"/proc/{pids(path)[0]}"))

        return occupied

    occupied = aioxide.run(main())
    pool.client.wait_for_workers(2, timeout=DEADLINE)
    assert len(pids(path)) == 1
    # The result of one of them was still at the worker that was ended.
    assert len(concurrent.futures.wait(occupied.futures, DEADLINE).done) == 2


def test_shutdown_cancels_what_has_not_begun(make_pool, tmp_path):
    pool = make_pool()
    occupied = Occupied(pool, tmp_path)
    futures = [pool.submit(write_pid_and_sleep, str(tmp_path / "ran"), 0) for _ in range(50)]
    pool.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in futures)
    assert all(future.running() for future in occupied.futures)
    with pytest.raises(RuntimeError, match=r"^cannot schedule new futures after shutdown$"):
        pool.submit(add, 1)
    with pytest.raises(RuntimeError, match=r"^cannot schedule new futures after shutdown$"):
        pool.map(add, [1])
    with occupied:
        pass
    pool.shutdown()
    assert pids(tmp_path / "ran") == []
    assert pool.client.status == "closed"


def test_shutdown_waits_for_what_was_taken(make_pool):
    pool = make_pool()
    futures = [pool.submit(time.sleep, 0.2) for _ in range(4)]
    pool.shutdown()
    assert all(future.done() and future.result() is None for future in futures)
    pool.shutdown()
    pool.shutdown(wait=False)


def test_shutdown_in_a_callback_does_not_wait_for_itself(make_pool):
    pool = make_pool()
    called = threading.Event()
    pool.submit(add, 1).add_done_callback(lambda _: (pool.shutdown(), called.set()))
    assert called.wait(DEADLINE)
    wait_until(lambda: pool.client.status == "closed")


def test_a_pool_that_is_dropped_finishes_its_work(make_pool, running):
    pool = aioxide.ClusterExecutor(scheduler_file=running.file)
    client, future = pool.client, pool.submit(time.sleep, 0.3)
    del pool
    assert future.result(DEADLINE) is None
    wait_until(lambda: client.status == "closed")


def test_a_client_that_is_closed_with_calls_under_way_breaks_them(make_pool, tmp_path):
    pool = make_pool()
    occupied = Occupied(pool, tmp_path)
    waiting = pool.submit(add, 1)
    pool.client.close()
    for future in (*occupied.futures, waiting):
        with pytest.raises(
            aioxide.BrokenCluster, match="was lost or closed, and with it the calls under way"
        ):
            future.result(DEADLINE)
    with pytest.raises(aioxide.BrokenCluster, match="make a new ClusterExecutor"):
        pool.submit(add, 1)
    occupied.release.touch()
    pool.shutdown()


def test_a_client_that_is_closed_without_any_call_breaks_the_pool(make_pool):
    pool = make_pool()
    pool.client.close()
    with pytest.raises(aioxide.BrokenCluster, match="was lost or closed: make a new ClusterExecutor"):
        pool.submit(add, 1)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(add, 1)


def test_the_interpreters_end_waits_for_what_was_taken(running):
    program = f"""if True:
        import sys, time
        import aioxide
        def work(number):
            import time
            time.sleep(0.2)
            return bytearray(100_000 * number)
        if __name__ == "__main__":
            pool = aioxide.ClusterExecutor(scheduler_file={str(running.file)!r})
            for number in (1, 2, 30):
                pool.submit(work, number).add_done_callback(lambda f: print(len(f.result()), flush=True))
    """
    done = run_python("-c", program)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.split()) == ["100000", "200000", "3000000"]
