"""However a program with a pool ends, it does end, and nothing of it is left."""

import signal

import pytest

from tests.processes.faults import METHODS, Program, chosen
from tests.processes.test_faults import OWN, kinds

pytestmark = pytest.mark.slow

ALL = [(pool, method) for pool in ("stdlib", "aioxide") for method in ("thread", *METHODS)]
PHASES = ("idle", "result", "map", "submit", "start", "shutdown", "loop")
# The standard library's pool of processes, interrupted while it starts workers or hands out tasks, may leave a worker
# behind or trip over its own threads: those phases are for ours.
QUIET_PHASES = ("idle", "result", "loop")
# A worker is in the middle of Python code, in a system call, or in C code that never lets go of its interpreter.
WORK = ("spin", "announce_and_nap", "hold_the_gil")


# Of the standard library's, workers outlive a killed parent: python/cpython#111873.
@kinds([*OWN, ("aioxide-respawn", "forkserver")])
def test_the_parent_is_killed(tmp_path, pool, method):
    with Program(tmp_path, "killed_with_work", pool, method, *WORK) as program:
        assert program.line() == "ready"
        program.kill()
        program.process.wait(10)
        program.assert_nothing_left()


def phases(pairs):
    """Each phase with each kind of pool that is sure to come through."""
    every = [
        (phase, pool, method)
        for pool, method in chosen(pairs)
        for phase in (QUIET_PHASES if pool == "stdlib" and method != "thread" else PHASES)
        # CPython drops a KeyboardInterrupt that comes in a hook of os.fork(): "Exception ignored in _afterFork".
        if (method, phase) != ("fork", "start")
    ]
    return pytest.mark.parametrize(("phase", "pool", "method"), every, ids=["-".join(each) for each in every])


@phases(ALL)
def test_ctrl_c_in_a_terminal(tmp_path, phase, pool, method):
    """It reaches every process of the program; one of a thread's tasks can't be interrupted."""
    with Program(tmp_path, "interrupted", pool, method, phase, 2.0) as program:
        assert program.line() == "ready"
        # Somewhere within the phase: the program is told nothing of when.
        program.stays(0.15)
        program.kill_all(signal.SIGINT)
        done = program.finish()
    assert done.returncode == -signal.SIGINT, done.stderr
    assert "KeyboardInterrupt" in done.stderr


@phases([("stdlib", "fork"), ("aioxide", "thread"), *OWN])
def test_an_interrupt_of_the_parent_alone(tmp_path, phase, pool, method):
    """The workers learn nothing of it: what runs comes to its end, which the pool waits for."""
    with Program(tmp_path, "interrupted", pool, method, phase, 0.5) as program:
        assert program.line() == "ready"
        program.stays(0.15)
        program.kill(signal.SIGINT)
        done = program.finish()
    assert done.returncode == -signal.SIGINT, done.stderr


@pytest.mark.parametrize("status", [0, 3])
@kinds(ALL)
def test_the_program_ends_while_tasks_run(tmp_path, pool, method, status):
    """All of them, queued ones too, come to their end first, as with the standard library's pools."""
    with Program(tmp_path, "ends_with_work", pool, method, status) as program:
        done = program.finish()
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    assert sorted((tmp_path / "done").read_text().splitlines()) == [f"task {n}" for n in range(4)]


@kinds(ALL)
def test_the_program_ends_while_tasks_of_a_closed_loop_run(tmp_path, pool, method):
    with Program(tmp_path, "ends_a_loop_with_work", pool, method) as program:
        done = program.finish()
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    # asyncio cancels the futures of a loop that ends, and so what was still queued.
    ended = sorted((tmp_path / "done").read_text().splitlines())
    assert ended[:2] == ["task 0", "task 1"] and len(ended) <= 4
