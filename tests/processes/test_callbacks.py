"""What a done callback may do with its own pool and with others: what it may in the standard library's pools, each of
which has a thread of its own."""

import concurrent.futures
import multiprocessing
import threading
import time

import aioxide
import pytest

from tests.support import process_tasks as tasks
from tests.support.programs import DEADLINE, output_of

START = """
import concurrent.futures, multiprocessing, operator, sys, threading, time
import aioxide
from tests.support import process_tasks as tasks

def pool(workers=1, **options):
    return aioxide.ProcessPoolExecutor(workers, multiprocessing.get_context("fork"), **options)

def in_callback(pool, body):
    # What `body()` returns, or the error that it raises, in a done callback of that pool's.
    outcome = concurrent.futures.Future()
    def callback(_):
        try:
            outcome.set_result(body())
        except BaseException as error:
            outcome.set_result(repr(error))
    pool.submit(tasks.nap, 0.2).add_done_callback(callback)
    return outcome.result()
"""

WAITS = {
    "result": "b.submit(tasks.square, 3).result()",
    "map": "sum(b.map(tasks.square, [3, 0]))",
    "exception": "9 if b.submit(tasks.square, 'x').exception() else 0",
    "wait": "9 * len(concurrent.futures.wait([b.submit(tasks.square, 3)]).done)",
    "as_completed": "sum(f.result() for f in concurrent.futures.as_completed([b.submit(tasks.square, 3)]))",
    "a pool of its own": "pool().submit(tasks.square, 3).result()",
    "shutdown": "9 if b.shutdown() is None else 0",
    "a pool that it waits for": "c(lambda: b.submit(tasks.square, 3).result())",
}


@pytest.mark.slow
@pytest.mark.parametrize("used", ["idle", "new"])
@pytest.mark.parametrize("what", WAITS)
def test_a_callback_waits_for_another_pool(what, used):
    program = f"""
a, b, third = pool(), pool(), pool()
if {used == "idle"}:
    assert b.submit(tasks.square, 2).result() == 4
def c(body):
    return in_callback(third, body)
print(in_callback(a, lambda: {WAITS[what]}))
print(a.submit(tasks.square, 4).result(), pool().submit(tasks.square, 5).result())
"""
    assert output_of(START + program) == ["9", "16", "25"]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_shutdown_in_a_callback_of_its_own_does_not_wait(method, tmp_path):
    """It raises what it raises in the standard library, and the pool ends when the callback has."""
    path = tmp_path / "program.py"
    path.write_text(f"""
import multiprocessing, sys, threading, time
sys.path.insert(0, {str(tmp_path.cwd())!r})
import aioxide
from tests.support import process_tasks as tasks

if __name__ == "__main__":
    pool, told = aioxide.ProcessPoolExecutor(1, multiprocessing.get_context({method!r})), threading.Event()
    def callback(future):
        try:
            pool.shutdown()
        except RuntimeError as error:
            print(str(error).replace(" ", "_"))
        told.set()
    future = pool.submit(tasks.nap, 0.2)
    future.add_done_callback(callback)
    last = pool.submit(tasks.square, 2)
    told.wait()
    try:
        pool.submit(tasks.square, 2)
    except RuntimeError:
        print("closed", last.result())
    pool.shutdown()
""")
    program = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')"
    assert output_of(program, str(path)) == ["cannot_join_current_thread", "closed", "4"]


def test_a_callback_submits_to_its_own_pool_though_that_is_full():
    """Nobody else could make room meanwhile."""
    program = """
a = pool(max_pending=1)
def body():
    return [a.submit(tasks.square, i) for i in range(40)]
print(*[future.result() for future in in_callback(a, body)][-2:])
"""
    assert output_of(START + program) == ["1444", "1521"]


def test_a_slow_callback_holds_up_its_own_pool_only():
    context = multiprocessing.get_context("spawn")
    let = threading.Event()
    with aioxide.ProcessPoolExecutor(1, context) as slow, aioxide.ProcessPoolExecutor(1, context) as other:
        entered = threading.Event()
        held = slow.submit(tasks.square, 2)
        held.add_done_callback(lambda _: (entered.set(), let.wait(2 * DEADLINE)))
        later = slow.submit(tasks.nap, 0, 7)
        assert entered.wait(DEADLINE)
        try:
            assert [other.submit(tasks.square, n).result(DEADLINE) for n in range(5)] == [0, 1, 4, 9, 16]
            assert not later.done()
        finally:
            let.set()
        assert later.result(DEADLINE) == 7


def test_callbacks_that_are_held_up_again_and_again():
    """Every call of either pool is answered, and every callback runs once, in the order of its pool."""
    context = multiprocessing.get_context("spawn")
    seen = {0: [], 1: []}
    with aioxide.ProcessPoolExecutor(1, context) as a, aioxide.ProcessPoolExecutor(1, context) as b:
        futures = []
        for n in range(120):
            for which, (pool, other) in enumerate([(a, b), (b, a)]):
                future = pool.submit(tasks.nap, 0, n)

                def callback(future, which=which, other=other):
                    n = future.result()
                    seen[which].append(n)
                    if n % 20 == 0:
                        time.sleep(0.03)
                    if n % 30 == 0 and which == 0:
                        assert other.submit(tasks.square, n).result(DEADLINE) == n * n

                future.add_done_callback(callback)
                futures.append(future)
        assert not concurrent.futures.wait(futures, timeout=DEADLINE).not_done
    assert seen == {0: list(range(120)), 1: list(range(120))}


def test_no_thread_is_left_when_the_pools_are_gone():
    program = """
import os
def threads():
    return [name(task) for task in os.listdir("/proc/self/task")].count("aioxide-pools")
def name(task):
    try:
        return open(f"/proc/self/task/{task}/comm").read().strip()
    except OSError:  # it has ended since it was listed
        return None
a, b = pool(), pool()
print(in_callback(a, lambda: [b.submit(tasks.square, 3).result(), time.sleep(0.1), threads()][-1]))
for _ in range(10):
    in_callback(a, lambda: b.submit(tasks.square, 3).result())
print(threads() <= 3)
a.shutdown(); b.shutdown()
deadline = time.monotonic() + 30
while threads() and time.monotonic() < deadline:
    time.sleep(0.01)
print(threads())
"""
    assert output_of(START + program) == ["2", "True", "0"]
