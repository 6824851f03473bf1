"""Large data on its way to worker processes and back: one copy each way, or none."""

import asyncio
import gc
import os
import pickle
import resource
from concurrent.futures.process import BrokenProcessPool

import aioxide
import pytest
from aioxide import shared

from tests.support import process_tasks as tasks
from tests.support.inventory import memory_files
from tests.support.programs import DEADLINE, output_of, wait_until

numpy = pytest.importorskip("numpy", reason="numpy is not installed (tests/wire/requirements.txt)")


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
@pytest.mark.parametrize("readonly", (False, True))
def test_a_buffer_of_an_array_arrives_as_the_standard_library_has_it_and_can_be_returned(
    pool, size, readonly
):
    """Not as a memoryview, which a call could not return. Before 3.14 the standard pool refuses such buffers."""
    array = numpy.arange(size)
    array.flags.writeable = not readonly
    back = pool.submit(tasks.same, pickle.PickleBuffer(array)).result(DEADLINE)
    assert (type(back), bytes(back)) == (bytes if readonly else bytearray, array.tobytes())
    with pytest.raises(TypeError, match="memoryview"):
        pool.submit(tasks.same, memoryview(array)).result(DEADLINE)
    with pytest.raises(TypeError, match="memoryview"):
        pool.submit(memoryview, array).result(DEADLINE)


def test_a_result_that_is_kept_is_not_written_over(pool):
    kept = [pool.submit(tasks.square, numpy.full(100_000, float(n))).result(DEADLINE) for n in range(8)]
    assert [array[-1] for array in kept] == [float(n * n) for n in range(8)]
    assert all((array == array[0]).all() for array in kept)


def test_memory_is_used_again(pool):
    array = numpy.ones(500_000)
    for _ in range(20):
        pool.submit(tasks.square, array).result(DEADLINE)
    assert pool.stats().shared_bytes < 20 * array.nbytes


def test_a_result_comes_back_in_the_memory_of_its_arguments():
    """Neither side gets memory for it, nor maps any."""
    array = numpy.arange(500_000, dtype=float)
    with aioxide.ProcessPoolExecutor(1) as pool:
        for _ in range(3):
            back = pool.submit(tasks.square, array).result(DEADLINE)
            assert (back == array * array).all()
            del back
        assert pool.submit(tasks.own_memory).result(DEADLINE) == 0
        assert array.nbytes < pool.stats().shared_bytes < 1.2 * array.nbytes
        # Much larger, and much smaller, than what it came from: not there.
        assert len(pool.submit(numpy.repeat, array, 4).result(DEADLINE)) == 2_000_000
        assert len(pool.submit(numpy.resize, array, 5_000).result(DEADLINE)) == 5_000
        assert pool.submit(tasks.own_memory).result(DEADLINE) == 2


def test_a_result_is_not_written_over_an_argument_that_is_kept():
    with aioxide.ProcessPoolExecutor(1) as pool:
        for n in range(6):
            back = pool.submit(tasks.square_and_keep, numpy.full(100_000, float(n))).result(DEADLINE)
            assert (back == n * n).all()
        assert pool.submit(tasks.kept_values).result(DEADLINE) == [[float(n)] for n in range(6)]


def test_an_argument_that_is_returned_arrives():
    with aioxide.ProcessPoolExecutor(1) as pool:
        for n in range(6):
            back = pool.submit(tasks.same, numpy.full(100_000, float(n))).result(DEADLINE)
            assert (back == n).all()


def test_a_result_that_a_coroutine_has_dropped_leaves_its_memory_to_its_next_call():
    """In the same step of its task: the second call's argument goes where the first one's result was."""

    async def main():
        loop = asyncio.get_running_loop()
        array = numpy.ones(500_000)

        async def total():
            return (await loop.run_in_executor(pool, tasks.square, array)).sum()

        assert [await total() for _ in range(4)] == [500_000.0] * 4
        return pool.stats().shared_bytes / array.nbytes

    with aioxide.ProcessPoolExecutor(1) as pool:
        assert aioxide.run(main()) < 1.2


def test_the_first_call_with_much_data_does_not_fault_for_each_page():
    array = numpy.ones(2_000_000)
    pages = array.nbytes // resource.getpagesize()
    with aioxide.ProcessPoolExecutor(1) as pool:
        assert pool.submit(tasks.square, 3).result(DEADLINE) == 9
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        back = pool.submit(tasks.square, array).result(DEADLINE)
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert (back == 1).all() and faults < pages / 4


FEW_DESCRIPTORS = """
import os, resource
import numpy
import aioxide
from tests.support import process_tasks as tasks

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


def test_what_a_worker_has_died_with_is_used_again():
    array = numpy.ones(100_000)
    with aioxide.ProcessPoolExecutor(1, on_worker_death="respawn") as pool:
        for _ in range(6):
            assert isinstance(pool.submit(tasks.die_with, array).exception(DEADLINE), BrokenProcessPool)
        assert pool.submit(tasks.square, array).result(DEADLINE)[-1] == 1
        assert pool.stats().shared_bytes < 4 * array.nbytes


def test_many_arrays_that_wait_or_are_kept_need_no_descriptor_each():
    """1,100 arguments wait and 2,100 results are kept, where 160 descriptors can be had."""
    mappings, descriptors = map(int, output_of(FEW_DESCRIPTORS))
    assert 0 < mappings < 600 and descriptors < 120


UNDER_A_FILE_LIMIT = """
import resource, signal, sys
import numpy
import aioxide
from aioxide import shared
from tests.support import process_tasks as tasks

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

if __name__ == "__main__":
    # What would kill, if the kernel were asked.
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    if sys.argv[1] == "from the start":
        limit(1024)
    with aioxide.ProcessPoolExecutor(1) as pool:
        assert pool.submit(tasks.same, numpy.ones(1_000_000)).result(60).sum() == 1_000_000
        limit(100_000)
        sent = [numpy.arange(5_000_000), "text", b"x" * 2_000_000, numpy.asfortranarray(numpy.ones((300, 300)))]
        number, text, data, table = pool.submit(tasks.same, sent).result(60)
        assert (number == sent[0]).all() and (text, data) == ("text", sent[2]) and number.flags.writeable
        assert (table == 1).all() and table.flags.f_contiguous and not table.flags.c_contiguous
        pool.submit(resource.setrlimit, resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY)).result(60)
        assert (pool.submit(numpy.arange, 3_000_000).result(60) == sent[0][:3_000_000]).all()
        assert pool.submit(tasks.same, numpy.ones(4_000)).result(60).sum() == 4_000
        for refused in (lambda: shared.buffer(1 << 20), lambda: pool.share(numpy.ones(100_000))):
            try:
                refused()
            except OSError as error:
                print(error.errno, "RLIMIT_FSIZE" in str(error))
"""


@pytest.mark.parametrize("when", ("from the start", "later"))
def test_where_files_may_not_be_large_the_sockets_carry_the_data(when):
    assert output_of(UNDER_A_FILE_LIMIT, when) == ["27", "True"] * 2


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


@pytest.mark.parametrize("value", (lambda: 1, open(os.devnull), [memoryview(b"")], (x for x in "x")))
def test_what_cannot_be_shared_is_refused_with_what_can_be(pool, value):
    with pytest.raises(
        TypeError, match=r"share\(\) takes what pickle can send, such as arrays, .*cannot \(.+\)"
    ):
        pool.share(value)


def test_a_function_that_can_be_sent_can_be_shared(pool):
    assert pool.submit(pool.share(tasks.square), 3).result(DEADLINE) == 9


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
