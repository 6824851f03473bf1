"""What ends around a `ClusterExecutor`, and when: event loops, processes that fork, clusters, connections, the pool."""

import asyncio
import concurrent.futures
import contextlib
import gc
import os
import signal
import textwrap
import threading

import pytest

from tests.cluster import support as cluster_support
from tests.cluster.support import add, cluster, pids, psutil, wait_until, write_pid_and_wait
from tests.support.interpreters import run_python

import aioxide  # isort: skip

DEADLINE = 60


@pytest.fixture
def release(pool, tmp_path):
    """What lets `write_pid_and_wait` go: also where a test fails, for the pool waits for its calls."""
    path = tmp_path / "release"
    yield path
    path.touch()


def run_script(folder, body):
    script = folder / "script.py"
    head = "import asyncio, logging, os, time\nimport aioxide, distributed\nlogging.disable()\n"
    local = "dict(n_workers=1, threads_per_worker=1, dashboard_address='127.0.0.1:0', memory_limit=0)"
    main = f"LOCAL = {local}\nif __name__ == '__main__':\n"
    script.write_text(head + main + textwrap.indent(textwrap.dedent(body), "    "))
    # Standard error is not looked at: of a cluster that is left behind, multiprocessing tells.
    done = run_python(script)
    assert done.returncode == 0, done.stderr
    return done.stdout


# Event loops that use it.


@pytest.mark.parametrize("new_loop", [aioxide.new_event_loop, asyncio.new_event_loop])
def test_a_loop_that_closes_with_calls_under_way_takes_none_with_it(
    pool, release, tmp_path, caplog, new_loop
):
    path = tmp_path / "pid"
    loop = new_loop()

    async def begin():
        inside = loop.run_in_executor(pool, write_pid_and_wait, str(path), str(release))
        wrapped = asyncio.wrap_future(future)
        await asyncio.to_thread(wait_until, lambda: len(pids(path)) == 2)
        return inside, wrapped

    future = pool.submit(write_pid_and_wait, str(path), str(release))
    abandoned = loop.run_until_complete(begin())
    loop.close()
    release.touch()
    assert future.result(DEADLINE) in pids(path)
    # The other one too has been answered, by now or soon, and nobody was disturbed by there being no loop.
    wait_until(lambda: not pool._calls._open)
    assert pool.submit(add, 1).result(DEADLINE) == 1
    assert not any(each.done() for each in abandoned)
    assert [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []


def test_two_loops_use_one_pool_at_once(pool, tmp_path):
    both = threading.Barrier(2, timeout=DEADLINE)

    async def main(start):
        loop = asyncio.get_running_loop()
        both.wait()
        inside = [loop.run_in_executor(pool, add, start + each) for each in range(20)]
        return await asyncio.gather(*inside, *(pool.submit(add, start + 20 + each) for each in range(20)))

    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        results = list(threads.map(aioxide.run, [main(0), main(100)]))
    assert results == [list(range(40)), list(range(100, 140))]


# Event loops that its client runs on: those of Dask's cluster objects.


def test_a_cluster_object_that_closes_breaks_the_pool(tmp_path):
    body = """
        cluster = distributed.LocalCluster(**LOCAL)
        pool = aioxide.ClusterExecutor(cluster)
        futures = [pool.submit(time.sleep, 50) for _ in range(3)]
        while not futures[0].running():
            time.sleep(0.01)
        cluster.close()
        print([isinstance(each.exception(50), aioxide.BrokenCluster) for each in futures])
        try:
            pool.submit(pow, 2, 3)
        except aioxide.BrokenCluster as error:
            print("make a new ClusterExecutor" in str(error))
        pool.shutdown()
    """
    assert run_script(tmp_path, body) == "[True, True, True]\nTrue\n"


@pytest.mark.parametrize("close_only", [False, True])
def test_a_clients_loop_that_ends_breaks_the_pool(tmp_path, close_only):
    body = """
        async def main():
            global cluster, pool, futures, late
            cluster = await distributed.LocalCluster(**LOCAL, asynchronous=True)
            pool = await asyncio.to_thread(aioxide.ClusterExecutor, cluster)
            futures = [pool.submit(time.sleep, 1) for _ in range(3)]
            while not futures[0].running():
                await asyncio.sleep(0.01)
            # So late that the loop does not even begin with it.
            late = pool.submit(pow, 2, 3)

        if CLOSE_ONLY:
            loop = asyncio.new_event_loop()
            loop.run_until_complete(main())
            loop.close()
            print("open" if not any(each.done() for each in (*futures, late)) else "done")
        else:
            asyncio.run(main())
        try:
            pool.submit(pow, 2, 3)
        except aioxide.BrokenCluster as error:
            print("make a new ClusterExecutor" in str(error))
        print({type(each.exception(50)).__name__ for each in (*futures, late)}, flush=True)
        os._exit(0)  # Dask's own cluster has not been closed, and waits for its loop at the end
    """.replace("CLOSE_ONLY", str(close_only))
    expected = "True\n{'BrokenCluster'}\n"
    assert run_script(tmp_path, body) == ("open\n" if close_only else "") + expected


# The connection.


def test_a_scheduler_that_was_started_again_is_not_taken_for_the_old_one(tmp_path):
    with cluster(tmp_path, workers=1, nanny=False) as running:
        pool = aioxide.ClusterExecutor(scheduler_file=running.file, timeout=DEADLINE)
        assert pool.submit(pow, 2, 3).result(DEADLINE) == 8
        before, port = pool.client.scheduler_comm, pool.client.scheduler.address.rpartition(":")[2]
        running.scheduler.kill()
        running.scheduler.wait()
        wait_until(lambda: pool.client.status != "running")
        with pytest.raises(aioxide.BrokenCluster, match="make a new ClusterExecutor"):
            pool.submit(pow, 2, 3)
        running.start("scheduler", "--port", port, "--no-dashboard", "--idle-timeout", "60s")
        running.start("worker", "--nthreads", "1", "--no-dashboard", "--no-nanny")
        # The client finds it by itself, and its calls do not.
        wait_until(
            lambda: pool.client.status == "running" and pool.client.scheduler_comm not in (None, before)
        )
        with pytest.raises(aioxide.BrokenCluster, match="make a new ClusterExecutor"):
            pool.submit(pow, 2, 3)
        with pytest.raises(aioxide.BrokenCluster, match="make a new ClusterExecutor"):
            pool.map(pow, [2], [3])
        pool.shutdown()
        with aioxide.ClusterExecutor(scheduler_file=running.file, timeout=DEADLINE) as other:
            assert other.submit(pow, 2, 3).result(DEADLINE) == 8


# Processes.


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_child_leaves_the_parents_pool_alone(pool, release, tmp_path):
    future = pool.submit(write_pid_and_wait, str(tmp_path / "pid"), str(release))
    queued = [pool.submit(add, number) for number in range(4)]
    wait_until(future.running)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(30)  # a child that hangs, or asks a scheduler five times in vain, is ended and says less
        try:
            for attempt in (lambda: pool.submit(add, 1), lambda: pool.map(add, [1])):
                with contextlib.suppress(RuntimeError):
                    attempt()
                    os.write(writing, b"It has not refused.")
            if not any(each.cancel() for each in (future, *queued)):
                os.write(writing, b"not cancelled, ")
            pool.shutdown(cancel_futures=True)
            pool.shutdown(wait=False)
            aioxide._cluster.executor._finish_at_exit()
            os.write(writing, b"not shut down, ")
            pool.submit(add, 1)
        except RuntimeError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as file:
        assert file.read() == (
            "not cancelled, not shut down, this ClusterExecutor belongs to the process that this one was forked from: "
            "make one here"
        )
    os.waitpid(child, 0)
    release.touch()
    assert [each.result(DEADLINE) for each in queued] == list(range(4))
    assert future.result(DEADLINE) > 0


# The pool.


def test_shutdown_again_and_at_the_same_time(running):
    pool = aioxide.ClusterExecutor(scheduler_file=running.file, pickle_by_value=[cluster_support])
    futures = [pool.submit(add, number) for number in range(10)]
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        closing = [threads.submit(pool.shutdown, wait=number != 1) for number in range(4)]
        assert [each.result(DEADLINE) for each in closing] == [None] * 4
    assert [future.result(0) for future in futures] == list(range(10))
    pool.shutdown(cancel_futures=True)
    assert not futures[0].cancel()
    for use in (lambda: pool.submit(add, 1), lambda: pool.schedule(add, (1,)), lambda: pool.map(add, [1])):
        with pytest.raises(RuntimeError, match=r"^cannot schedule new futures after shutdown$"):
            use()


def test_nothing_is_left_of_pools_that_are_shut_down(running):
    def use():
        with aioxide.ClusterExecutor(scheduler_file=running.file, pickle_by_value=[cluster_support]) as pool:
            assert pool.submit(add, 1).result(DEADLINE) == 1

    use()
    me = psutil.Process()
    threads, descriptors = threading.active_count(), me.num_fds()
    for _ in range(5):
        use()
    wait_until(lambda: threading.active_count() <= threads and me.num_fds() <= descriptors)


@pytest.fixture
def no_collection():
    """A client with nothing to do collects no cycles: what lies in one stays."""
    gc.disable()
    yield
    gc.enable()


def test_the_scheduler_keeps_nothing_of_calls_that_are_over(pool, release, tmp_path, no_collection):
    def left(dask_scheduler):
        ledger = dask_scheduler.plugins[name].ledger
        records = (ledger._started, ledger._withdrawn, ledger._unclaimed)
        return len(dask_scheduler.tasks), [len(each) for each in records]

    name = pool._calls._name
    paths = str(tmp_path / "pid"), str(release)
    occupying = [pool.submit(write_pid_and_wait, *paths) for _ in range(2)]
    wait_until(lambda: all(each.running() for each in occupying))
    withdrawn = [pool.submit(add, 1), pool.submit(len, bytes(2_000_000))]
    kept = [pool.submit(add, 1), pool.submit(len, bytes(2_000_000)), pool.submit(divmod, 1, 0)]
    assert all(each.cancel() for each in withdrawn)
    # A large argument travels first, and its call is not there before.
    wait_until(lambda: pool.client.run_on_scheduler(left)[0] >= 5)
    release.touch()
    assert [type(each.exception(DEADLINE)) for each in kept] == [type(None), type(None), ZeroDivisionError]
    wait_until(lambda: pool.client.run_on_scheduler(left) == (0, [0, 0, 0]))
