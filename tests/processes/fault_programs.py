"""Programs that do to a pool what must not hurt it: ``python -m tests.processes.fault_programs NAME POOL ...``.

Each is a function of a `Maker` and a folder, asserts what it sees itself, and has to leave nothing behind, which
`main` checks. They are run by `faults.Program`.
"""

import asyncio
import concurrent.futures
import faulthandler
import gc
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from tests.processes import fault_tasks as tasks
from tests.support.inventory import Inventory
from tests.support.programs import WAIT, until

# Those that end in another way than by returning check nothing at their end: it is for the test to look.
UNCHECKED = {
    "killed_with_work",
    "killed_with_shared_memory",
    "interrupted",
    "ends_with_work",
    "ends_a_loop_with_work",
}


class Maker:
    """Makes pools of one kind; can be pickled, for pools in pools."""

    def __init__(self, pool: str, method: str) -> None:
        self.pool, self.method = pool, method
        self.own = pool != "stdlib"
        self.respawn = pool == "aioxide-respawn"

    def __call__(self, workers=1, **keywords):
        if self.own:
            import aioxide as source
        else:
            source = concurrent.futures
        if self.method == "thread":
            return source.ThreadPoolExecutor(workers, **keywords)
        if self.respawn:
            keywords["on_worker_death"] = "respawn"
        context = multiprocessing.get_context(self.method)
        return source.ProcessPoolExecutor(workers, mp_context=context, **keywords)

    def run(self, main):
        """Run a coroutine on the loop that goes with the pools."""
        if self.own:
            import aioxide

            return aioxide.run(main)
        return asyncio.run(main)


def failure(future):
    """The exception that a future ends with."""
    error = future.exception(WAIT)
    assert error is not None, f"the result is {future.result()!r}"
    return error


def submit_until_it_raises(pool):
    """A pool may take a moment to notice; from then on it refuses."""

    def refused():
        try:
            pool.submit(tasks.square, 1)
        except BrokenProcessPool:
            return True
        return False

    until(refused, "a broken pool still takes tasks")


def check_goes_on(make, pool, error, pattern, queued):
    """After the death of a worker in a task that failed by `error`."""
    assert isinstance(error, BrokenProcessPool), repr(error)
    if not make.respawn:
        errors = [error, *map(failure, queued)]
        assert {type(each) for each in errors} <= {BrokenProcessPool, type(error)}, errors
        assert not make.own or len({id(each) for each in errors}) == len(errors), "one exception for several"
        submit_until_it_raises(pool)
        return
    assert re.search(pattern, str(error)), error
    assert [future.result(WAIT) for future in queued] == [n * n for n in range(len(queued))]
    assert pool.submit(tasks.square, 9).result(WAIT) == 81


def killed_during(make, folder):
    with make(1) as pool:
        running = pool.submit(tasks.announce_and_nap, folder / "started")
        queued = [pool.submit(tasks.square, n) for n in range(5)]
        os.kill(tasks.announced(folder / "started"), signal.SIGKILL)
        check_goes_on(make, pool, failure(running), "SIGKILL|signal 9|-9", queued)


def dies(make, folder, how):
    task, pattern = tasks.DEATHS[how]
    with make(1) as pool:
        assert pool.submit(tasks.square, 2).result(WAIT) == 4
        running = pool.submit(task)
        queued = [pool.submit(tasks.square, n) for n in range(5)]
        check_goes_on(make, pool, failure(running), pattern, queued)


def killed_while_idle(make, folder):
    """The pool may not have noticed when the next task comes, which did not run in the dead worker."""
    for _ in range(3):
        with make(1) as pool:
            os.kill(pool.submit(os.getpid).result(WAIT), signal.SIGKILL)
            try:
                result = pool.submit(tasks.square, 3).result(WAIT)
            except BrokenProcessPool:
                assert not make.respawn, "a task failed that no dead worker ran"
                submit_until_it_raises(pool)
            else:
                assert make.respawn and result == 9


def killed_before_its_first_task(make, folder):
    started = folder / "started"
    with make(1, initializer=tasks.announce_and_nap_once, initargs=(started,)) as pool:
        future = pool.submit(tasks.square, 3)
        os.kill(tasks.announced(started), signal.SIGKILL)
        if make.respawn:
            assert future.result(WAIT) == 9
        else:
            assert isinstance(failure(future), BrokenProcessPool)
            submit_until_it_raises(pool)


def killed_after_its_task(make, folder):
    """A result that was sent is not lost because its worker died since."""
    with make(1) as pool:
        pids = {pool.submit(tasks.die_soon, 0.2).result(WAIT)}
        if not make.respawn:
            submit_until_it_raises(pool)
            return
        time.sleep(0.5)
        pids.add(pool.submit(os.getpid).result(WAIT))
        assert len(pids) == 2


def one_of_two_is_killed(make, folder):
    """The other worker's task is none of its business."""
    with make(2) as pool:
        other = pool.submit(tasks.announce_and_nap, folder / "other", 1.0, "slept")
        running = pool.submit(tasks.announce_and_nap, folder / "started")
        tasks.announced(folder / "other")
        os.kill(tasks.announced(folder / "started"), signal.SIGKILL)
        assert isinstance(failure(running), BrokenProcessPool)
        if make.respawn:
            assert other.result(WAIT) == "slept"
        else:
            assert isinstance(failure(other), BrokenProcessPool)


def never_starts(make, folder):
    """A crash loop: no worker lives until its first task."""
    with make(2, initializer=os._exit, initargs=(3,)) as pool:
        futures = [pool.submit(tasks.square, n) for n in range(4)]
        for future in futures:
            assert isinstance(failure(future), BrokenProcessPool)
        submit_until_it_raises(pool)


def killed_in_a_loop(make, folder):
    """As `killed_during`, by `run_in_executor`."""

    async def main():
        loop = asyncio.get_running_loop()
        with make(1) as pool:
            running = loop.run_in_executor(pool, tasks.announce_and_nap, folder / "started")
            queued = [loop.run_in_executor(pool, tasks.square, n) for n in range(5)]
            pid = await loop.run_in_executor(None, tasks.announced, folder / "started")
            os.kill(pid, signal.SIGKILL)
            results = await asyncio.wait_for(asyncio.gather(running, *queued, return_exceptions=True), WAIT)
            assert isinstance(results[0], BrokenProcessPool), results
            if make.respawn:
                assert results[1:] == [0, 1, 4, 9, 16]
            else:
                assert all(isinstance(each, BrokenProcessPool) for each in results), results

    make.run(main())


def signal_to_a_worker(make, folder):
    """python/cpython#94454: a worker must not have the loop's wake-up descriptor."""

    async def main():
        loop = asyncio.get_running_loop()
        seen = []
        for number in (signal.SIGTERM, signal.SIGUSR1):
            loop.add_signal_handler(number, seen.append, number)
        for number in (signal.SIGUSR1, signal.SIGTERM):
            with make(1) as pool:
                started = folder / f"started {number}"
                running = loop.run_in_executor(pool, tasks.announce_and_nap, started, 1.0)
                os.kill(await loop.run_in_executor(None, tasks.announced, started), number)
                await asyncio.wait([running], timeout=WAIT)
                assert running.done() and (running.exception() or True)
                await asyncio.sleep(0.2)
                assert seen == [], f"signal {number} to a worker reached the parent's loop"
        os.kill(os.getpid(), signal.SIGTERM)
        while not seen:
            await asyncio.sleep(0.01)
        assert seen == [signal.SIGTERM]

    make.run(main())


def bad_pickles(make, folder):
    """What can't be pickled or loaded fails its own future, and no other."""
    with make(1) as pool:
        bad = [
            pool.submit(tasks.return_unloadable),
            pool.submit(tasks.return_unpicklable),
            pool.submit(tasks.raise_demanding),
            pool.submit(tasks.square, threading.Lock()),
        ]
        bad.append(pool.submit(lambda: None)) if not make.own else None
        good = [pool.submit(tasks.square, n) for n in range(20)]
        errors = [failure(future) for future in bad]
        # What could not be loaded is a BrokenProcessPool to CPython's own tests; the pool is none the worse for it.
        assert [isinstance(error, BrokenProcessPool) for error in errors] == [True, False, True, False], (
            errors
        )
        assert [future.result(WAIT) for future in good] == [n * n for n in range(20)]


def raises_what_ends_programs(make, folder):
    with make(1) as pool:
        pid = pool.submit(os.getpid).result(WAIT)
        assert isinstance(failure(pool.submit(tasks.leave_by_sys_exit)), SystemExit)
        assert isinstance(failure(pool.submit(tasks.recurse_in_python)), RecursionError)
        assert pool.submit(os.getpid).result(WAIT) == pid, "the worker was replaced"


def forks_and_returns_twice(make, folder):
    with make(1) as pool:
        pid = pool.submit(os.getpid).result(WAIT)
        assert pool.submit(tasks.fork_and_return_twice).result(WAIT) == pid, "the child's result was taken"
        for n in range(50):
            assert pool.submit(tasks.square, n).result(WAIT) == n * n
            assert pool.submit(os.getpid).result(WAIT) == pid


def forks_a_child_that_stays(make, folder):
    """The worker dies while a child of its own still holds all its descriptors."""
    with make(1) as pool:
        pid = pool.submit(tasks.fork_a_child_that_stays, folder / "child").result(WAIT)
        child = tasks.announced(folder / "child")
        running = pool.submit(tasks.announce_and_nap, folder / "started")
        assert tasks.announced(folder / "started") == pid
        os.kill(pid, signal.SIGKILL)
        error = failure(running)
        os.kill(child, signal.SIGKILL)
        check_goes_on(make, pool, error, "SIGKILL|signal 9|-9", [])


def nested(make, folder):
    assert tasks.nested(make, 3) == 3


def nested_in_threads(make, folder):
    with make(2) as processes, Maker(make.pool, "thread")(2) as threads:
        inner = [
            threads.submit(lambda n=n: processes.submit(tasks.square, n).result(WAIT)) for n in range(20)
        ]
        assert [future.result(WAIT) for future in inner] == [n * n for n in range(20)]
        assert processes.submit(tasks.nested, Maker(make.pool, "thread"), 1).result(WAIT) == 1


def cancels_what_runs(make, folder):
    """Softly where that is enough; a task that goes on nevertheless is killed, and its worker replaced."""
    with make(2, cancel_running=True) as pool:
        for task in (tasks.announce_and_nap, tasks.announce_and_ignore):
            started = folder / task.__name__
            other = pool.submit(tasks.nap, 1.0, "slept")
            running = pool.submit(task, started)
            tasks.announced(started)
            assert running.cancel() and running.cancelled()
            assert other.result(WAIT) == "slept"
            both = [pool.submit(tasks.nap, 0.2, n) for n in range(2)]
            assert [future.result(WAIT) for future in both] == [0, 1]
        pid = tasks.announced(folder / "announce_and_ignore")
        until(lambda: not Path(f"/proc/{pid}/cwd").exists(), "the worker that ran on is still there")


def many_pools(make, folder):
    for n in range(6):
        with make(2) as pool:
            assert list(pool.map(tasks.square, range(n))) == [k * k for k in range(n)]


def forgotten(make, folder):
    """A pool that nobody has any more, and nobody shut down."""
    pool = make(2)
    future = pool.submit(tasks.nap, 0.2, "slept")
    del pool
    gc.collect()
    assert future.result(WAIT) == "slept"


def many_queued(make, folder, number):
    number = int(number)
    with make(2) as pool:
        futures = [pool.submit(tasks.square, n) for n in range(number)]
        assert all(future.result(WAIT) == n * n for n, future in enumerate(futures))


def shut_down_while_full(make, folder):
    pool = make(2)
    futures = [pool.submit(tasks.nap, 0.002, n) for n in range(300)]
    pool.shutdown(wait=False)
    try:
        pool.submit(tasks.square, 1)
    except RuntimeError:
        pass
    else:
        raise AssertionError("a pool that was shut down takes tasks")
    assert [future.result(WAIT) for future in futures] == list(range(300))

    pool = make(2)
    futures = [pool.submit(tasks.nap, 0.05, n) for n in range(10_000)]
    assert futures[0].result(WAIT) == 0
    pool.shutdown(wait=True, cancel_futures=True)
    assert all(future.done() for future in futures)
    ran = [future.result() for future in futures if not future.cancelled()]
    assert len(ran) < 2_000, len(ran)
    # The standard pool of threads cancels one by one, and its workers go on with what is between.
    # Of ours, each of the two workers was sent its next one, which was taken back unless it had begun with it.
    assert not make.own or max(ran) < len(ran) + 2, ran


def shut_down_before_a_blocked_submit(make, folder):
    """Who waits in `submit` for room (`max_pending`) learns that there will be none."""
    pool = make(1, max_pending=2)
    ends, futures = [], []

    def fill():
        try:
            for n in range(1_000):
                futures.append(pool.submit(tasks.nap, 0.05, n))
        except RuntimeError as error:
            ends.append(error)

    thread = threading.Thread(target=fill)
    thread.start()
    time.sleep(0.3)
    assert 2 <= len(futures) < 100, "no back-pressure"
    pool.shutdown(wait=True, cancel_futures=True)
    thread.join(WAIT)
    assert not thread.is_alive() and len(ends) == 1
    assert all(future.done() for future in futures)


def shut_down_by_a_worker_that_is_killed(make, folder):
    """`shutdown` waits for a task whose worker is killed meanwhile."""
    pool = make(1)
    running = pool.submit(tasks.announce_and_nap, folder / "started")
    queued = [pool.submit(tasks.square, n) for n in range(5)]
    pid = tasks.announced(folder / "started")
    threading.Timer(0.2, os.kill, (pid, signal.SIGKILL)).start()
    pool.shutdown(wait=True)
    assert isinstance(failure(running), BrokenProcessPool)
    assert all(future.done() for future in queued)
    if make.respawn:
        assert [future.result() for future in queued] == [0, 1, 4, 9, 16]


def large_result(make, folder, size):
    with make(1) as pool:
        data = pool.submit(tasks.large, int(size)).result(WAIT)
        assert (len(data), data[0], data[-1], data[len(data) // 2]) == (int(size), 1, 2, 0)


def killed_with_work(make, folder, *work):
    """For the test to kill: a worker is idle, the others do `work`."""
    pool = make(len(work) + 1)
    for name in work:
        pool.submit(getattr(tasks, name), folder / name)
    for name in work:
        tasks.announced(folder / name)
    pool.submit(tasks.square, 1).result(WAIT)
    print("ready", flush=True)
    time.sleep(600)


def killed_with_shared_memory(make, folder):
    """For the test to kill: memory of each kind is there, and some of it is just being used."""
    import numpy
    from aioxide import shared

    pool = make(2)
    array = shared.empty(1_000_000)
    handle = pool.share(numpy.ones(500_000))
    kept = [pool.submit(tasks.nap, 0.0, each).result(WAIT) for each in (array, numpy.ones(200_000), handle)]
    pool.submit(tasks.announce_and_nap, folder / "started", 60.0, [array, numpy.ones(300_000), handle])
    tasks.announced(folder / "started")
    lines = Path("/proc/self/maps").read_text().splitlines()
    print("ready", *{line.split()[4] for line in lines if "memfd:aioxide" in line}, flush=True)
    time.sleep(600)
    del kept


def interrupted(make, folder, phase, seconds):
    """For the test to interrupt, in a phase of a pool's life; a task takes `seconds`."""
    phases = {
        "idle": lambda pool: time.sleep(60),
        "result": lambda pool: pool.submit(tasks.nap, float(seconds)).result(),
        "map": lambda pool: [list(pool.map(tasks.nap, [0.005] * 200)) for _ in range(60)],
        "submit": lambda pool: [
            future for n in range(10**9) if (future := pool.submit(tasks.square, n)).result() < 0
        ],
        "start": lambda pool: [once(make) for _ in range(10_000)],
        "shutdown": lambda pool: (pool.submit(tasks.nap, float(seconds)), pool.shutdown()),
        "loop": lambda pool: make.run(in_loop(pool, float(seconds))),
    }
    with make(2) as pool:
        pool.submit(tasks.square, 1).result(WAIT)
        print("ready", flush=True)
        phases[phase](pool)
        time.sleep(60)


def once(make):
    with make(1) as pool:
        pool.submit(tasks.square, 1).result(WAIT)


async def in_loop(pool, seconds):
    await asyncio.get_running_loop().run_in_executor(pool, tasks.nap, seconds)


def ends_with_work(make, folder, status):
    """The end of the program, with tasks running and queued and a pool that nobody shut down."""
    pool = make(2)
    for n in range(4):
        pool.submit(tasks.append_later, folder / "done", f"task {n}")
    if status != "0":
        sys.exit(int(status))


def ends_a_loop_with_work(make, folder):
    """The same, by `run_in_executor`, whose loop is closed while the tasks go on."""
    pool = make(2)

    async def main():
        loop = asyncio.get_running_loop()
        for n in range(4):
            loop.run_in_executor(pool, tasks.append_later, folder / "done", f"task {n}")

    make.run(main())


def main() -> None:
    name, pool, method, folder, *arguments = sys.argv[1:]
    # What hangs is to say where before the test kills it.
    faulthandler.dump_traceback_later(float(os.environ["AIOXIDE_DEADLINE"]) - 5, exit=True)
    make, program = Maker(pool, method), globals()[name]
    if name in UNCHECKED:
        program(make, Path(folder), *arguments)
        return
    # The first pool of a process starts what serves all of them: a fork server, a resource tracker, a reactor.
    once(make)
    before = Inventory()
    program(make, Path(folder), *arguments)
    gc.collect()
    before.assert_same()


if __name__ == "__main__":
    main()
