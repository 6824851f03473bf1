"""The process of one lane: `python -m benches.worker LANE GROUP`, driven by lines of JSON.

    {"open": CASE}   make a new loop for the case           -> {"loop": its class, "namespace": ...}
    {"run": N}       do the case's work N times             -> {"done": ..., "wall": seconds, "cpu": seconds}
    {"close": CASE}  close the loop                         -> {}
    {"serve": CASE}  serve until killed                     -> {"port": ..., "loop": ..., "namespace": ...}

An exception is answered with {"error": text}, and its traceback goes to stderr.
"""

import gc
import json
import os
import sys
import time
import traceback

from .case import load_group
from .lanes import LANES


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
        self.aio = self.lane.import_namespace()
        self.loop = None
        self.case = None
        self.prepared = None

    def _identity(self) -> dict:
        """Of the loop that really runs, as the code under it sees it."""
        running = type(self.aio.get_running_loop())
        loop = f"{running.__module__}.{running.__qualname__}"
        pool = self.prepared and self.prepared.identity()
        return {"loop": loop, "namespace": self.aio.__name__, "pool": pool}

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
        wall, cpu = time.perf_counter(), time.process_time()
        done = self.case.perform(self.aio, self.loop, self.prepared, n)
        return {"done": done, "wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}

    def close(self, name: str) -> dict:
        self.case.clear(self.prepared)
        loop, self.loop, self.prepared = self.loop, None, None
        loop.close()
        return {}

    def serve(self, name: str) -> dict:
        case = self.cases[name]
        self.loop = self.lane.new_event_loop()

        def announce(port: int) -> None:
            self.channel.send({"port": port, **self._identity()})

        self.loop.run_until_complete(case.serve(self.aio, announce))
        raise RuntimeError("the server came to an end")

    def answer(self, message: dict) -> dict:
        [(verb, argument)] = message.items()
        try:
            return getattr(self, verb)(argument)
        except Exception as error:
            traceback.print_exc()
            return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    lane, group = sys.argv[1:]
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
