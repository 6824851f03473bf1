"""Too much of everything: tasks, pools, bytes."""

import pytest

from tests.processes.faults import METHODS, alone, available_memory, run
from tests.processes.test_faults import OWN, kinds

ALL = [("stdlib", "fork"), ("stdlib", "thread"), ("aioxide", "thread"), *OWN]
GIB = 1 << 30

pytestmark = pytest.mark.slow


@kinds([("aioxide", "thread"), *OWN])
def test_100_000_tasks_are_queued(tmp_path, pool, method):
    run(tmp_path, "many_queued", pool, method, 100_000)


@pytest.mark.parametrize("name", ["many_pools", "forgotten", "shut_down_while_full"])
@kinds(ALL)
def test_a_pool_comes_and_goes(tmp_path, name, pool, method):
    run(tmp_path, name, pool, method)


@kinds([("aioxide", "thread"), ("aioxide", "fork"), ("aioxide-respawn", "spawn")])
def test_a_submit_that_waits_for_room_learns_of_the_shutdown(tmp_path, pool, method):
    run(tmp_path, "shut_down_before_a_blocked_submit", pool, method)


@kinds([("stdlib", "fork"), *OWN])
def test_a_result_of_64_mib(tmp_path, pool, method):
    run(tmp_path, "large_result", pool, method, (64 << 20) + 1)


def test_a_result_of_2_gib(tmp_path):
    """More than a signed 32-bit length holds, and more than one system call moves. One copy at either end, one under
    way: 8 GiB at most, for some seconds.
    """
    with alone():
        if available_memory() < 9 * GIB:
            pytest.skip(f"needs 9 GiB of memory; {available_memory() / GIB:.1f} GiB are available")
        run(tmp_path, "large_result", "aioxide", METHODS[0], 2 * GIB + 1)
