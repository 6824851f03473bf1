"""A real cluster on loopback: a scheduler and its workers, each a process of its own that has no aioxide."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest

psutil = pytest.importorskip("psutil", reason="distributed is not installed (tests/cluster/requirements.txt)")
pytest.importorskip("distributed", reason="distributed is not installed (tests/cluster/requirements.txt)")

# Processes that are started here cannot import aioxide: what a cluster needs is distributed.
WITHOUT_AIOXIDE = "import sys\nsys.modules['aioxide'] = None\n"


class Cluster:
    """A scheduler and `workers` workers with one thread each. They end by themselves once nobody needs them, should
    this process not live to end them.

    Args:
        folder: for the scheduler file and what the processes write.
        nanny: whether each worker has a nanny, which starts it again after its death.
        resources: of the first worker, as `dask worker --resources` takes them.
        options: more of them for all commands.
        settings: of distributed, by the names that they have in the environment.
    """

    def __init__(self, folder, workers=2, nanny=True, resources=None, options=(), settings=()):
        (folder / "sitecustomize.py").write_text(WITHOUT_AIOXIDE)
        self.folder = folder
        self.file = folder / "scheduler.json"
        self.options = options
        self.log = open(folder / "log", "wb")
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(folder),
            "OMP_NUM_THREADS": "1",
            "DASK_TEMPORARY_DIRECTORY": str(folder),
            **dict(settings),
        }
        self.scheduler = self.start("scheduler", "--port", "0", "--no-dashboard", "--idle-timeout", "60s")
        wait_until(self.is_written)
        for number in range(workers):
            options = ["--nthreads", "1", "--no-dashboard", "--memory-limit", "0", "--death-timeout", "100"]
            options += ["--nanny" if nanny else "--no-nanny"]
            if resources and not number:
                options += ["--resources", resources]
            self.start("worker", *options)

    processes = ()

    def is_written(self):
        """Whether the scheduler's file is whole: it is there before its text is."""
        try:
            return "address" in json.loads(self.file.read_text())
        except (FileNotFoundError, ValueError):
            return False

    def start(self, kind, *options):
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--scheduler-file", str(self.file)]
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", *self.options, *options],
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
        )
        self.processes = (*self.processes, process)
        return process

    def stop(self):
        """End all of it; nothing may be left."""
        everything = []
        for process in self.processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                everything += [
                    psutil.Process(process.pid),
                    *psutil.Process(process.pid).children(recursive=True),
                ]
        # Workers first: without a scheduler they wait for it to come back.
        for process in (*self.processes[1:], *self.processes[:1]):
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
        _, alive = psutil.wait_procs(everything, timeout=15)
        for process in alive:
            process.kill()
        for process in self.processes:
            process.wait(10)
        self.log.close()
        assert not alive


@contextlib.contextmanager
def cluster(folder, **options):
    running = Cluster(folder, **options)
    try:
        yield running
    except BaseException:
        print((folder / "log").read_text(errors="replace")[-4000:])
        raise
    finally:
        running.stop()


def wait_until(condition, seconds=60):
    """Wait for what another process or thread is about to do."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


@contextlib.contextmanager
def requests(pool, *names):
    """How often the scheduler gets each of the requests `names` meanwhile: a dict, which is filled at the end."""

    def count_on(dask_scheduler):
        import functools

        dask_scheduler.counts = counts = dict.fromkeys(names, 0)

        def counted(name, handler):
            @functools.wraps(handler)
            async def count(*args, **kwargs):
                counts[name] += 1
                return await handler(*args, **kwargs)

            return count

        for name in names:
            dask_scheduler.handlers[name] = counted(name, dask_scheduler.handlers[name])

    def count_off(dask_scheduler):
        for name in names:
            dask_scheduler.handlers[name] = dask_scheduler.handlers[name].__wrapped__
        return dask_scheduler.counts

    counts = {}
    pool.client.run_on_scheduler(count_on)
    try:
        yield counts
    finally:
        counts.update(pool.client.run_on_scheduler(count_off))


# What runs on workers. Sent by value: the workers do not have this module.


def add(first, second=0):
    return first + second


def write_pid_and_sleep(path, seconds):
    with open(path, "a") as file:
        print(os.getpid(), file=file)
    time.sleep(seconds)
    return os.getpid()


def write_pid_and_wait(path, release):
    """Run until the file `release` is there: or for two minutes, where a test has failed before that."""
    with open(path, "a") as file:
        print(os.getpid(), file=file)
    end = time.monotonic() + 120
    while not os.path.exists(release):
        if time.monotonic() > end:
            raise TimeoutError("nobody has released this call")
        time.sleep(0.01)
    return os.getpid()


def die_until(path, times):
    """End the process by SIGKILL, as often as `times` says; then return how often it was started."""
    with open(path, "a") as file:
        print(os.getpid(), file=file)
    with open(path) as file:
        starts = len(file.readlines())
    if starts <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return starts


def die_with_array_until(array, path, times):
    return array.sum(), die_until(path, times)


def pids(path):
    """What the functions above have written."""
    return [int(line) for line in path.read_text().split()] if path.exists() else []
