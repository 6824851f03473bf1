"""What `aioxide.ProcessPoolExecutor` has beyond the standard one, keyword by keyword."""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import aioxide
import pytest

from tests.support import process_tasks as tasks
from tests.support.programs import DEADLINE, ROOT, output_of, wait_until

METHODS = ("fork", "spawn", "forkserver")


@pytest.fixture(params=METHODS)
def context(request):
    return multiprocessing.get_context(request.param)


# ------------------------------------------------------------------------------------------------------- the worker


@pytest.mark.parametrize("method", ("spawn", "forkserver"))
def test_a_worker_imports_neither_asyncio_nor_aioxide(method):
    program = f"""
import multiprocessing
from tests.support.process_tasks import imported
if __name__ == "__main__":
    import aioxide
    with aioxide.ProcessPoolExecutor(1, multiprocessing.get_context({method!r})) as pool:
        print(pool.submit(imported, "asyncio", "aioxide", "concurrent.futures", "logging").result())
"""
    assert output_of(program) == ["[]"]


def test_importing_aioxide_loads_no_multiprocessing_and_starts_no_thread():
    program = """
import os, sys, aioxide
print("multiprocessing" in sys.modules, len(os.listdir("/proc/self/task")))
"""
    assert output_of(program) == ["False", "1"]


def test_no_thread_of_ours_lives_longer_than_a_pool_needs_it():
    def ours():
        names = []
        for path in Path("/proc/self/task").glob("*/comm"):
            with contextlib.suppress(OSError):  # a thread that has ended meanwhile
                names.append(path.read_text().strip())
        return [name for name in names if name == "aioxide-pools"]

    async def main(pool):
        return await asyncio.get_running_loop().run_in_executor(pool, tasks.square, 3)

    with aioxide.ProcessPoolExecutor(1) as pool:
        assert aioxide.run(main(pool)) == 9
        assert ours() == []
        assert pool.submit(tasks.square, 2).result(DEADLINE) == 4
        assert len(ours()) == 1
    wait_until(lambda: ours() == [])


# ---------------------------------------------------------------------------------------------------- on_worker_death


def test_respawn_fails_the_call_that_ran_and_no_other(context):
    with aioxide.ProcessPoolExecutor(2, context, on_worker_death="respawn") as pool:
        before = [pool.submit(tasks.nap, 0.02, n) for n in range(6)]
        killed = pool.submit(tasks.kill_self)
        after = [pool.submit(tasks.nap, 0.02, n) for n in range(6)]
        assert [future.result(DEADLINE) for future in before + after] == [*range(6), *range(6)]
        with pytest.raises(BrokenProcessPool, match="SIGKILL") as caught:
            killed.result(DEADLINE)
        assert caught.value.exitcode == -signal.SIGKILL
        with pytest.raises(BrokenProcessPool, match="code 3"):
            pool.submit(os._exit, 3).result(DEADLINE)
        assert pickle.loads(pickle.dumps(caught.value)).pid == caught.value.pid


def test_a_crash_loop_is_recognised():
    with aioxide.ProcessPoolExecutor(1, on_worker_death="respawn") as pool:
        with pytest.raises(BrokenProcessPool, match="again and again"):
            for _ in range(100):
                try:
                    pool.submit(os._exit, 1).result(DEADLINE)
                except BrokenProcessPool as error:
                    if type(error) is BrokenProcessPool:
                        raise
        with pytest.raises(BrokenProcessPool, match="again and again"):
            pool.submit(tasks.square, 1)


def test_a_failed_initializer_breaks_the_pool_and_says_why():
    for mode in ("break", "respawn"):
        with aioxide.ProcessPoolExecutor(
            1, initializer=tasks.failing_initializer, on_worker_death=mode
        ) as pool:
            with pytest.raises(BrokenProcessPool) as caught:
                pool.submit(tasks.square, 1).result(DEADLINE)
            assert "no worker will do" in str(caught.value.__cause__)


# ----------------------------------------------------------------------------------------------------- cancel_running


def test_a_cancelled_call_is_interrupted_and_its_worker_goes_on(context, tmp_path):
    path = str(tmp_path / "stopped")
    with aioxide.ProcessPoolExecutor(1, context, cancel_running=True) as pool:
        pid = pool.submit(os.getpid).result(DEADLINE)
        future = pool.submit(tasks.note_when_stopped, path)
        wait_until(lambda: Path(path + ".started").exists())
        assert future.cancel() and future.cancelled()
        with pytest.raises(CancelledError):
            future.result(0)
        assert pool.submit(os.getpid).result(DEADLINE) == pid
        assert Path(path).read_text() == "TaskCancelled"


def test_a_call_that_does_not_listen_is_killed_and_its_worker_alone_replaced(tmp_path):
    path = str(tmp_path / "deaf")
    with aioxide.ProcessPoolExecutor(2, cancel_running=True) as pool:
        future = pool.submit(tasks.run_on, path)
        wait_until(lambda: Path(path + ".started").exists())
        other = pool.submit(tasks.nap, 3, "done")
        assert future.cancel()
        assert other.result(DEADLINE) == "done"
        assert pool.submit(tasks.square, 4).result(DEADLINE) == 16


def test_cancelling_the_task_that_awaits_stops_the_call(tmp_path):
    path = str(tmp_path / "stopped")

    async def main(pool):
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(loop.run_in_executor(pool, tasks.note_when_stopped, path))
        while not Path(path + ".started").exists():
            await asyncio.sleep(0.01)
        task.cancel()
        while not Path(path).exists():
            await asyncio.sleep(0.01)
        return await loop.run_in_executor(pool, tasks.square, 3)

    with aioxide.ProcessPoolExecutor(1, cancel_running=True) as pool:
        assert aioxide.run(main(pool)) == 9
    assert Path(path).read_text() == "TaskCancelled"


def test_without_the_keyword_a_running_call_cannot_be_cancelled():
    with aioxide.ProcessPoolExecutor(1) as pool:
        future = pool.submit(tasks.nap, 0.5, 1)
        wait_until(future.running)
        assert not future.cancel()
        assert future.result(DEADLINE) == 1


# ------------------------------------------------------------------------------------------------------------ limits


def test_idle_workers_end_and_others_start():
    with aioxide.ProcessPoolExecutor(2, idle_timeout=0.1) as pool:
        first = pool.submit(os.getpid).result(DEADLINE)
        wait_until(lambda: not pool.workers())
        assert pool.submit(os.getpid).result(DEADLINE) != first


def test_a_worker_that_is_too_large_is_replaced():
    with aioxide.ProcessPoolExecutor(1, max_rss=1) as pool:
        pids = [pool.submit(os.getpid).result(DEADLINE) for _ in range(3)]
        assert len(set(pids)) == 3
        assert pool.stats().restarts >= 2


def test_the_next_worker_starts_before_one_that_has_done_its_share_ends():
    with aioxide.ProcessPoolExecutor(1, max_tasks_per_child=2) as pool:
        futures = [pool.submit(os.getpid) for _ in range(7)]
        pids = [future.result(DEADLINE) for future in futures]
        assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [2, 2, 2, 1]


@pytest.mark.parametrize("keyword", ({"idle_timeout": 1}, {"max_rss": 1}, {"max_tasks_per_child": 1}))
def test_what_starts_workers_later_does_not_go_with_fork(keyword):
    with pytest.raises(ValueError, match="incompatible with the 'fork'"):
        aioxide.ProcessPoolExecutor(1, multiprocessing.get_context("fork"), **keyword)
    assert aioxide.ProcessPoolExecutor(1, **keyword)._mp_context.get_start_method() != "fork"


def test_submit_waits_for_room(tmp_path):
    gate = tmp_path / "open"
    with aioxide.ProcessPoolExecutor(1, max_pending=3) as pool:
        first = pool.submit(tasks.nap_until, str(gate))
        wait_until(first.running)
        queued, futures = [], []

        def submit():
            for n in range(30):
                futures.append(pool.submit(tasks.square, n))
                queued.append(pool.stats().queued)

        thread = threading.Thread(target=submit)
        thread.start()
        wait_until(lambda: pool.stats().queued == 3)
        # Room comes when the first call ends, and not before. Beside the one that runs, the worker may have one ahead.
        thread.join(0.1)
        assert thread.is_alive() and len(futures) <= 4
        gate.touch()
        thread.join(DEADLINE)
        assert [future.result(DEADLINE) for future in futures] == [n * n for n in range(30)]
        assert max(queued) == 3


@pytest.mark.parametrize(
    ("keyword", "error"),
    (
        ({"max_workers": 0}, ValueError),
        ({"initializer": 3}, TypeError),
        ({"on_worker_death": "panic"}, ValueError),
        ({"max_pending": 0}, ValueError),
        ({"max_pending": 1.5}, TypeError),
        ({"max_rss": "1G"}, TypeError),
        ({"idle_timeout": -1}, ValueError),
        ({"idle_timeout": float("nan")}, ValueError),
        ({"max_rss": 10**30}, OverflowError),
        ({"max_pending": 10**30}, OverflowError),
        ({"max_tasks_per_child": 10**30}, OverflowError),
        ({"max_tasks_per_child": 0}, ValueError),
    ),
)
def test_wrong_arguments_are_refused(keyword, error):
    with pytest.raises(error):
        aioxide.ProcessPoolExecutor(**keyword)


# ---------------------------------------------------------------------------------------------------------- schedule


def test_a_time_limit_counts_from_when_the_call_begins():
    with aioxide.ProcessPoolExecutor(1) as pool:
        first = pool.submit(tasks.nap, 0.8, "first")
        second = pool.schedule(tasks.nap, (0.1, "second"), timeout=0.6)
        late = pool.schedule(tasks.nap, (60,), timeout=0.2)
        assert first.result(DEADLINE) == "first"
        assert second.result(DEADLINE) == "second"
        with pytest.raises(TimeoutError, match=r"longer than 0\.2 seconds"):
            late.result(DEADLINE)
        assert pool.submit(tasks.square, 2).result(DEADLINE) == 4


def test_retries(tmp_path):
    with aioxide.ProcessPoolExecutor(1) as pool:
        assert pool.schedule(tasks.fail_times, (str(tmp_path / "a"), 2), retries=2).result(DEADLINE) == 3
        with pytest.raises(ValueError, match="call 3"):
            pool.schedule(tasks.fail_times, (str(tmp_path / "b"), 9), retries=2).result(DEADLINE)


def test_context_variables_go_along():
    token = tasks.VARIABLE.set(5)
    try:
        # A forked worker has its parent's variables anyway.
        with aioxide.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            assert pool.schedule(tasks.variable).result(DEADLINE) == 0
            assert pool.schedule(tasks.variable, context=[tasks.VARIABLE]).result(DEADLINE) == 5
            assert pool.schedule(tasks.variable).result(DEADLINE) == 0
            with pytest.raises(ValueError, match="no attribute of a module"):
                local = contextvars.ContextVar("local")
                local.set(1)
                pool.schedule(tasks.variable, context=[local])
    finally:
        tasks.VARIABLE.reset(token)


def test_progress():
    async def main(pool):
        found = [step async for step in pool.map_progress(tasks.square, range(50))]
        assert [done for done, _, _ in found] == list(range(1, 51))
        assert {total for _, total, _ in found} == {50}
        assert sorted(result for *_, result in found) == [n * n for n in range(50)]
        ordered = [result async for *_, result in pool.map_progress(tasks.square, range(50), ordered=True)]
        assert ordered == [n * n for n in range(50)]
        with pytest.raises(ValueError, match="no"):
            async for _ in pool.map_progress(tasks.raise_error, ["no"]):
                pass

    with aioxide.ProcessPoolExecutor(2) as pool:
        aioxide.run(main(pool))


# -------------------------------------------------------------------------------------------------------------- homes


def test_progress_of_several_iterables_and_in_chunks():
    async def main(**options):
        steps = pool.map_progress(pow, range(2, 12), (3 for _ in range(9)), **options)
        return [step async for step in steps]

    async def nothing():
        return [step async for step in pool.map_progress(pow, [], [1])]

    expected = [number**3 for number in range(2, 11)]
    with aioxide.ProcessPoolExecutor(2) as pool:
        for chunksize in (1, 2, 4, 9, 100):
            found = aioxide.run(main(chunksize=chunksize, ordered=True))
            assert found == [(done, 9, value) for done, value in enumerate(expected, 1)]
            found = aioxide.run(main(chunksize=chunksize))
            assert [step[:2] for step in found] == [(done, 9) for done in range(1, 10)]
            assert sorted(value for *_, value in found) == expected
        assert aioxide.run(nothing()) == []
        for wrong, error, shown in ((0, ValueError, 0), (-1, ValueError, -1), (1.5, TypeError, "float")):
            with pytest.raises(error, match=f"chunksize must be .*not {shown}"):
                pool.map_progress(pow, [1], [2], chunksize=wrong)


def test_two_loops_on_one_pool():
    with aioxide.ProcessPoolExecutor(2) as pool:

        async def main():
            loop = asyncio.get_running_loop()
            return sum(
                await asyncio.gather(*(loop.run_in_executor(pool, tasks.square, n) for n in range(300)))
            )

        results = []
        threads = [threading.Thread(target=lambda: results.append(aioxide.run(main()))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
        assert results == [sum(n * n for n in range(300))] * 2


def test_a_loop_that_closes_with_calls_under_way(tmp_path):
    with aioxide.ProcessPoolExecutor(1) as pool:

        async def main():
            asyncio.get_running_loop().run_in_executor(pool, tasks.fail_times, str(tmp_path / "ran"), 0)

        aioxide.run(main())
        assert pool.submit(tasks.square, 3).result(DEADLINE) == 9
        assert (tmp_path / "ran").read_text() == "x"

        async def again():
            return await asyncio.get_running_loop().run_in_executor(pool, tasks.square, 4)

        assert aioxide.run(again()) == 16


def test_blocking_on_a_result_in_the_loops_own_thread():
    async def main(pool):
        loop = asyncio.get_running_loop()
        waiting = loop.run_in_executor(pool, tasks.nap, 0.05, "awaited")
        assert pool.submit(tasks.square, 3).result(DEADLINE) == 9
        assert await waiting == "awaited"

    with aioxide.ProcessPoolExecutor(1) as pool:
        aioxide.run(main(pool))


def test_a_forked_child_cannot_use_the_pool_and_does_not_keep_it():
    with aioxide.ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        assert pool.submit(tasks.square, 2).result(DEADLINE) == 4
        pid = os.fork()
        if pid == 0:
            try:
                pool.submit(tasks.square, 2)
            except RuntimeError as error:
                os._exit(0 if "belongs to the process that made it" in str(error) else 1)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert pool.submit(tasks.square, 3).result(DEADLINE) == 9


@pytest.mark.parametrize("under_way", [0, 5])
def test_a_forked_child_that_leaves_the_with_block_ends_and_costs_its_parent_nothing(under_way):
    with aioxide.ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        assert pool.submit(tasks.square, 2).result(DEADLINE) == 4
        futures = [pool.submit(time.sleep, 0.05) for _ in range(under_way)]
        pid = os.fork()
        if pid == 0:
            signal.alarm(10)
            pool.shutdown(cancel_futures=True)
            pool.shutdown(wait=False)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert [future.result(DEADLINE) for future in futures] == [None] * under_way
        assert pool.submit(tasks.square, 3).result(DEADLINE) == 9


def test_looks():
    with aioxide.ProcessPoolExecutor(2) as pool:
        list(pool.map(tasks.square, range(20)))
        with pytest.raises(ValueError):
            pool.submit(tasks.raise_error, "x").result(DEADLINE)
        stats = pool.stats()
        assert (stats.submitted, stats.done, stats.failed, stats.queued) == (21, 20, 1, 0)
        assert stats.run.count == stats.wait.count == 21
        assert stats.workers == len(pool.workers()) >= 1
        for worker in pool.workers():
            assert worker.rss > 1 << 20
            assert worker.pid in pool._processes
        assert sum(worker.done for worker in pool.workers()) == 21
        counts = pool._pool.counts()
        assert (counts.answers, counts.submitted, counts.shared_bytes) == (21, 21, 0)
        assert counts.mean > 0 and counts.wait[0] == counts[9][0] == 21


def test_workers_end_when_their_parent_is_killed(tmp_path):
    program = f"""
import os, time, aioxide
from tests.support.process_tasks import run_on
if __name__ == "__main__":
    pool = aioxide.ProcessPoolExecutor(1)
    pool.submit(run_on, {str(tmp_path / "busy")!r})
    while not os.path.exists({str(tmp_path / "busy.started")!r}):
        time.sleep(0.01)
    print(pool.workers()[0].pid, flush=True)
    time.sleep(60)
"""
    child = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    with child:
        worker = int(child.stdout.readline())
        child.kill()

    def is_gone():
        try:
            return "Z" in Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True

    # Else it would run on for as long as its own call does.
    wait_until(is_gone)


def said_of_a_death(pool, function, *arguments):
    """What a broken pool says of its dead worker: the exception's text, its cause's, and its notes."""
    with pool:
        error = pool.submit(function, *arguments).exception(DEADLINE)
    cause = None if error.__cause__ is None else re.sub(r"Process \d+", "Process PID", str(error.__cause__))
    return str(error), cause, getattr(error, "__notes__", [])


@pytest.mark.parametrize(
    ("function", "argument", "ended"),
    [(os._exit, 7, "exited with code 7"), (tasks.kill_self, 9, "was killed by signal SIGKILL")],
)
def test_a_broken_pool_says_what_that_of_the_running_version_says_and_how_the_worker_ended(
    function, argument, ended
):
    text, cause, _ = said_of_a_death(concurrent.futures.ProcessPoolExecutor(1), function, argument)
    ours, our_cause, notes = said_of_a_death(aioxide.ProcessPoolExecutor(1), function, argument)
    assert (ours, our_cause) == (text, cause)
    assert (cause is not None) == (sys.version_info >= (3, 15))
    assert len(notes) == 1 and ended in notes[0]
