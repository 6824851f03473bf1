"""The processes of a run: workers that hold a loop, the native server, and the native clients.

What is measured runs on the first core that we may use, everything else (this driver too) on the last one.
"""

import contextlib
import functools
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from . import machine
from .lanes import BEFORE, LANES, LIMIT

# Does an instrumented build run here, whose counters are written when a process exits of its own accord?
TRAINING = "LLVM_PROFILE_FILE" in os.environ


class Failed(Exception):
    """A lane could not do a case; the text says why, in a few words."""


class Wrong(Failed):
    """A lane did not what it claims: another loop, other work. Never only a finding: the run fails."""


def check_loop(lane, reply) -> None:
    """Raise `Wrong` unless the loop that answered is of the package that the lane names."""
    if not lane.owns(reply["loop"]):
        raise Wrong(f"ran on {reply['loop']}, which is not {lane.name}'s")
    if reply["namespace"] != lane.namespace:
        raise Wrong(f"ran with the names of {reply['namespace']} instead of {lane.namespace}")
    if not lane.owns_transports(reply["server"]):
        raise Wrong(f"serves by {reply['server']}, which is not {lane.transports}'s")
    if not lane.owns_pool(reply.get("pool") or f"{lane.pools}."):
        raise Wrong(f"ran on {reply['pool']}, which is not a pool of {lane.pools}")


_PR_SET_PDEATHSIG = 1


@functools.cache
def _libc():
    # Here, because the workers, which import this module too, have no use for it.
    import ctypes

    return ctypes.CDLL(None)


def _child_of_ours(cores: set[int]) -> None:
    """In a new child, before its program: its cores, its limits, and that it dies with the driver, however
    that ends: a server that is left over would share its core with the next run.
    """
    _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.sched_setaffinity(0, cores)
    machine.raise_fd_limit()


def on_server_core() -> None:
    _child_of_ours({machine.SERVER_CORE})


def on_client_core() -> None:
    _child_of_ours({machine.CLIENT_CORE})


def on_all_cores() -> None:
    _child_of_ours({machine.SERVER_CORE, machine.CLIENT_CORE})


# What would slow some loops more than others, or change what a case is about. Compiling modules at each start frees so
# large blocks that no process is fresh any more, by what malloc does with a read.
_UNWANTED = (
    "PYTHONASYNCIODEBUG",
    "PYTHONDEVMODE",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONUNBUFFERED",
    "AIOXIDE_SPIN",
)


def _environment() -> dict[str, str]:
    """The caller's environment; strings hash alike."""
    environment = {k: v for k, v in os.environ.items() if k not in _UNWANTED}
    return environment | {"PYTHONHASHSEED": "0"}


class Process:
    """A child on the measured core that answers in lines; its stderr is kept for the case that it dies."""

    def __init__(self, command: list[str], place=on_server_core, **environment: str) -> None:
        _libc()
        self._errors = os.fdopen(os.memfd_create("stderr"), "w+b")
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=machine.ROOT,
            env=_environment() | environment,
            preexec_fn=place,
        )
        self._rest = b""
        self.pid = self._child.pid

    def alive(self) -> bool:
        return self._child.poll() is None

    def send(self, line: str) -> None:
        try:
            self._child.stdin.write(line.encode() + b"\n")
            self._child.stdin.flush()
        except OSError:
            raise Failed(self._obituary()) from None

    def receive(self, timeout: float) -> str:
        """The next line; `Failed` when the process ends, or after `timeout` seconds, when it is killed."""
        deadline = time.monotonic() + timeout
        fd = self._child.stdout.fileno()
        while b"\n" not in self._rest:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([fd], [], [], left)[0]:
                self.kill()
                raise Failed(f"hangs (more than {timeout:.0f} s)")
            if not (data := os.read(fd, 65536)):
                raise Failed(self._obituary())
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def _obituary(self) -> str:
        status = self._child.wait()
        self._errors.seek(0)
        last = self._errors.read().decode(errors="replace").strip().splitlines()[-1:]
        how = f"crashed ({signal.Signals(-status).name})" if status < 0 else f"exited with {status}"
        return ": ".join([how, *last])

    def kill(self) -> None:
        if TRAINING:
            self._child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(10)
        self._child.kill()
        self._child.wait()
        for stream in (self._child.stdin, self._child.stdout, self._errors):
            with contextlib.suppress(OSError):
                stream.close()


class Worker(Process):
    """A process that has one lane's loop for one case; worker.py says what it understands."""

    def __init__(self, lane: str, case, environment: dict[str, str]) -> None:
        command = [
            sys.executable,
            "-m",
            "benches.worker",
            lane,
            case.group,
            case.point.state or "as-it-comes",
        ]
        super().__init__(command, case.place, **environment, **(case.environment or {}))
        self.port = 0
        self.said: dict = {}

    def request(self, message: dict, timeout: float) -> dict:
        self.send(json.dumps(message))
        reply = json.loads(self.receive(timeout))
        if error := reply.get("error"):
            raise Failed(f"fails: {error}")
        return reply


class LimitServer(Process):
    def __init__(self, case, timeout: float) -> None:
        super().__init__([str(native_program()), case.native_server, *case.manners], case.place)
        self.port = int(self.receive(timeout).split()[1])
        self.said: dict = {}


class Stage:
    """The processes that are alive, so that none is left behind. `before` is the folder python/ of an older build."""

    def __init__(self, before: Path | None = None) -> None:
        self._before = before
        self._processes: list[Process] = []

    def worker(self, lane: str, case) -> Worker:
        """A new process of a lane for a case."""
        environment = {"PYTHONPATH": str(self._before)} if lane == BEFORE else {}
        worker = Worker(lane, case, environment)
        self._processes.append(worker)
        return worker

    def check(self, lane: str, reply: dict) -> None:
        """Raise `Wrong` unless who answered is the lane."""
        check_loop(LANES[lane], reply)
        if lane == BEFORE and not Path(reply["from"]).is_relative_to(self._before.resolve()):
            raise Wrong(f"ran on the package in {reply['from']}")

    def started(self, lane: str, case, verb: str, timeout: float) -> Worker:
        """A new worker that has done as `verb` says. Once more where malloc is not in the state that the case wants: at
        its very first start a process compiles its modules, which frees large blocks.
        """
        for last in (False, True):
            worker = self.worker(lane, case)
            try:
                worker.said = worker.request({verb: case.name}, timeout)
                self.check(lane, worker.said)
            except Failed:
                worker.kill()
                raise
            if last or not case.point.state or worker.said["read_faults"] > 0.5 or case.freed:
                break
            worker.kill()
        return worker

    def server(self, lane: str, case, timeout: float) -> Process:
        if lane == LIMIT:
            server = LimitServer(case, timeout)
            self._processes.append(server)
            return server
        server = self.started(lane, case, "serve", timeout)
        server.port = server.said["port"]
        return server

    def clear(self) -> None:
        for process in self._processes:
            process.kill()
        self._processes.clear()


def native_program() -> Path:
    """The program of benches/native, which `build_native` has built."""
    return machine.ROOT / "target" / "benchnet" / "release" / "benchnet"


def build_native() -> None:
    """Compile the native programs (cargo does nothing when they are up to date)."""
    if shutil.which("cargo") is None:
        raise SystemExit("benches: cargo is not installed, and the load generator is a Rust program")
    folder = machine.ROOT / "benches" / "native"
    target = native_program().parent.parent
    # From its own folder, so that cargo reads that lockfile and no workspace above it.
    command = ["cargo", "build", "--quiet", "--release", "--locked", "--target-dir", str(target)]
    subprocess.run(command, cwd=folder, check=True)


def _client(command: str, port: int, **options: object) -> list[str]:
    words = [str(native_program()), command, "--port", str(port)]
    for name, value in options.items():
        words += [f"--{name}", str(value)]
    return words


def native(
    command: str, server: Process, timeout: float, place=on_client_core, **options: object
) -> dict[str, float]:
    """Run a load and return its measured window: count; seconds, server_cpu, client_cpu, p50, p99, all in seconds;
    server_faults.
    """
    words = _client(command, server.port, pid=server.pid, **options)
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, preexec_fn=place)
    except subprocess.TimeoutExpired:
        raise Failed("hangs under load") from None
    if done.returncode:
        problem = done.stderr.strip().partition(": ")[2]
        raise (Wrong if "something else" in problem else Failed)(
            problem or f"the load exited with {done.returncode}"
        )
    return json.loads(done.stdout)


@contextlib.contextmanager
def hold(server: Process, conns: int, timeout: float):
    """Hold `conns` connections open that have each echoed one message of 64 bytes."""
    words = _client("hold", server.port, conns=conns, size=64)
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=on_client_core
    ) as child:
        try:
            if not select.select([child.stdout], [], [], timeout)[0]:
                raise Failed("hangs while connections are opened")
            if (said := child.stdout.readline().strip()) != f"held {conns}":
                raise Failed(said or f"did not take {conns} connections")
            yield
        finally:
            child.kill()
