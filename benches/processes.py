"""The processes of a run: workers that hold a loop, the native server, and the native clients.

What is measured runs on the first core that we may use, everything else (this driver too) on the last one.
"""

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from . import machine
from .lanes import LIMIT


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
    if not lane.owns_pool(reply.get("pool") or f"{lane.pools}."):
        raise Wrong(f"ran on {reply['pool']}, which is not a pool of {lane.pools}")


_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _child_of_ours(cores: set[int]) -> None:
    """In a new child, before its program: its cores, its limits, and that it dies with the driver, however
    that ends: a server that is left over would share its core with the next run.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.sched_setaffinity(0, cores)
    machine.raise_fd_limit()


def on_server_core() -> None:
    _child_of_ours({machine.SERVER_CORE})


def on_client_core() -> None:
    _child_of_ours({machine.CLIENT_CORE})


def on_all_cores() -> None:
    _child_of_ours({machine.SERVER_CORE, machine.CLIENT_CORE})


# What would slow some loops more than others, or change what a case is about.
_UNWANTED = ("PYTHONASYNCIODEBUG", "PYTHONDEVMODE", "AIOXIDE_SPIN")


def _environment() -> dict[str, str]:
    """The caller's environment; strings hash alike."""
    environment = {k: v for k, v in os.environ.items() if k not in _UNWANTED}
    return environment | {"PYTHONHASHSEED": "0"}


class Process:
    """A child on the measured core that answers in lines; its stderr is kept for the case that it dies."""

    def __init__(self, command: list[str], place=on_server_core, **environment: str) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, it lives as long as the process
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
        self._child.kill()
        self._child.wait()
        for stream in (self._child.stdin, self._child.stdout, self._errors):
            with contextlib.suppress(OSError):
                stream.close()


class Worker(Process):
    """A process that has one lane's loop for the cases of one group; worker.py says what it understands."""

    def __init__(self, lane: str, group: str, **how) -> None:
        super().__init__([sys.executable, "-m", "benches.worker", lane, group], **how)
        self.port = 0

    def request(self, message: dict, timeout: float) -> dict:
        self.send(json.dumps(message))
        reply = json.loads(self.receive(timeout))
        if error := reply.get("error"):
            raise Failed(f"fails: {error}")
        return reply


class LimitServer(Process):
    def __init__(self, timeout: float) -> None:
        super().__init__([str(native_program()), "echo-server"])
        self.port = int(self.receive(timeout).split()[1])


class Stage:
    """The processes that are alive, so that cases of a group share them and none is left behind."""

    def __init__(self) -> None:
        self._workers: dict[tuple, Worker] = {}
        self._servers: dict[tuple[str, object], Process] = {}

    def worker(self, lane: str, group: str, *, fresh: bool = False, **how) -> Worker:
        """The process of a lane for the cases of a group that want it to be started in the same way; a `fresh` one has
        served no other case.
        """
        key = (lane, group, *how.items())
        worker = self._workers.get(key)
        if worker and fresh:
            worker.kill()
        if worker is None or not worker.alive():
            worker = self._workers[key] = Worker(lane, group, **how)
        return worker

    def server(self, lane: str, case, timeout: float) -> Process:
        server = self._servers.get((lane, case.serve))
        if server is None or not server.alive():
            server = LimitServer(timeout) if lane == LIMIT else self._serving(lane, case, timeout)
            self._servers[lane, case.serve] = server
        return server

    def _serving(self, lane: str, case, timeout: float) -> Worker:
        from .lanes import LANES

        server = Worker(lane, case.group)
        try:
            reply = server.request({"serve": case.name}, timeout)
            check_loop(LANES[lane], reply)
        except Failed:
            server.kill()
            raise
        server.port = reply["port"]
        return server

    def clear(self) -> None:
        for process in [*self._workers.values(), *self._servers.values()]:
            process.kill()
        self._workers.clear()
        self._servers.clear()


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


def native(command: str, server: Process, timeout: float, **options: object) -> dict[str, float]:
    """Run a load and return its measured window: count, seconds, server_cpu, client_cpu (seconds)."""
    words = _client(command, server.port, pid=server.pid, **options)
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=timeout, preexec_fn=on_client_core
        )
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
