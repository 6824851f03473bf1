"""The machine: which core is whose, what it is, and what is installed on it."""

import os
import resource
import sys
import time
from pathlib import Path

from .lanes import BEFORE, FLOOR, LANES, OURS

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


def minor_faults(pid: int) -> int:
    """Page faults so far of process `pid` that needed no disk: field 10 of proc_pid_stat(5)."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[7])


def cpu_seconds(pid: int) -> float:
    """User and system time so far of all threads of process `pid`.

    The clock id is the kernel's encoding for the CPU clock of a process, as clock_getcpuclockid(3) gives it.
    """
    return time.clock_gettime(~pid << 3 | 2)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return os.uname().machine


def _version(distribution: str) -> str:
    import importlib.metadata

    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def commit_of(tree: Path = ROOT) -> str:
    """The commit of a source tree, and whether anything in it differs; empty without git."""
    import subprocess

    git = ["git", "-C", str(tree)]
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
    facts = [info["version"], commit_of(), f"{info['profile']} build", info["rustc"]]
    facts += ["profile-guided" if info["profile_guided"] else "not profile-guided"]
    if lacks:
        facts.append(f"without {', '.join(lacks)}")
    return ", ".join(filter(None, facts))


def describe() -> dict[str, object]:
    """What a reader needs in order to repeat the run."""
    import platform

    lanes = [
        lane for lane in LANES.values() if lane.namespace == "asyncio" and lane.name not in (BEFORE, FLOOR)
    ]
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
        "missing": {
            lane.name: why for lane in LANES.values() if lane.name != BEFORE and (why := lane.missing())
        },
        "tools": {tool: _version(tool) for tool in TOOLS},
    }
