"""The benchmarks' cases of reads, connections and memory measure what they are about."""

import platform
import socket
import threading
import types

import pytest

from benches import allocators, processes
from benches.case import Settings
from benches.lanes import LANES
from benches.registry import load_all
from benches.results import Results
from benches.runner import Runner

CASES = load_all()
QUICK = Settings(quick=True)
of_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the two states are glibc's")


@pytest.fixture(scope="module", autouse=True)
def native():
    processes.build_native()


def run_one(case, lanes):
    runner = Runner(lanes, QUICK, Results())
    runner.run_case(case)
    assert runner.problems == []
    made = runner.results.entries[case.name]
    assert made.failed == {} and set(made.costs) == {*lanes, *([made.limit] if made.limit else [])}
    return made


@of_glibc
@pytest.mark.parametrize("name", ["datagrams@200", "pipe_echo@200", "sock_echo@102400", "echo@102400"])
def test_a_read_of_ours_costs_no_page_fault_in_a_fresh_process_and_the_case_would_show_it(name):
    for _ in range(3):
        made = run_one(CASES[name], ["asyncio", "aioxide"])
        assert made.probes["aioxide"] > 0.5, "no process was fresh: this shows nothing"
        assert made.column("aioxide", "faults") < 1
        # Now and then something that asyncio's process frees as it begins hides it there.
        if made.column("asyncio", "faults") > 1:
            break
    else:
        pytest.fail("the case does not show what asyncio's reads cost")


@pytest.mark.parametrize("name", ["datagrams@20000+freed", "pipe_echo@20000+freed", "sock_echo@1024+freed"])
def test_after_one_freed_block_nobody_pays_for_a_read(name):
    made = run_one(CASES[name], ["asyncio", "aioxide"])
    assert made.column("aioxide", "faults") < 1 and made.column("asyncio", "faults") < 1


def test_every_loop_does_all_the_connections_of_a_case():
    """uvloop accepts one a turn: a case that closed its server when the clients were done would have lost the rest."""
    lanes = [lane for lane in ("asyncio", "uvloop", "aioxide") if not LANES[lane].missing()]
    run_one(CASES["open_connection@10"], lanes)


def test_a_task_that_waits_for_an_event_takes_less_than_asyncios_once_the_loop_has_waited():
    made = run_one(CASES["event_task@100000"], ["asyncio", "aioxide"])
    assert made.cost("aioxide") < 0.98 * made.cost("asyncio")


def test_another_datagram_than_the_one_that_was_sent_is_a_problem():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)

        def answer():
            data, sender = server.recvfrom(1000)
            server.sendto(data[::-1], sender)

        thread = threading.Thread(target=answer)
        thread.start()
        process = types.SimpleNamespace(port=server.getsockname()[1], pid=1)
        with pytest.raises(processes.Wrong, match="sent back something else"):
            processes.native("datagram-load", process, 5, conns=1, size=200, warmup=0.1, seconds=0.1)
        thread.join()


def test_an_allocator_that_was_not_loaded_is_a_problem():
    """The loader only warns where it does not find what it is to preload."""
    absent = allocators.Allocator("none", lambda: "libnosuchmalloc.so")
    found, problems, missing = allocators.measured([absent], [CASES["pipe_echo@200"]], ["asyncio"], QUICK)
    assert problems == ["none: pipe_echo@200: asyncio ran without libnosuchmalloc.so"] and missing == {}
    assert allocators.table(found, [CASES["pipe_echo@200"]], ["asyncio"]).endswith("| asyncio | - |")


def test_an_allocator_that_is_not_installed_is_left_out_with_the_reason():
    absent = allocators.Allocator("none", lambda: allocators.shared("nosuchmalloc"))
    found, problems, missing = allocators.measured([absent], [CASES["pipe_echo@200"]], ["asyncio"], QUICK)
    assert (found, problems) == ({}, []) and missing == {"none": "libnosuchmalloc is not installed"}


@of_glibc
def test_glibcs_two_states_are_columns_of_their_own():
    states = [allocator for allocator in allocators.ALLOCATORS if allocator.library is None]
    cases = [CASES["pipe_echo@200"]]
    found, problems, _ = allocators.measured(states, cases, ["asyncio"], QUICK)
    assert problems == []
    fresh, freed = (run.entries["pipe_echo@200"].column("asyncio", "faults") for run in found.values())
    assert fresh > 1 > freed
