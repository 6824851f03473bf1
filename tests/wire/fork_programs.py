"""Programs that fork while they hold what a process pool has brought, and fail if something was not as it was.

`python -m tests.wire.fork_programs results FOLDER` runs those of that kind.
"""

import ctypes
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy

COUNT = 50_000
keep = []

IN_C = """
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Forks a child that, when it may, looks at what lies at `data`; returns how many numbers are not `expected` there. */
long look(const long *data, long count, long expected, int forked, int may) {
    int out[2];
    long wrong = -1;
    char byte;
    if (pipe(out) != 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        wrong = 0;
        if (read(may, &byte, 1) != 1)
            wrong = -1;
        for (long i = 0; i < count; i++)
            wrong += data[i] != expected;
        _exit(write(out[1], &wrong, sizeof wrong) != sizeof wrong);
    }
    close(out[1]);
    if (write(forked, "x", 1) != 1 || pid < 0 || read(out[0], &wrong, sizeof wrong) != sizeof wrong)
        wrong = -1;
    close(out[0]);
    waitpid(pid, NULL, 0);
    return wrong;
}
"""


def full(number):
    return numpy.full(COUNT, number)


def values(array):
    return sorted(set(numpy.asarray(array).ravel().tolist()))


def check(found, expected):
    assert found == expected, f"{found} where {expected} was held"


class Child:
    """A forked child that looks at something as soon as it is told to."""

    def __init__(self, look, fork=os.fork):
        (may, self.may), (self.said, says) = os.pipe(), os.pipe()
        self.pid = fork()
        if self.pid == 0:
            signal.alarm(30)  # its parent may have failed
            os.read(may, 1)
            os.write(says, repr(look()).encode())
            os._exit(0)
        os.close(may)
        os.close(says)

    def says(self):
        os.write(self.may, b"x")
        told = os.read(self.said, 10_000).decode()
        os.waitpid(self.pid, 0)
        os.close(self.may)
        os.close(self.said)
        return told


def change(array, number):
    array[:] = number
    return values(array)


def fork_in_c():
    """A fork that Python does not know of."""
    return ctypes.PyDLL(None).fork()


def pool(workers=1, **options):
    import aioxide

    return aioxide.ProcessPoolExecutor(workers, **options)


# ------------------------------------------------------------------------------------------------------------ results


def result_that_only_the_child_keeps(_folder, fork=os.fork):
    with pool() as executor:
        children = []
        for number in range(6):
            array = executor.submit(full, number).result()
            children.append(Child(lambda array=array: values(array), fork))
            del array
        for number in range(10, 20):
            check(values(executor.submit(full, number).result()), [number])
        for number, child in enumerate(children):
            check(child.says(), repr([number]))


def result_and_a_fork_of_c_code(folder):
    result_that_only_the_child_keeps(folder, fork_in_c)


def result_in_views_of_all_kinds(_folder):
    with pool() as executor:
        array = executor.submit(full, 1).result()
        views = [array[5:20], memoryview(array), numpy.frombuffer(array.data, "i8"), array.reshape(10, -1).T]
        del array
        child = Child(lambda: [values(view) for view in views])
        views.clear()
        for number in range(2, 8):
            executor.submit(full, number).result()
        check(child.says(), repr([[1]] * 4))


def result_that_both_write_to(_folder):
    with pool() as executor:
        array = executor.submit(full, 1).result()
        child = Child(lambda: (values(array), change(array, 7), time.sleep(0.05), values(array)))
        change(array[:100], 5)
        check(child.says(), "([1], [7], None, [7])")
        check((values(array[:100]), values(array[100:])), ([5], [1]))
        check(values(executor.submit(full, 2).result()), [2])
        check((values(array[:100]), values(array[100:])), ([5], [1]))


def result_in_a_grandchild(_folder):
    with pool() as executor:
        array = executor.submit(full, 1).result()

        def look():
            grandchild = Child(lambda: (values(array), change(array, 9)))
            change(array, 8)
            return grandchild.says(), values(array)

        child = Child(look)
        change(array, 2)
        for number in range(3, 8):
            executor.submit(full, number).result()
        check(child.says(), repr(("([1], [9])", [8])))
        check(values(array), [2])


def result_in_a_process_of_multiprocessing(_folder):
    context = multiprocessing.get_context("fork")
    with pool() as executor:
        queue, may = context.SimpleQueue(), context.Event()
        array = [executor.submit(full, 1).result()]
        process = context.Process(target=lambda: (may.wait(), queue.put(values(array[0]))))
        process.start()
        array.clear()
        for number in range(2, 8):
            executor.submit(full, number).result()
        may.set()
        check(queue.get(), [1])
        process.join()


def result_in_workers_that_inherit_it(_folder):
    with pool() as first:
        array = first.submit(full, 1).result()
        globals()["DATA"] = array
        with pool(mp_context=multiprocessing.get_context("fork")) as second:
            check([second.submit(change_data, number).result() for number in (4, 5)], [[5], [10]])
        check(values(array), [1])


def change_data(number):
    return change(DATA, DATA + number)  # noqa: F821


class Forks:
    """Forks in the middle of being unpickled, in front of what is still to come."""

    def __init__(self, array):
        self.array = array

    def __setstate__(self, state):
        array = state["array"]
        self.child = Child(lambda: values(array))


def fork_while_a_result_is_unpickled(_folder):
    with pool() as executor:
        forks, second = executor.submit(forks_and_more, 1).result()
        child = forks.child
        check(values(second), [2])
        del forks, second
        for number in range(3, 9):
            executor.submit(full, number).result()
        check(child.says(), "[1]")


def forks_and_more(number):
    return Forks(full(number)), full(number + 1)


def fork_without_the_gil_while_another_thread_receives(folder):
    source, library = Path(folder, "look.c"), Path(folder, "look.so")
    source.write_text(IN_C)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    look = ctypes.CDLL(str(library)).look
    look.argtypes = (ctypes.c_void_p, ctypes.c_long, ctypes.c_long, ctypes.c_int, ctypes.c_int)
    look.restype = ctypes.c_long
    with pool(2) as executor:
        done, wrong = threading.Event(), []

        def receive():
            number = 100
            while not done.is_set():
                number += 1
                wrong.extend({number} ^ set(values(executor.submit(full, number).result())))

        threads = [threading.Thread(target=receive) for _ in range(2)]
        for thread in threads:
            thread.start()
        for number in range(40):
            (forked, told), (may_look, may) = os.pipe(), os.pipe()
            array = executor.submit(full, number).result()

            def change_after(array=array, forked=forked, may=may):
                os.read(forked, 1)
                change(array, -1)
                os.write(may, b"x")

            changes = threading.Thread(target=change_after)
            changes.start()
            wrong.append(look(array.ctypes.data, COUNT, number, told, may_look))
            changes.join()
            for fd in (forked, told, may_look, may):
                os.close(fd)
        done.set()
        for thread in threads:
            thread.join()
    check([count for count in wrong if count], [])


def a_child_that_lets_go_gives_nothing_back(_folder):
    with pool() as executor:
        kept = [executor.submit(full, 1).result()]
        children = [Child(lambda: (kept.clear(), gc.collect() * 0)) for _ in range(2)]
        for child in children:
            child.says()
        for number in range(2, 8):
            executor.submit(full, number).result()
        check(values(kept[0]), [1])


def memory_after_forks_goes(_folder):
    def mapped(pid):
        return Path(f"/proc/{pid}/maps").read_text().count("/memfd:aioxide-slab")

    with pool() as executor:
        worker = executor.submit(os.getpid).result()
        found = []
        for number in range(40):
            array = executor.submit(full, number).result()
            Child(lambda: 0).says()
            check(values(array), [number])
            del array
            executor.submit(numpy.sum, full(2)).result()
            executor.submit(fork_beside, full(2)).result()
            found.append((mapped("self"), mapped(worker)))
    assert max(found[20:]) <= max(found[:20]), found


def what_is_meant_to_be_shared_stays_so(_folder):
    from aioxide import shared

    with pool() as executor:
        array = shared.empty(COUNT, int)
        check(executor.submit(change, array, 3).result(), [3])
        child = Child(lambda: change(array, 4))
        check(child.says(), "[4]")
        check((values(array), values(executor.submit(values, array).result())), ([4], [4]))


# ---------------------------------------------------------------------------------------------------------- arguments


def fork_beside(array):
    return Child(lambda: values(array)).says()


def hand_on(array, path):
    """Have a helper look at the argument long after this call has returned."""
    helper = os.fork()
    if helper == 0:
        while not Path(path).exists():
            time.sleep(0.005)
        Path(f"{path}.{os.getpid()}.part").write_text(repr(values(array)))
        os.rename(f"{path}.{os.getpid()}.part", f"{path}.{os.getpid()}")
        os._exit(0)
    change(array, -1)
    return helper


def check_helpers(path, helpers):
    """Have the helpers of `hand_on` look now: each sees the number that its array was filled with."""
    Path(path).touch()
    for helper, number in helpers.items():
        found = Path(f"{path}.{helper}")
        end = time.monotonic() + 30
        while not found.exists():
            assert time.monotonic() < end
            time.sleep(0.005)
        check(found.read_text(), repr([number]))


def argument_that_a_helper_of_the_worker_keeps(folder, die=False):
    path = str(Path(folder, "go"))
    with pool(on_worker_death="respawn") as executor:
        helpers = {}
        for number in range(5):
            helpers[executor.submit(hand_on, full(number), path).result()] = number
            if die:
                executor.submit(os.kill, executor.submit(os.getpid).result(), signal.SIGKILL).exception()
        for number in range(5, 15):
            check(executor.submit(values, full(number)).result(), [number])
        check_helpers(path, helpers)


def argument_that_outlives_its_worker_in_a_helper(folder):
    argument_that_a_helper_of_the_worker_keeps(folder, die=True)


def helper_writes(array):
    child = Child(lambda: change(array, 9))
    said = child.says()
    return said, values(array), array


def argument_that_a_helper_writes_to(_folder):
    with pool() as executor:
        for call in (
            lambda: executor.submit(helper_writes, full(1)).result(),
            lambda: next(executor.map(helper_writes, [full(1)])),
            lambda: executor.schedule(helper_writes, (full(1),)).result(),
        ):
            said, seen, back = call()
            check((said, seen, values(back)), ("[9]", [1], [1]))


def doubled(array):
    return array * 2


def result_that_came_where_its_argument_went(_folder):
    """The parent forks while it holds a result that lies in memory of its own, in which it sent the argument."""
    with pool() as executor:
        children, held = [], []
        for number in range(6):
            array = executor.submit(doubled, full(number)).result()
            children.append(Child(lambda array=array: (values(array), change(array, 99))))
            if number % 2:
                change(array[:100], 77)
                held.append((number, array))
            del array
        for number in range(10, 20):
            check(values(executor.submit(doubled, full(number)).result()), [2 * number])
        for number, child in enumerate(children):
            check(child.says(), repr(([2 * number], [99])))
        for number, array in held:
            check((values(array[:100]), values(array[100:])), ([77], [2 * number]))


def helper_keeps_and_result_follows(array, path):
    return hand_on(array, path), array * 0 - 5


def result_after_a_helper_has_the_argument(folder):
    """What a fork of the worker holds is not where the result is put."""
    path = str(Path(folder, "go"))
    with pool() as executor:
        helpers = {}
        for number in range(4):
            helper, back = executor.submit(helper_keeps_and_result_follows, full(number), path).result()
            check(values(back), [-5])
            helpers[helper] = number
        check_helpers(path, helpers)


def fork_while_a_handler_of_others_waits_for_the_gil(_folder):
    """As grpc's does: what others have to do before a fork lets another thread run, which receives."""
    received = threading.Event()
    waited = []

    @ctypes.CFUNCTYPE(None)
    def before():
        received.clear()
        waited.append(received.wait(20))

    keep.append(before)  # for every fork of this process
    signal.alarm(40)
    with pool() as executor:
        check(executor.submit(int).result(), 0)  # the worker may be forked
        # Older handlers run later, and ours comes with the first array.
        ctypes.CDLL(None).__register_atfork(before, None, None, None)
        check(values(executor.submit(full, 1).result()), [1])
        held, ends = [], threading.Event()

        def receive():
            while not ends.is_set():
                held[:] = [executor.submit(full, 2).result()]
                received.set()

        thread = threading.Thread(target=receive)
        thread.start()
        for number in range(10, 13):
            kept = executor.submit(full, number).result()
            child = Child(lambda kept=kept: [values(kept), [values(array) for array in held] in ([], [[2]])])
            kept[:] = 9
            held_too = executor.submit(full, 3).result()
            check(child.says(), repr([[number], True]))
            check((values(kept), values(held_too)), ([9], [3]))
        ends.set()
        thread.join()
    check(waited, [True] * 3)


PROGRAMS = {
    "results": (
        result_that_only_the_child_keeps,
        result_and_a_fork_of_c_code,
        result_in_views_of_all_kinds,
        result_that_both_write_to,
        result_in_a_grandchild,
        result_in_a_process_of_multiprocessing,
        result_in_workers_that_inherit_it,
        result_that_came_where_its_argument_went,
        result_after_a_helper_has_the_argument,
        fork_while_a_result_is_unpickled,
        a_child_that_lets_go_gives_nothing_back,
        memory_after_forks_goes,
        what_is_meant_to_be_shared_stays_so,
    ),
    "arguments": (
        argument_that_a_helper_of_the_worker_keeps,
        argument_that_outlives_its_worker_in_a_helper,
        argument_that_a_helper_writes_to,
    ),
    "without the GIL": (fork_without_the_gil_while_another_thread_receives,),
    # In a process of its own, as its handler has to be older than ours.
    "beside handlers of others": (fork_while_a_handler_of_others_waits_for_the_gil,),
}

if __name__ == "__main__":
    # From 3.12 on a fork beside the pools' thread warns.
    warnings.simplefilter("ignore", DeprecationWarning)
    sys.modules["tests.wire.fork_programs"] = sys.modules["__main__"]
    for program in PROGRAMS[sys.argv[1]]:
        folder = Path(sys.argv[2], program.__name__)
        folder.mkdir()
        program(folder)
