"""The end of the interpreter, and children of fork."""

import os
import sys

import pytest

from tests.support.programs import output_of, run_program

HEAD = """
import asyncio, os, signal, sys, threading, time, warnings
import aioxide
warnings.simplefilter("ignore", DeprecationWarning)
"""


def test_exit_does_not_wait_for_idle_threads():
    done = run_program(
        HEAD
        + """
pool = aioxide.ThreadPoolExecutor(4)
list(pool.map(int, range(8)))
started = [aioxide.ThreadPoolExecutor(1, idle_timeout=3600) for _ in range(5)]
for other in started:
    other.submit(int).result()
aioxide.run(asyncio.to_thread(int))
print("end")
"""
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_exit_waits_for_calls_that_run_and_that_are_queued():
    done = run_program(
        HEAD
        + """
pool = aioxide.ThreadPoolExecutor(1)
def late(word):
    time.sleep(0.2)
    print(word, flush=True)
pool.submit(late, "one")
pool.submit(late, "two")
del pool
"""
    )
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["one", "two"], "")


def test_exit_names_what_it_waits_for():
    done = run_program(
        HEAD
        + """
import functools
import aioxide._threads.executor as threads
threads._PATIENCE = 0.3

def long_work(event):
    event.wait(1.5)

pool = aioxide.ThreadPoolExecutor(2, "Slow")
event = threading.Event()
pool.submit(functools.partial(long_work, event))
pool.submit(event.wait, 1.5)
pool.submit(int)
"""
    )
    assert done.returncode == 0
    assert "The interpreter ends, and waits since" in done.stderr
    assert "Slow_0 runs __main__.long_work for" in done.stderr
    assert "Slow_1 runs threading.Event.wait for" in done.stderr
    assert "1 more are queued" in done.stderr


def test_exit_names_the_function_behind_to_thread():
    done = run_program(
        HEAD
        + """
import aioxide._threads.executor as threads
threads._PATIENCE = 0.3
def long_work():
    time.sleep(1.5)
loop = aioxide.new_event_loop()
async def main():
    asyncio.ensure_future(asyncio.to_thread(long_work))
    await asyncio.sleep(0.05)
loop.run_until_complete(main())
loop.close()
"""
    )
    assert done.returncode == 0
    assert "asyncio_0 runs __main__.long_work for" in done.stderr


def test_no_calls_after_the_interpreter_has_begun_to_end():
    done = run_program(
        HEAD
        + """
import atexit
pool = aioxide.ThreadPoolExecutor(1)
@atexit.register
def late():
    try:
        pool.submit(int)
    except RuntimeError as error:
        print(error)
"""
    )
    assert done.stdout == "cannot schedule new futures after interpreter shutdown\n"
    assert done.returncode == 0


def test_a_worker_that_submits_for_ever_does_not_stop_the_exit():
    done = run_program(
        HEAD
        + """
pool = aioxide.ThreadPoolExecutor(2)
def again():
    pool.submit(again)
pool.submit(again)
"""
    )
    assert done.returncode == 0


def test_ctrl_c_while_waiting_at_exit():
    done = run_program(
        HEAD
        + """
pool = aioxide.ThreadPoolExecutor(1)
release = threading.Event()
pool.submit(release.wait, 60)
def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.2)
    release.set()
threading.Timer(0.3, interrupt).start()
"""
    )
    assert done.returncode in (0, 1, -2)


# ------------------------------------------------------------------------------------------------------------ fork

FORK = (
    HEAD
    + """
def in_child(body):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            body()
            status = 0
        finally:
            sys.stdout.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""
)


def test_a_pool_works_in_a_child_of_fork():
    program = (
        FORK
        + """
pool = aioxide.ThreadPoolExecutor(2)
print(pool.submit(pow, 2, 3).result())
def body():
    print(pool.submit(pow, 2, 4).result(30))
    print(aioxide.run(asyncio.to_thread(pow, 2, 5)))
    pool.shutdown()
assert in_child(body) == 0
print(pool.submit(pow, 2, 6).result())
"""
    )
    assert output_of(program) == ["8", "16", "32", "64"]


def test_calls_of_the_parent_do_not_run_again_in_the_child():
    program = (
        FORK
        + """
from concurrent.futures import CancelledError
pool = aioxide.ThreadPoolExecutor(1)
release = threading.Event()
runs = pool.submit(release.wait, 60)
waits = [pool.submit(print, "ran") for _ in range(3)]
while not runs.running(): pass
def body():
    for call in [runs, *waits]:
        try:
            call.result(30)
        except CancelledError:
            print("lost")
    print(pool.submit(pow, 2, 3).result(30))
assert in_child(body) == 0
release.set()
pool.shutdown()
"""
    )
    assert output_of(program) == ["lost"] * 4 + ["8"] + ["ran"] * 3


def test_a_call_may_fork():
    program = (
        FORK
        + """
pool = aioxide.ThreadPoolExecutor(1)
def forks():
    return in_child(lambda: print("child"))
print(pool.submit(forks).result(30))
print(pool.submit(pow, 2, 3).result(30))
"""
    )
    assert output_of(program) == ["child", "0", "8"]


def test_a_child_that_returns_from_a_call_ends():
    # The worker is the child's only thread, and its pool has forgotten it: it ends, where the standard pool's would
    # wait for ever for calls that nobody can submit.
    program = (
        HEAD
        + """
pool = aioxide.ThreadPoolExecutor(1)
pid = pool.submit(os.fork).result(30)
if pid:
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    )
    assert output_of(program) == ["0"]


def test_a_child_exits_though_the_parent_has_busy_workers():
    program = (
        FORK
        + """
pool = aioxide.ThreadPoolExecutor(1)
release = threading.Event()
pool.submit(release.wait, 60)
sys.stdout.flush()
child = os.fork()
if child == 0:
    sys.exit(7)  # with all that the interpreter does at its end
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
release.set()
"""
    )
    assert output_of(program) == ["7"]


def test_a_fork_in_the_middle_of_traffic():
    program = (
        FORK
        + """
pool = aioxide.ThreadPoolExecutor(3)
stop = threading.Event()
def traffic():
    while not stop.is_set():
        pool.submit(int).result()
threads = [threading.Thread(target=traffic) for _ in range(3)]
for thread in threads:
    thread.start()
def body():
    assert pool.submit(pow, 2, 3).result(30) == 8
print({in_child(body) for _ in range(20)})
stop.set()
for thread in threads:
    thread.join()
"""
    )
    assert output_of(program) == ["{0}"]


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="counts threads in /proc")
def test_no_thread_is_left():
    program = (
        HEAD
        + """
def threads():
    return len(os.listdir("/proc/self/task"))
before = threads()
for _ in range(20):
    with aioxide.ThreadPoolExecutor(4) as pool:
        list(pool.map(int, range(20)))
    aioxide.run(asyncio.to_thread(int))
deadline = time.monotonic() + 30
while threads() > before and time.monotonic() < deadline:
    time.sleep(0.01)
print(threads() - before)
"""
    )
    assert output_of(program) == ["0"]


@pytest.mark.by_version(sys.version_info < (3, 14), reason="InterpreterPoolExecutor came with 3.14")
def test_interpreter_pools_work_beside_ours():
    program = (
        HEAD
        + """
aioxide.install(namespace=True)
import concurrent.futures
with concurrent.futures.InterpreterPoolExecutor(2) as pool:
    print(pool.submit(pow, 2, 3).result())
"""
    )
    assert output_of(program) == ["8"]
