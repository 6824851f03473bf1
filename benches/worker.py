"""The process of one lane: `python -m benches.worker LANE GROUP STATE`, driven by lines of JSON.

    {"open": CASE}   make a new loop for the case           -> {"loop": its class, "namespace": ...}
    {"run": N}       do the case's work N times             -> {"done": ..., "faults": ..., "wall": ..., "cpu": seconds}
    {"close": CASE}  close the loop                         -> {}
    {"serve": CASE}  serve until killed                     -> {"port": ..., "loop": ..., "namespace": ...}

STATE is malloc's: "freed" frees one large block before anything else happens. An exception is answered with
{"error": text}, and its traceback goes to stderr.
"""

import gc
import json
import os
import resource
import sys
import time

from .lanes import LANES
from .registry import load_group
from .series import BLOCK, FREED

PROBES = 20


def page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def faults_of_a_read() -> float:
    """Page faults for a read as asyncio does it: 256 KiB are asked for, and little comes. It changes nothing about
    malloc: a block that was shrunk does not count.
    """
    reader, writer = os.pipe()
    before = page_faults()
    for _ in range(PROBES):
        os.write(writer, b"x")
        os.read(reader, 256 * 1024)
    faults = page_faults() - before
    os.close(reader)
    os.close(writer)
    return faults / PROBES


class Channel:
    """The pipe to the driver. Nobody else may print into it: stdout becomes stderr."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def send(self, reply: dict) -> None:
        self._out.write(json.dumps(reply) + "\n")
        self._out.flush()

    def __iter__(self):
        return (json.loads(line) for line in sys.stdin)


class Worker:
    def __init__(self, lane: str, group: str, channel: Channel) -> None:
        self.lane = LANES[lane]
        self.cases = load_group(group)
        self.channel = channel
        self.probe = faults_of_a_read()
        self.aio = self.lane.import_namespace()
        self.loop = None
        self.case = None
        self.prepared = None

    def _identity(self) -> dict:
        """Of the loop that really runs, as the code under it sees it."""
        current = self.aio.get_running_loop()
        running = type(current)
        server = current.create_server
        # A method that was replaced is a partial, which has no module of its own.
        server = getattr(server, "func", server)
        pool = self.prepared and self.prepared.identity()
        package = sys.modules[running.__module__.partition(".")[0]]
        return {
            "loop": f"{running.__module__}.{running.__qualname__}",
            "server": f"{getattr(server, '__module__', None) or running.__module__}.",
            "namespace": self.aio.__name__,
            "pool": pool,
            "from": getattr(package, "__file__", None) or "",
            "read_faults": self.probe,
        }

    async def _probe(self):
        assert self.aio.get_running_loop() is self.loop
        return self._identity()

    def open(self, name: str) -> dict:
        self.case = self.cases[name]
        self.loop = self.lane.new_event_loop()
        self.prepared = self.case.prepare(self.lane, self.loop)
        return self.loop.run_until_complete(self._probe())

    def run(self, n: int) -> dict:
        """One round. The garbage of the round before is nobody's fault here; the collector stays on."""
        gc.collect()
        faults, wall, cpu = page_faults(), time.perf_counter(), time.process_time()
        done = self.case.perform(self.aio, self.loop, self.prepared, n)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return {"done": done, "wall": wall, "cpu": cpu, "faults": page_faults() - faults}

    def close(self, name: str) -> dict:
        self.case.clear(self.prepared)
        loop, self.loop, self.prepared = self.loop, None, None
        loop.close()
        return {}

    def serve(self, name: str) -> dict:
        case = self.cases[name]
        self.loop = self.lane.new_event_loop()

        def announce(port: int, **more: object) -> None:
            self.channel.send({"port": port, **self._identity(), **more})

        self.loop.run_until_complete(case.serve(self.aio, announce))
        raise RuntimeError("the server came to an end")

    def answer(self, message: dict) -> dict:
        [(verb, argument)] = message.items()
        try:
            return getattr(self, verb)(argument)
        except Exception as error:
            import traceback

            traceback.print_exc()
            return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    lane, group, state = sys.argv[1:]
    if state == FREED:
        bytes(BLOCK)
    # The workers of a pool would import the main module first, and so do more for us than for the pool.
    main = sys.modules["__main__"]
    main.__spec__ = None
    del main.__file__
    channel = Channel()
    worker = Worker(lane, group, channel)
    for message in channel:
        channel.send(worker.answer(message))
    # What a loop leaves behind at exit has no one left to tell.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
