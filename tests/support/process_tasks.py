"""What the workers of the tests of the process pool run. No import of aioxide here."""

import contextlib
import contextvars
import os
import pickle
import signal
import sys
import time
from pathlib import Path

VARIABLE = contextvars.ContextVar("VARIABLE", default=0)


class OwnInterrupt(KeyboardInterrupt):
    pass


class OwnBase(BaseException):
    pass


def kinds():
    """What a call may end with, by number. Workers import neither of the two unless they are asked."""
    import asyncio
    import concurrent.futures

    return [
        BaseException,
        KeyboardInterrupt,
        OwnInterrupt,
        OwnBase,
        SystemExit,
        GeneratorExit,
        asyncio.CancelledError,
        concurrent.futures.CancelledError,
        BaseExceptionGroup,
        ExceptionGroup,
        StopIteration,
        StopAsyncIteration,
        ValueError,
    ]


def raise_kind(number):
    kind = kinds()[number]
    if issubclass(kind, BaseExceptionGroup):
        inner = KeyboardInterrupt("inner") if kind is BaseExceptionGroup else ValueError("inner")
        raise kind("from the call", [inner])
    raise kind("from the call")


def square(x):
    return x * x


_KEPT = []


def square_and_keep(array):
    """Keeps its argument, which the next result must not be written over."""
    _KEPT.append(array)
    return array * array


def kept_values():
    return [sorted(set(array.tolist())) for array in _KEPT]


def own_memory():
    """How many files of shared memory this worker has made for results."""
    links = [os.readlink(entry.path) for entry in os.scandir("/proc/self/fd") if os.path.islink(entry.path)]
    return sum("aioxide-slab" in link for link in links)


def nap(seconds, value=None):
    time.sleep(seconds)
    return value


def nap_until(path, value=None):
    """Sleep until the file is there: however slow the machine is, no call behind this one begins before."""
    until = time.monotonic() + 60
    while not Path(path).exists() and time.monotonic() < until:
        time.sleep(0.005)
    return value


def imported(*names):
    return [name for name in names if name in sys.modules]


def kill_self(number=signal.SIGKILL):
    os.kill(os.getpid(), number)


def die_with(value):
    os._exit(5)


def raise_error(message):
    raise ValueError(message)


def fail_times(path, times):
    """Raise the first `times` times that it is called with `path`; then return how often it was called."""
    with open(path, "a") as file:
        file.write("x")
    calls = len(Path(path).read_text())
    if calls <= times:
        raise ValueError(f"call {calls}")
    return calls


def variable():
    return VARIABLE.get()


def write_first(array, value):
    array[0] = value
    return os.getpid()


def is_writable(array):
    array[0] = array[0]
    return bool(array.flags.writeable)


def kind_and_size(x):
    return type(x).__name__, len(x)


class Zero:
    """An object with a buffer, pickled as the example in PEP 574 is."""

    def __init__(self, data):
        self.kind, self.data = kind_and_size(data), data

    def __reduce_ex__(self, protocol):
        return Zero, (pickle.PickleBuffer(self.data),)


def kind_in(zero):
    return zero.kind


def total(values):
    return float(values["array"].sum()), bool(values["array"].flags.writeable), id(values)


def make_shared(count):
    from aioxide import shared

    made = shared.empty(count)
    made[:] = 7
    return made


def local_result():
    """What pickle cannot send: an object of a class that no module has."""

    class Local:
        pass

    return Local()


def same(value):
    return value


def note_when_stopped(path):
    """Run until something is raised, and write down what."""
    try:
        # In here: it may be stopped as soon as the file is there.
        Path(path + ".started").touch()
        while True:
            time.sleep(0.01)
    except BaseException as error:
        Path(path).write_text(type(error).__name__)
        raise


def run_on(path):
    """Run on whatever is raised, once the file is there."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with contextlib.suppress(BaseException):
            Path(path + ".started").touch()
            _sleep_until(until)


def _sleep_until(end):
    """A call of its own, as CPython does not count every jump of a loop to the `with` that the loop stands in."""
    while time.monotonic() < end:
        time.sleep(0.05)


def failing_initializer():
    raise ValueError("no worker will do")


def too_large_to_return():
    """An array that no machine has the memory for, of which not a byte is touched."""
    return reserved_array(beyond_memory())


def total_memory():
    return int(Path("/proc/meminfo").read_text().split()[1]) * 1024


def beyond_memory():
    """More bytes than the machine has."""
    return total_memory() + (1 << 30)


def reserved_array(size):
    """An array over addresses that were reserved only: touching it all would need the memory, having it does not."""
    import mmap

    import numpy

    return numpy.frombuffer(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000), "u1")


def resident():
    """Bytes of memory that this process has touched."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def first(array):
    return array[0]


def append(path, text):
    with open(path, "a") as file:
        file.write(text)


GROWN = []


def grow(size):
    """Keep `size` bytes, all of them touched, for the life of this process."""
    GROWN.append(b"x" * size)
    return os.getpid()


def grow_and_raise(size):
    grow(size)
    raise ValueError("it has grown")


def pid_later(seconds):
    time.sleep(seconds)
    return os.getpid()


def die_times(path, times):
    """End the process the first `times` times that it is called with `path`; then return how often it was called."""
    append(path, "x")
    calls = len(Path(path).read_text())
    if calls <= times:
        os._exit(5)
    return calls


def wakeup_descriptor():
    return signal.set_wakeup_fd(-1)


def write_and_return(array, value):
    array[0] = value
    return array


def note_and_nap(path, seconds):
    """Say that this call has begun, and take a while."""
    with open(path, "a") as file:
        file.write("x")
    time.sleep(seconds)


def note_and_nap_for_a_tenth(path):
    note_and_nap(path, 0.1)


def run_program(text, folder, *arguments, check=True):
    """Run a program of its own, from the top of the project; return what it prints."""
    import subprocess

    path = Path(folder, "program.py")
    path.write_text(text)
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    command = [sys.executable, str(path), *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    assert not check or (done.returncode == 0 and not done.stderr), done
    return done.stdout


def until_there(path):
    """Wait for a file."""
    while not os.path.exists(path):
        time.sleep(0.01)
