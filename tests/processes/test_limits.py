"""The limits of a process pool: what a worker may grow to, do and wait for, and how many calls may wait for one."""

import asyncio
import gc
import multiprocessing
import os
import threading
import time
from pathlib import Path

import aioxide
import pytest

from tests.support import process_tasks as tasks
from tests.support.programs import DEADLINE, wait_until

MIB = 1 << 20
SPAWN = multiprocessing.get_context("spawn")


def is_running(pid):
    """Whether a process is there, and not only its exit status."""
    return Path(f"/proc/{pid}/cwd").exists()


# ---------------------------------------------------------------------------------------------------------- max_rss


def test_a_worker_that_has_grown_too_large_is_replaced_after_its_call_and_others_are_not():
    with aioxide.ProcessPoolExecutor(1, max_rss=300 * MIB) as pool:
        first = [pool.submit(os.getpid).result(DEADLINE) for _ in range(3)]
        assert len(set(first)) == 1 and pool.stats().restarts == 0
        [worker] = pool.workers()
        assert worker.rss < 300 * MIB
        calls = [pool.submit(tasks.grow, 400 * MIB), *(pool.submit(os.getpid) for _ in range(5))]
        # The call that made it grow is not lost, and those behind it run elsewhere.
        assert calls[0].result(DEADLINE) == first[0]
        after = {call.result(DEADLINE) for call in calls[1:]}
        assert len(after) == 1 and first[0] not in after
        assert pool.stats().restarts == 1
        wait_until(lambda: not is_running(first[0]))


def test_a_call_that_has_grown_and_raises_is_the_last_of_its_worker_too():
    with aioxide.ProcessPoolExecutor(1, max_rss=300 * MIB) as pool:
        pid = pool.submit(os.getpid).result(DEADLINE)
        with pytest.raises(ValueError, match="grown"):
            pool.submit(tasks.grow_and_raise, 400 * MIB).result(DEADLINE)
        assert pool.submit(os.getpid).result(DEADLINE) != pid


# ---------------------------------------------------------------------------------------------------- idle_timeout


def test_idle_workers_end_though_the_loop_that_used_them_has_closed():
    with aioxide.ProcessPoolExecutor(2, SPAWN, idle_timeout=0.3) as pool:

        async def main():
            loop = asyncio.get_running_loop()
            return set(
                await asyncio.gather(*(loop.run_in_executor(pool, tasks.pid_later, 0.2) for _ in range(2)))
            )

        pids = aioxide.run(main())
        # Nobody looks at the pool meanwhile.
        wait_until(lambda: not any(map(is_running, pids)))
        assert not pids & aioxide.run(main())


def test_a_worker_that_is_busy_is_not_idle():
    with aioxide.ProcessPoolExecutor(1, SPAWN, idle_timeout=0.2) as pool:
        # The second is there before the first is done.
        calls = [pool.submit(tasks.pid_later, seconds) for seconds in (0.1, 0.8)]
        assert calls[0].result(DEADLINE) == calls[1].result(DEADLINE)


# --------------------------------------------------------------------------------------------- max_tasks_per_child


@pytest.mark.parametrize("method", ("spawn", "forkserver"))
def test_the_next_worker_has_started_while_the_one_it_replaces_is_still_there(monkeypatch, method):
    context = multiprocessing.get_context(method)
    with aioxide.ProcessPoolExecutor(1, context, max_tasks_per_child=1) as pool:
        manager, seen = pool._manager, []

        def noted(executor, replaces=0, start=manager._start):
            # The last one is the one to be replaced; those before it are on their way out.
            before = [process.pid for process in manager._workers.values()][-1:]
            start(executor, replaces)
            seen.append([is_running(pid) for pid in before])

        monkeypatch.setattr(manager, "_start", noted)
        pids = [pool.submit(os.getpid).result(DEADLINE) for _ in range(4)]
        assert len(set(pids)) == 4
        wait_until(lambda: len(seen) == 5)
        assert seen == [[], [True], [True], [True], [True]]


def test_many_calls_of_short_lived_workers_all_finish():
    """python/cpython#115634: with more calls than the workers may do, the standard pool hung."""
    with aioxide.ProcessPoolExecutor(2, SPAWN, max_tasks_per_child=3) as pool:
        futures = [pool.submit(tasks.square, n) for n in range(25)]
        assert [future.result(DEADLINE) for future in futures] == [n * n for n in range(25)]
        assert pool.stats().restarts >= 7


# ------------------------------------------------------------------------------------------------------ max_pending


def test_run_in_executor_waits_for_its_turn_and_never_blocks_its_loop():
    with aioxide.ProcessPoolExecutor(1, max_pending=2) as pool:
        pool.submit(tasks.square, 1).result(DEADLINE)

        async def main():
            loop = asyncio.get_running_loop()
            begun = loop.time()
            blocker = loop.run_in_executor(pool, tasks.nap, 1.0)
            calls = [loop.run_in_executor(pool, tasks.square, n) for n in range(50)]
            # Nor does submit() in the loop's own thread: who would start the calls that wait?
            calls += [asyncio.wrap_future(pool.submit(tasks.square, n)) for n in range(50, 60)]
            assert not blocker.done() and loop.time() - begun < 0.9, "the loop was blocked"
            assert pool.stats().queued > 2
            await blocker
            return await asyncio.gather(*calls)

        assert aioxide.run(main()) == [n * n for n in range(60)]


def test_calls_of_a_loop_count_for_the_threads_that_submit():
    with aioxide.ProcessPoolExecutor(1, max_pending=2) as pool:
        order = []

        def submit():
            pool.submit(tasks.square, 1).add_done_callback(lambda _: order.append("done"))
            order.append("submitted")

        async def main():
            loop = asyncio.get_running_loop()
            calls = [loop.run_in_executor(pool, tasks.nap, 0.3) for _ in range(5)]
            thread = threading.Thread(target=submit)
            thread.start()
            await asyncio.sleep(0.1)
            order.append("blocked")
            await asyncio.gather(*calls)
            order.append("called")
            await asyncio.to_thread(thread.join, DEADLINE)

        aioxide.run(main())
        wait_until(lambda: len(order) == 4)
        assert order[0] == "blocked" and order.index("submitted") < order.index("done")


def test_a_cancelled_call_makes_room():
    with aioxide.ProcessPoolExecutor(1, max_pending=1, cancel_running=True) as pool:
        running = pool.submit(tasks.nap, 60)
        wait_until(running.running)
        # Besides the one that runs, a worker is given one ahead.
        ahead, waiting = pool.submit(tasks.square, 1), pool.submit(tasks.square, 2)
        done = []
        thread = threading.Thread(target=lambda: done.append(pool.submit(tasks.square, 3).result(DEADLINE)))
        thread.start()
        time.sleep(0.1)
        assert not done
        assert waiting.cancel() and running.cancel()
        thread.join(DEADLINE)
        assert done == [9] and ahead.result(DEADLINE) == 1


# ----------------------------------------------------------------------------------------------------------- retries


def test_a_call_whose_worker_dies_is_tried_again(tmp_path):
    with aioxide.ProcessPoolExecutor(1, on_worker_death="respawn") as pool:
        path = tmp_path / "calls"
        assert pool.schedule(tasks.die_times, (str(path), 2), retries=2).result(DEADLINE) == 3
        with pytest.raises(aioxide.WorkerDied, match="exited with code 5"):
            pool.schedule(tasks.die_times, (str(tmp_path / "more"), 9), retries=1).result(DEADLINE)
        assert (tmp_path / "more").read_text() == "xx"


def test_a_time_limit_kills_what_does_not_listen_and_that_worker_alone(tmp_path):
    with aioxide.ProcessPoolExecutor(2, SPAWN) as pool:
        path = str(tmp_path / "deaf")
        other = pool.submit(tasks.nap, 3.0, "slept")
        late = pool.schedule(tasks.run_on, (path,), timeout=0.2)
        with pytest.raises(TimeoutError):
            late.result(DEADLINE)
        assert other.result(DEADLINE) == "slept"
        assert pool.submit(tasks.square, 3).result(DEADLINE) == 9


# ------------------------------------------------------------------------------------------------------- map_progress


def test_whoever_leaves_map_progress_early_leaves_nothing_under_way():
    async def main(pool):
        steps = pool.map_progress(tasks.nap, [0.005] * 1000)
        async for done, total, _ in steps:
            if done == 3:
                assert total == 1000
                break
        await steps.aclose()

    with aioxide.ProcessPoolExecutor(1) as pool:
        aioxide.run(main(pool))
        wait_until(lambda: pool._pool.outstanding == 0)
        assert pool.stats().done < 200


# ---------------------------------------------------------------------------------------------------------- the end


@pytest.mark.filterwarnings("ignore:.*use of fork")
def test_a_pool_that_only_its_own_initializer_has_ends():
    class Owner:
        def __init__(self):
            self.pool = aioxide.ProcessPoolExecutor(1, multiprocessing.get_context("fork"), self.prepare)

        def prepare(self):
            pass

    owner = Owner()
    pid = owner.pool.submit(os.getpid).result(DEADLINE)
    del owner
    gc.collect()
    wait_until(lambda: not is_running(pid))


def test_a_worker_that_is_told_to_end_while_it_starts_and_has_ended_by_then_keeps_no_pool(monkeypatch):
    """A child of the fork server, which nobody can wait for once that one has learnt of its end."""
    context = multiprocessing.get_context("forkserver")
    start, started = context.Process.start, []

    def started_late(process):
        start(process)
        started.append(process)
        if len(started) == 2:
            pool.shutdown(wait=False)
            process.join(30)

    monkeypatch.setattr(context.Process, "start", started_late)
    pool = aioxide.ProcessPoolExecutor(1, context, max_tasks_per_child=1)
    assert pool.submit(abs, -7).result(30) == 7
    assert pool._manager.finished.wait(30)
    assert [process.exitcode for process in started] == [0, 0]
