"""What a `ClusterExecutor` makes of workers and schedulers that die: real ones, by SIGKILL."""

import concurrent.futures
import os
import signal
import threading

import pytest

from tests.cluster import support as cluster_support
from tests.cluster.support import (
    add,
    cluster,
    die_until,
    die_with_array_until,
    pids,
    wait_until,
    write_pid_and_sleep,
    write_pid_and_wait,
)

numpy = pytest.importorskip("numpy", reason="numpy is not installed (tests/cluster/requirements.txt)")
distributed = pytest.importorskip("distributed")
import aioxide  # noqa: E402

DEADLINE = 60

pytestmark = pytest.mark.slow


def test_a_worker_killed_mid_task_fails_that_call_only(pool, tmp_path):
    release = tmp_path / "release"
    paths = [tmp_path / "first", tmp_path / "second"]
    first, second = (pool.submit(write_pid_and_wait, str(path), str(release)) for path in paths)
    wait_until(lambda: first.running() and second.running() and all(map(pids, paths)))
    queued = [pool.submit(write_pid_and_sleep, str(tmp_path / "queued"), 0) for _ in range(8)]
    os.kill(pids(paths[0])[0], signal.SIGKILL)
    error = first.exception(DEADLINE)
    assert type(error) is aioxide.BrokenClusterWorker and isinstance(error, concurrent.futures.BrokenExecutor)
    assert error.starts == 1 and error.worker.startswith("tcp://127.0.0.1:")
    assert f"the worker {error.worker} ended while it ran this call" in str(error)
    assert "started once (retries=0)" in str(error) and "Other calls are not affected" in str(error)
    assert all(future.result(DEADLINE) for future in queued)
    assert second.running()
    release.touch()
    assert second.result(DEADLINE) == pids(paths[1])[0]
    assert len(pids(paths[0])) == 1
    assert len(pids(tmp_path / "queued")) == 8


# A scheduler gives each worker one call ahead. By itself it takes that back when it has noticed that the call before it
# is long: here it never does, so that it is the pool's doing.
@pytest.fixture(scope="module", params=["WORK_STEALING=False", "WORK_STEALING_INTERVAL=1h"])
def pool_without_help(request, tmp_path_factory):
    name, _, value = request.param.partition("=")
    settings = {f"DASK_DISTRIBUTED__SCHEDULER__{name}": value}
    with cluster(tmp_path_factory.mktemp("cluster"), settings=settings) as helpless:
        with aioxide.ClusterExecutor(scheduler_file=helpless.file, pickle_by_value=[cluster_support]) as pool:
            yield pool


@pytest.mark.parametrize("first_ends", [True, False])
def test_no_call_stays_behind_a_long_one_once_a_worker_is_free(pool_without_help, tmp_path, first_ends):
    pool = pool_without_help
    pool.client.wait_for_workers(2, timeout=DEADLINE)
    assert list(pool.map(add, range(50), chunksize=1)) == list(range(50))
    names = ["first", "second"]
    releases = [tmp_path / f"release {name}" for name in names]
    first, second = (
        pool.submit(write_pid_and_wait, str(tmp_path / name), str(release))
        for name, release in zip(names, releases, strict=True)
    )
    wait_until(lambda: first.running() and second.running() and all(pids(tmp_path / name) for name in names))
    queued = [pool.submit(add, number) for number in range(6)]
    wait_until(lambda: len(pool.client.processing()[second.call.worker]) == 2)
    try:
        if first_ends:
            releases[0].touch()
        else:
            os.kill(pids(tmp_path / "first")[0], signal.SIGKILL)
        assert [future.result(DEADLINE) for future in queued] == list(range(6))
        assert second.running()
    finally:
        for release in releases:
            release.touch()
    second.result(DEADLINE)


@pytest.mark.parametrize(("retries", "deaths"), [(1, 1), (2, 2)])
def test_a_dead_workers_call_is_started_again_as_often_as_said(pool, tmp_path, retries, deaths):
    future = pool.schedule(die_until, (str(tmp_path / "pids"), deaths), retries=retries)
    assert future.result(DEADLINE) == deaths + 1
    assert len(set(pids(tmp_path / "pids"))) == deaths + 1


# More than the scheduler's own three, and fewer.
@pytest.mark.parametrize("retries", [0, 1, 5])
def test_and_no_more_often(running, tmp_path, retries):
    with aioxide.ClusterExecutor(
        scheduler_file=running.file, pickle_by_value=[cluster_support], retries=retries
    ) as pool:
        with pytest.raises(aioxide.BrokenClusterWorker) as caught:
            pool.submit(die_until, str(tmp_path / "pids"), 100).result(DEADLINE)
    assert caught.value.starts == retries + 1 == len(pids(tmp_path / "pids"))
    assert f"(retries={retries})" in str(caught.value)


def test_big_arguments_are_sent_again_when_they_die_with_the_worker(pool, tmp_path):
    array = numpy.ones(500_000)
    path = str(tmp_path / "pids")
    future = pool.schedule(die_with_array_until, (array, path, 2), retries=2)
    assert future.result(DEADLINE) == (500_000, 3)
    with pytest.raises(aioxide.BrokenClusterWorker) as caught:
        pool.submit(die_with_array_until, array, path + "2", 100).result(DEADLINE)
    assert caught.value.starts == 1 == len(pids(tmp_path / "pids2"))


def test_a_result_that_dies_with_its_worker_is_not_computed_twice(pool, tmp_path):
    # Between its end and the client's fetching it: the client is kept from fetching.
    held, go_on = threading.Event(), threading.Event()
    path, release = tmp_path / "pids", tmp_path / "release"
    future = pool.submit(write_pid_and_wait, str(path), str(release))
    wait_until(lambda: pids(path) and future.running())
    key = (future.call.group, future.call.number)

    def state(dask_scheduler):
        return dask_scheduler.tasks[key].state, future_worker in dask_scheduler.workers

    future_worker = future.call.worker
    with distributed.Client(pool.client.scheduler.address, set_as_default=False) as observer:
        pool._calls.loop.call_soon_threadsafe(lambda: (held.set(), go_on.wait(DEADLINE)))
        try:
            assert held.wait(DEADLINE)
            release.touch()
            wait_until(lambda: observer.run_on_scheduler(state) == ("memory", True))
            os.kill(pids(path)[0], signal.SIGKILL)
            wait_until(lambda: observer.run_on_scheduler(state)[1] is False)
        finally:
            go_on.set()
    with pytest.raises(aioxide.BrokenClusterWorker):
        future.result(DEADLINE)
    assert len(pids(path)) == 1


def test_the_last_worker_dies_and_none_comes_after_it(tmp_path):
    with cluster(tmp_path, workers=1, nanny=False) as lonely:
        with aioxide.ClusterExecutor(
            scheduler_file=lonely.file, pickle_by_value=[cluster_support], cancel_running=True
        ) as pool:
            release = tmp_path / "release"
            future = pool.submit(write_pid_and_wait, str(tmp_path / "pid"), str(release))
            wait_until(lambda: pids(tmp_path / "pid") and future.running())
            # Without a nanny nobody would start the worker again.
            assert future.cancel() is False
            release.touch()
            future.result(DEADLINE)
            with pytest.raises(aioxide.BrokenClusterWorker):
                pool.submit(die_until, str(tmp_path / "pids"), 100).result(DEADLINE)
            # What comes now waits for a worker, whatever its size.
            waiting = [pool.submit(add, 1), pool.submit(numpy.sum, numpy.ones(1_000_000))]
            withdrawn = pool.submit(add, 1)
            assert withdrawn.cancel()
            lonely.start("worker", "--nthreads", "1", "--no-dashboard", "--no-nanny")
            assert [future.result(DEADLINE) for future in waiting] == [1, 1_000_000]


def test_a_lost_scheduler_breaks_the_pool(tmp_path):
    with cluster(tmp_path, workers=1, nanny=False) as doomed:
        pool = aioxide.ClusterExecutor(
            scheduler_file=doomed.file, pickle_by_value=[cluster_support], timeout=10
        )
        paths = str(tmp_path / "pid"), str(tmp_path / "release")
        futures = [pool.submit(write_pid_and_wait, *paths) for _ in range(3)]
        wait_until(lambda: futures[0].running())
        doomed.scheduler.kill()
        for future in futures:
            with pytest.raises(
                aioxide.BrokenCluster, match=r"the connection to the scheduler tcp://.* was lost or closed"
            ):
                future.result(DEADLINE)
        with pytest.raises(aioxide.BrokenCluster, match="make a new ClusterExecutor"):
            pool.submit(add, 1)
        pool.shutdown()
