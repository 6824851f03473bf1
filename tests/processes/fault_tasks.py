"""What the workers of the fault tests run. No import of aioxide here: a worker makes do without."""

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path

from tests.support.programs import WAIT, until


def square(number):
    return number * number


def nap(seconds, value=None):
    time.sleep(seconds)
    return value


def announce(path):
    """Write this process's id to `path`, at once and whole."""
    making = Path(f"{path}.{os.getpid()}")
    making.write_text(str(os.getpid()))
    making.rename(path)


def announced(path, timeout=WAIT):
    """Wait for `announce(path)` in another process, and return that one's id."""
    until(lambda: Path(path).exists(), f"nobody wrote {path}", timeout)
    return int(Path(path).read_text())


def announce_and_nap(path, seconds=60.0, value=None):
    announce(path)
    return nap(seconds, value)


def announce_and_nap_once(path):
    """The first process that comes here stays; a later one passes."""
    if not Path(path).exists():
        announce_and_nap(path)


def announce_and_ignore(path):
    """Run on through every exception that is raised in here."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with contextlib.suppress(BaseException):
            announce(path)
            run_until(until)


def run_until(end):
    """A call of its own: CPython 3.13 does not count the jump back of a loop to the `with` that the loop stands in."""
    while time.monotonic() < end:
        pass


def append_later(path, word, seconds=0.4):
    time.sleep(seconds)
    with open(path, "a") as file:
        file.write(f"{word}\n")


def spin(path):
    """Python code that never ends."""
    announce(path)
    while True:
        pass


def hold_the_gil(path):
    """C code that never lets go of the interpreter."""
    announce(path)
    return sum(range(1 << 60))


def kill_self():
    os.kill(os.getpid(), signal.SIGKILL)


def exit_with_seven():
    os._exit(7)


def overflow_the_stack():
    """glibc's parser of regular expressions recurses, 2,000,000 times here, with nobody to stop it."""
    ctypes.CDLL(None).regcomp(ctypes.create_string_buffer(4096), b"(" * 2_000_000, 1)


def close_all_descriptors():
    os.closerange(3, 4096)


# How a worker can die in a task, and by what the error of that task names it.
DEATHS = {
    "kill": (kill_self, "SIGKILL|signal 9|-9"),
    "exit": (exit_with_seven, r"\b7\b"),
    "overflow": (overflow_the_stack, "SIGSEGV|signal 11|-11"),
    "descriptors": (close_all_descriptors, ""),
}


def die_soon(seconds):
    """Return now, and have the worker killed a little later."""
    threading.Timer(seconds, kill_self).start()
    return os.getpid()


def recurse_in_python(depth=0):
    return recurse_in_python(depth + 1)


def leave_by_sys_exit():
    sys.exit(5)


def fork_and_return_twice():
    """The child returns from here as well, into whatever called this function."""
    os.fork()
    return os.getpid()


def fork_a_child_that_stays(path):
    """Leave a child behind that has every descriptor of the worker, and sleeps; the worker's own id."""
    if os.fork() == 0:
        announce(path)
        time.sleep(120)
        os._exit(0)
    return os.getpid()


class Unloadable:
    """Can be pickled, but not loaded."""

    def __reduce__(self):
        return (_raise_value_error, ())


def _raise_value_error():
    raise ValueError("this can't be loaded")


def return_unloadable():
    return Unloadable()


def return_unpicklable():
    return threading.Lock()


class Demanding(Exception):
    """Two arguments, of which pickle knows one: can't be loaded."""

    def __init__(self, first, second):
        super().__init__(first)


def raise_demanding():
    raise Demanding("one", "two")


def large(size):
    """`size` bytes, not zero at either end."""
    made = bytearray(size)
    made[0], made[-1] = 1, 2
    return made


def nested(make, depth):
    """A pool in the worker, whose worker has a pool, and so on."""
    with make(1) as pool:
        return 1 + pool.submit(*((nested, make, depth - 1) if depth > 1 else (int,))).result(WAIT)
