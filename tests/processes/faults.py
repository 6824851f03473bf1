"""Runs the programs of `fault_programs`, each in a session of its own, of which nothing may be left."""

import contextlib
import fcntl
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.interpreters import environment
from tests.support.inventory import session

ROOT = Path(__file__).parents[2]
# Seconds for a whole program. They take one or two; a test run beside three others takes longer.
DEADLINE = 60.0
# Seconds for what a program left to go away: a worker notices that its parent is gone, it is not told.
GOING = 10.0

METHODS = ("fork", "forkserver", "spawn")


def chosen(pairs):
    """Those of `(pool, method)` that are to be tested: the standard library's own pools only on demand.

    They show that a test asks for nothing but the interface; but now and then one of their races fails a test,
    and that is not ours to mend.
    """
    return [pair for pair in pairs if pair[0] != "stdlib" or os.environ.get("AIOXIDE_STANDARD_POOLS") == "1"]


class Program:
    """A program of `fault_programs` that is running.

    Args:
        name: of the function.
        pool: `stdlib`, `aioxide`, or `aioxide-respawn`.
        method: a start method, or `thread` for a pool of threads.
        arguments: for the function; the folder for its files comes first.
    """

    def __init__(self, folder: Path, name: str, pool: str, method: str, *arguments: object) -> None:
        command = [sys.executable, "-X", "faulthandler", "-m", "tests.processes.fault_programs"]
        self.process = subprocess.Popen(
            [*command, name, pool, method, str(folder), *map(str, arguments)],
            cwd=ROOT,
            env=environment(AIOXIDE_DEADLINE=str(DEADLINE)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.pid = self.process.pid

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        for process in session(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        self.process.__exit__(*exception)

    def line(self) -> str:
        """The next line that it prints; its end, or silence until the deadline, fails the test."""
        ready, _, _ = select.select([self.process.stdout], [], [], DEADLINE)
        said = self.process.stdout.readline() if ready else ""
        if not said:
            self.process.kill()
            raise AssertionError(f"it said nothing; its errors:\n{self.process.stderr.read()}")
        return said.rstrip("\n")

    def stays(self, seconds: float) -> None:
        """Let it run on for a while; its end within that fails the test."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
            raise AssertionError(f"it ended with {self.process.returncode}:\n{self.process.stderr.read()}")

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to the program alone."""
        self.process.send_signal(number)

    def kill_all(self, number: int) -> None:
        """Send a signal to its whole process group, as a terminal does."""
        os.killpg(self.pid, number)

    def finish(self) -> subprocess.CompletedProcess:
        """Wait for its end and for that of all it started; a hang of either fails the test."""
        try:
            self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"no end within {DEADLINE} s; left: {session(self.pid)}") from None
        self.assert_nothing_left()
        output = self.process.communicate(timeout=GOING)
        return subprocess.CompletedProcess(self.process.args, self.process.returncode, *output)

    def assert_nothing_left(self) -> None:
        """All processes of its session are gone within a few seconds."""
        until = time.monotonic() + GOING
        while left := session(self.pid):
            if time.monotonic() > until:
                raise AssertionError(f"{GOING} s after its end these are left: {left}")
            time.sleep(0.02)


def run(folder: Path, name: str, pool: str, method: str, *arguments: object) -> str:
    """Run a program to its end, which has to be a good one; what it printed."""
    with Program(folder, name, pool, method, *arguments) as program:
        done = program.finish()
    assert done.returncode == 0, f"exit status {done.returncode}:\n{done.stderr}"
    return done.stdout


@contextlib.contextmanager
def alone():
    """One test at a time in here, over all processes of a test run, and all runs on this machine."""
    with open(Path(tempfile.gettempdir()) / "aioxide-large-test.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def available_memory() -> int:
    """Bytes that can be had without swapping."""
    return int(re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())[1]) * 1024
