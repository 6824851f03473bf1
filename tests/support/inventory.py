"""What a process has open and running, to be compared before and after."""

import contextlib
import os
import re
import threading
from collections import Counter
from pathlib import Path

from tests.support.programs import until


class Process:
    """What /proc says of a process."""

    def __init__(self, pid: int) -> None:
        text = Path(f"/proc/{pid}/stat").read_text()
        name, rest = re.match(r"\d+ \((.*)\) (.*)", text, re.DOTALL).groups()
        fields = rest.split()
        self.pid, self.name, self.state = pid, name, fields[0]
        self.parent, self.session = int(fields[1]), int(fields[3])

    def __repr__(self) -> str:
        return f"{self.name} {self.pid} ({self.state}, child of {self.parent})"


def session(number: int) -> list[Process]:
    """The processes of a session, zombies too; but not those that only init has yet to reap."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                found.append(Process(int(entry)))
    members = [process for process in found if process.session == number]
    pids = {process.pid for process in members}
    return [process for process in members if process.state != "Z" or process.parent in pids]


def descriptors() -> Counter[str]:
    found: Counter[str] = Counter()
    for number in os.listdir("/proc/self/fd"):
        # Listing the folder opens a descriptor of its own, which is gone by now.
        with contextlib.suppress(OSError):
            found[f"fd {number}: {os.readlink(f'/proc/self/fd/{number}')}"] += 1
    return found


def threads() -> Counter[str]:
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    return Counter(f"thread {tid} {names.get(int(tid), '')}" for tid in os.listdir("/proc/self/task"))


def processes() -> Counter[str]:
    return Counter(f"process {process.name} {process.pid}" for process in session(os.getsid(0)))


def memory_files() -> Counter[str]:
    """Mappings of memory files, by size."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return Counter(f"mapped {line.split()[-2:]}" for line in lines if "/memfd:" in line)


class Inventory:
    """What is there now; `assert_same` waits a little for what is on its way out."""

    def __init__(self) -> None:
        self.found = descriptors() + threads() + processes() + memory_files()

    def more(self) -> list[str]:
        return sorted((Inventory().found - self.found).elements())

    def assert_same(self, timeout=10.0) -> None:
        until(lambda: not self.more(), lambda: f"left behind: {self.more()}", timeout)
