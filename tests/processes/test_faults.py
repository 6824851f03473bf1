"""What happens to a worker happens to one pool at most, and to one task only where the pool is told to respawn."""

import pytest

from tests.processes.fault_tasks import DEATHS
from tests.processes.faults import METHODS, chosen, run

OURS = ("aioxide", "aioxide-respawn")
# The standard library's pool shows that a test asks for nothing but the interface; by one start method is enough.
BREAKING = [("stdlib", "fork"), *(("aioxide", method) for method in METHODS)]
RESPAWNING = [("aioxide-respawn", method) for method in METHODS]
OWN = [("aioxide", method) for method in METHODS]
FORKED = [("aioxide", "fork"), ("aioxide-respawn", "fork")]


def row(*cells):
    """The case of these cells, of which the last is how workers start: by `fork` alone where a minute has to do."""
    quick = cells[-1] in ("fork", "thread")
    return pytest.param(*cells, id="-".join(cells), marks=() if quick else pytest.mark.slow)


def kinds(pairs):
    return pytest.mark.parametrize(("pool", "method"), [row(*pair) for pair in chosen(pairs)])


@pytest.mark.parametrize(
    "name",
    [
        "killed_before_its_first_task",
        "killed_during",
        "killed_after_its_task",
        "killed_while_idle",
        "one_of_two_is_killed",
        "never_starts",
        "shut_down_by_a_worker_that_is_killed",
    ],
)
@kinds(BREAKING + RESPAWNING)
def test_a_killed_worker(tmp_path, name, pool, method):
    run(tmp_path, name, pool, method)


@pytest.mark.parametrize("how", DEATHS)
@kinds(BREAKING + RESPAWNING)
def test_a_task_that_ends_its_worker(tmp_path, how, pool, method):
    run(tmp_path, "dies", pool, method, how)


@kinds([("stdlib", "forkserver"), *OWN, *RESPAWNING])
def test_a_worker_killed_under_run_in_executor(tmp_path, pool, method):
    run(tmp_path, "killed_in_a_loop", pool, method)


# python/cpython#94454: before 3.12 asyncio fails this where the workers are forked.
@kinds([("stdlib", "spawn"), *OWN])
def test_a_signal_to_a_worker_does_not_reach_the_loop_of_the_parent(tmp_path, pool, method):
    run(tmp_path, "signal_to_a_worker", pool, method)


# The standard library's pool breaks for good: python/cpython#80041.
@kinds([*OWN, ("aioxide-respawn", "fork")])
def test_what_can_not_be_pickled_or_loaded_fails_its_own_future_only(tmp_path, pool, method):
    run(tmp_path, "bad_pickles", pool, method)


@kinds(BREAKING)
def test_a_task_that_exits_or_recurses_fails_and_its_worker_goes_on(tmp_path, pool, method):
    run(tmp_path, "raises_what_ends_programs", pool, method)


# The standard library's worker serves twice from then on.
@kinds(OWN)
def test_a_task_that_forks_and_returns_twice(tmp_path, pool, method):
    run(tmp_path, "forks_and_returns_twice", pool, method)


# The standard library never notices the death of a worker whose child has its end of the sentinel.
@kinds([*FORKED, ("aioxide", "spawn"), ("aioxide-respawn", "forkserver")])
def test_a_task_that_forks_a_child_which_outlives_its_worker(tmp_path, pool, method):
    run(tmp_path, "forks_a_child_that_stays", pool, method)


@kinds(OWN)
def test_a_running_task_that_is_cancelled_is_stopped(tmp_path, pool, method):
    run(tmp_path, "cancels_what_runs", pool, method)


@kinds([*BREAKING, ("stdlib", "spawn")])
def test_a_pool_in_a_pool_in_a_pool(tmp_path, pool, method):
    run(tmp_path, "nested", pool, method)


@kinds([("stdlib", "forkserver"), *OWN])
def test_processes_under_threads_and_threads_under_processes(tmp_path, pool, method):
    run(tmp_path, "nested_in_threads", pool, method)
