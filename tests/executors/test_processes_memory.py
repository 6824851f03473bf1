"""Large data on its way to worker processes and back: one copy each way, or none."""

import asyncio
import gc
import os
import pickle

import aioxide
import pytest
from aioxide import shared

from . import process_tasks as tasks
from .inventory import memory_files
from .threads_support import DEADLINE, output_of, wait_until

numpy = pytest.importorskip("numpy", reason="numpy is not installed (tests/executors/requirements.txt)")


@pytest.fixture(scope="module")
def pool():
    with aioxide.ProcessPoolExecutor(2) as pool:
        yield pool


def test_arrays_arrive_whole_and_writable(pool):
    array = numpy.arange(1_000_000, dtype=float)
    back = pool.submit(tasks.square, array).result(DEADLINE)
    assert (back == array * array).all()
    back[0] = 1
    assert pool.submit(tasks.is_writable, array).result(DEADLINE)
    fortran = numpy.asfortranarray(numpy.arange(90_000).reshape(300, 300))
    back = pool.submit(tasks.same, fortran).result(DEADLINE)
    assert (back == fortran).all() and back.flags.f_contiguous
    strided = numpy.arange(400_000)[::2]
    assert (pool.submit(tasks.same, strided).result(DEADLINE) == strided).all()


@pytest.mark.parametrize("size", (100, 100_000))
def test_arrays_that_are_read_only_stay_so(pool, size):
    array = numpy.arange(size)
    array.flags.writeable = False
    back = pool.submit(tasks.same, array).result(DEADLINE)
    assert (back == array).all() and not back.flags.writeable


def test_what_looks_at_the_buffer_of_an_array_finds_a_sequence_of_bytes(pool):
    kind, size = pool.submit(tasks.kind_and_size, pickle.PickleBuffer(numpy.ones(100_000))).result(DEADLINE)
    assert (kind, size) == ("memoryview", 800_000)


def test_a_result_that_is_kept_is_not_written_over(pool):
    kept = [pool.submit(tasks.square, numpy.full(100_000, float(n))).result(DEADLINE) for n in range(8)]
    assert [array[-1] for array in kept] == [float(n * n) for n in range(8)]
    assert all((array == array[0]).all() for array in kept)


def test_memory_is_used_again(pool):
    array = numpy.ones(500_000)
    for _ in range(20):
        pool.submit(tasks.square, array).result(DEADLINE)
    assert pool.stats().shared_bytes < 20 * array.nbytes


FEW_DESCRIPTORS = """
import os, resource
import numpy
import aioxide
from tests.executors import process_tasks as tasks

if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (160, 160))
    with aioxide.ProcessPoolExecutor(2) as pool:
        blocker = [pool.submit(tasks.nap, 0.5) for _ in range(2)]
        waiting = [pool.submit(tasks.same, numpy.full(12_000, float(n))) for n in range(1000)]
        waiting += [pool.submit(tasks.same, [b"x" * 1_500_000, numpy.full(12_000, 7.0), n]) for n in range(100)]
        kept = [call.result(60) for call in waiting]
        assert all((array == n).all() and array.flags.writeable for n, array in enumerate(kept[:1000]))
        assert all(len(x) == 1_500_000 and (array == 7).all() and k == n for n, (x, array, k) in enumerate(kept[1000:]))
        kept[3][:] = 5
        again = list(pool.map(tasks.same, kept))
        assert (again[3] == 5).all() and again[999][0] == 999
        with open("/proc/self/maps") as lines:
            print(sum("/memfd:aioxide-slab" in line for line in lines), len(os.listdir("/proc/self/fd")))
        del kept, again, waiting
        assert (pool.submit(tasks.same, numpy.ones(100_000)).result(60) == 1).all()
"""


def test_many_arrays_that_wait_or_are_kept_need_no_descriptor_each():
    """1,100 arguments wait and 2,100 results are kept, where 160 descriptors can be had."""
    mappings, descriptors = map(int, output_of(FEW_DESCRIPTORS))
    assert 0 < mappings < 600 and descriptors < 120


def test_large_pickles_without_buffers(pool):
    data = os.urandom(1 << 20) * 20
    assert pool.submit(tasks.same, data).result(DEADLINE) == data
    assert pool.submit(tasks.same, [data, "x" * 3_000_000]).result(DEADLINE) == [data, "x" * 3_000_000]
    assert pool.submit(tasks.same, bytearray(data)).result(DEADLINE) == data


def test_no_room_for_shared_memory_is_a_memory_error(pool):
    with pytest.raises(MemoryError, match="no room for"):
        shared.buffer(1 << 60)
    with pytest.raises(ValueError):
        shared.buffer(-1)
    assert pool.submit(tasks.square, 2).result(DEADLINE) == 4


NO_ROOM = (
    r"no room for \d+ bytes .*: \d+ bytes are available; pass less at a time, or wait for earlier results"
)


@pytest.mark.parametrize("wrap", (lambda array: array, pickle.PickleBuffer, lambda array: {"in": [array]}))
def test_no_room_for_arguments_fails_the_call_before_anything_is_copied(pool, wrap):
    huge = tasks.reserved_array(tasks.beyond_memory())
    before, resident = pool.stats(), tasks.resident()
    with pytest.raises(MemoryError, match=NO_ROOM):
        pool.submit(tasks.first, wrap(huge)).result(DEADLINE)
    with pytest.raises(MemoryError, match=NO_ROOM):
        list(pool.map(tasks.first, [wrap(huge)]))
    with pytest.raises(MemoryError, match=NO_ROOM):
        pool.schedule(tasks.first, (wrap(huge),)).result(DEADLINE)
    with pytest.raises(MemoryError, match=NO_ROOM):
        pool.share(huge)

    async def in_loop():
        loop = asyncio.get_running_loop()
        with pytest.raises(MemoryError, match=NO_ROOM):
            await loop.run_in_executor(pool, tasks.first, wrap(huge))
        return await loop.run_in_executor(pool, tasks.square, 3)

    assert aioxide.run(in_loop()) == 9
    after = pool.stats()
    # The pool is none the worse.
    assert (after.submitted, after.queued, after.running) == (before.submitted + 5, 0, 0)
    assert after.failed == before.failed + 4
    assert after.shared_bytes == before.shared_bytes
    assert tasks.resident() - resident < 64 << 20
    assert pool.submit(tasks.square, 2).result(DEADLINE) == 4


def test_no_room_for_a_result_fails_its_own_future(pool):
    pids = {worker.pid for worker in pool.workers()}
    with pytest.raises(MemoryError, match=NO_ROOM):
        pool.submit(tasks.too_large_to_return).result(DEADLINE)
    assert pool.submit(tasks.square, 2).result(DEADLINE) == 4
    assert {worker.pid for worker in pool.workers()} >= pids


def test_shared_arrays_are_the_same_memory(pool):
    array = shared.empty((100, 1000))
    assert array.shape == (100, 1000) and not array.any()
    flat = array.reshape(-1)
    assert pool.submit(tasks.write_first, flat, 42.0).result(DEADLINE) != os.getpid()
    assert array[0, 0] == 42.0
    back = pool.submit(tasks.same, array).result(DEADLINE)
    back[3, 3] = 5
    assert array[3, 3] == 5
    assert pool.submit(tasks.write_first, array[10], 6.0).result(DEADLINE)
    assert (array[10] == 6.0).all() or array[10, 0] == 6.0
    with pytest.raises(TypeError, match="references to Python objects"):
        shared.empty(3, object)
    assert shared.empty((0, 3)).shape == (0, 3)


def test_shared_memory_of_a_worker(pool):
    made = pool.submit(tasks.make_shared, 50_000).result(DEADLINE)
    assert (made == 7).all()
    assert (pool.submit(tasks.same, made).result(DEADLINE) == 7).all()


def test_a_shared_value_is_made_once_in_each_worker(pool):
    handle = pool.share({"array": numpy.arange(200_000, dtype=float), "more": "text"})
    seen = [pool.submit(tasks.total, handle).result(DEADLINE) for _ in range(6)]
    assert {(sum_, writable) for sum_, writable, _ in seen} == {(19999900000.0, False)}
    assert len({identity for *_, identity in seen}) <= 2
    assert handle.get()["more"] == "text"


def test_shared_memory_that_goes_back_and_forth_keeps_its_number(pool):
    """The parent has it by two mappings, of which it drops now the one and now the other."""
    array = shared.empty(50_000)
    for n in range(1, 30):
        back = pool.submit(tasks.write_and_return, array, float(n)).result(DEADLINE)
        if n % 3:
            array = back
        del back
        assert array[0] == n


def shared_mappings(pid="self"):
    with open(f"/proc/{pid}/maps") as lines:
        return [line for line in lines if "/memfd:aioxide-slab" in line]


@pytest.mark.parametrize("way", ("buffer", "worker's", "back", "to the other", "handle", "in flight"))
def test_shared_memory_goes_at_once_where_nobody_calls_the_pool_any_more(way):
    """It is mapped in parent and workers; an idle worker lets go of it when the parent does, not with its next call."""
    with aioxide.ProcessPoolExecutor(2) as pool:
        for _ in range(2):
            list(pool.map(tasks.nap, [0.05] * 2))
        pids = ["self", *(worker.pid for worker in pool.workers())]
        before = [len(shared_mappings(pid)) for pid in pids]
        kept = shared.empty(200_000)
        if way == "worker's":
            kept = pool.submit(tasks.make_shared, 50_000).result(DEADLINE)
        elif way == "handle":
            kept = pool.share(numpy.ones(300_000))
            pool.submit(tasks.nap, 0.01, kept).result(DEADLINE)
        elif way == "back":
            kept = [kept, pool.submit(tasks.same, kept).result(DEADLINE)]
        elif way == "to the other":
            kept = pool.submit(tasks.make_shared, 50_000).result(DEADLINE)
            kept = [kept, [pool.submit(tasks.nap, 0.05, kept).result(DEADLINE) for _ in range(4)]]
        elif way == "in flight":
            call = pool.submit(tasks.nap, 0.2, kept)
            del kept
            call.result(DEADLINE)
            kept, call = None, None
        else:
            pool.submit(tasks.nap, 0.01, kept).result(DEADLINE)
        if way != "in flight":
            assert sum(len(shared_mappings(pid)) for pid in pids) > sum(before)
        del kept
        gc.collect()
        wait_until(lambda: [len(shared_mappings(pid)) for pid in pids] == before)


def test_nothing_is_left_mapped():
    before = memory_files()
    with aioxide.ProcessPoolExecutor(1) as pool:
        array = shared.empty(100_000)
        handle = pool.share([array])
        result = pool.submit(tasks.square, numpy.ones(100_000)).result(DEADLINE)
        assert memory_files() - before
        del array, handle, result
    gc.collect()
    wait_until(lambda: not (memory_files() - before))
    assert not [name for name in os.listdir("/dev/shm") if "aioxide" in name]
