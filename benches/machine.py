"""The machine: which core is whose, what it is, and what is installed on it."""

import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

from .lanes import LANES, OURS

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ("uvicorn", "httptools", "aiohttp", "numpy")


_ALLOWED = sorted(os.sched_getaffinity(0))
# What is measured has a core of its own, where there are two. Read once: the driver pins itself later.
SERVER_CORE, CLIENT_CORE = _ALLOWED[0], _ALLOWED[-1]


def raise_fd_limit() -> None:
    """As many descriptors as the hard limit permits: 10,000 connections have to be held open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def resident_bytes(pid: int | str = "self") -> int:
    """Resident memory of process `pid` in bytes, exact (statm and status lag behind by a batch a thread)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no Rss in the memory map of process {pid}")


def cpu_seconds(pid: int) -> float:
    """User and system time so far of all threads of process `pid`.

    The clock id is the kernel's encoding for the CPU clock of a process, as clock_getcpuclockid(3) gives it.
    """
    return time.clock_gettime(~pid << 3 | 2)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    """The commit of the source tree, and whether anything in it differs; empty without git."""
    git = ["git", "-C", str(ROOT)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        )
        dirty = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "crates", "python"]).returncode
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"commit {head.stdout.strip()}" + (" with changes" if dirty else "")


def _aioxide_build() -> str:
    """How our own loop is built."""
    import aioxide

    info = aioxide.build_info()
    lacks = [feature for feature, there in info["features"].items() if there is False]
    facts = [info["version"], _commit(), f"{info['profile']} build", info["rustc"]]
    if lacks:
        facts.append(f"without {', '.join(lacks)}")
    return ", ".join(filter(None, facts))


def describe() -> dict[str, object]:
    """What a reader needs in order to repeat the run."""
    lanes = [lane for lane in LANES.values() if lane.namespace == "asyncio"]
    debug = "a debug build, " if hasattr(sys, "gettotalrefcount") else ""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "processor": _processor(),
        "cores": len(_ALLOWED),
        "kernel": platform.release(),
        "congestion": Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip(),
        "libc": " ".join(platform.libc_ver()),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "python_build": debug + platform.python_compiler(),
        "aioxide_build": "not built for this Python" if LANES[OURS].missing() else _aioxide_build(),
        "versions": {lane.name: lane.version() for lane in lanes if not lane.missing()},
        "missing": {lane.name: why for lane in LANES.values() if (why := lane.missing())},
        "tools": {tool: _version(tool) for tool in TOOLS},
    }
