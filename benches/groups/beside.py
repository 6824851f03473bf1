"""Echo of 1 KiB by a server in whose process another thread computes, on two cores, and with its client on one.

Whoever lets go of the GIL gets it back after the switch interval when another thread wants to compute. Measured
are the rate, how late the latest answers are, and what is left of the computing thread's own speed. Each sample
has a process of its own: of the others none may compute meanwhile.
"""

import functools
import mmap
import os
import struct
import threading
import time

from ..case import Sample, Served, window_sample
from ..lanes import LIMIT
from ..processes import native, on_all_cores, on_server_core
from ..registry import Group
from ..series import Series
from .echo import serve_protocol, serve_streams
from .sockets import serve_sock

GROUP = Group("beside")
SIZE = 1024
# So much is computed between two notes of it: some 20 microseconds.
CHUNK = 1_000
SOCK = functools.partial(serve_sock, most=64 * 1024)


def compute(shared, seconds=float("inf")):
    """Count for `seconds`, note in `shared` how far it came, and return how fast it was."""
    count, begin = 0, time.perf_counter()
    while (now := time.perf_counter()) < begin + seconds:
        for _ in range(CHUNK):
            count += 1
        struct.pack_into("q", shared, 0, count)
    return count / (now - begin)


def beside(serve):
    """A server as `serve` makes it, and a thread that computes; whose counter is at the path that is announced."""

    async def serve_beside(aio, announce):
        fd = os.memfd_create("counter")
        os.ftruncate(fd, mmap.PAGESIZE)
        shared = mmap.mmap(fd, mmap.PAGESIZE)
        # While nothing else happens in this process; the best of five, because other processes may.
        own = max(compute(shared, 0.02) for _ in range(5))

        def announce_both(port):
            threading.Thread(target=compute, args=(shared,), daemon=True).start()
            announce(port, counter=f"/proc/{os.getpid()}/fd/{fd}", own=own)

        await serve(aio, announce_both)

    return serve_beside


class Counter:
    """How fast the computing thread of a server counts."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self._shared = mmap.mmap(file.fileno(), mmap.PAGESIZE, prot=mmap.PROT_READ)

    def read(self):
        return time.perf_counter(), struct.unpack_from("q", self._shared)[0]

    def rate_since(self, begin):
        (then, low), (now, high) = begin, self.read()
        return (high - low) / (now - then)


def load(case, server, settings):
    """`thread` is the computing thread's speed under the load, and `idle` that beside the idle loop, as shares of its
    own speed in a process that does nothing else.
    """
    seconds = settings.seconds(1.2)
    warmup = {"warmup": seconds / 4, "seconds": seconds}
    options = {"conns": case.size, "size": SIZE, "place": case.place, **warmup}
    if "counter" not in server.said:
        # The native server has no such thread: it says what the kernel alone would do.
        return window_sample(native("echo-load", server, settings.timeout, **options))
    counter, own = Counter(server.said["counter"]), server.said["own"]
    begin = counter.read()
    time.sleep(max(0.1, settings.seconds(0.25)))
    idle = counter.rate_since(begin) / own
    begin = counter.read()
    sample = window_sample(native("echo-load", server, settings.timeout, **options))
    shares = {"thread": counter.rate_since(begin) / own, "idle": idle}
    return Sample(sample.cost, sample.extra | shares)


for cores, place in ((2, on_all_cores), (1, on_server_core)):
    for how, serve in (("protocol", serve_protocol), ("streams", serve_streams), ("sock", SOCK)):
        GROUP.add(
            Served,
            f"beside_{how}_{cores}",
            f"beside a computing thread, {how if how != 'sock' else 'sock_*'}, "
            f"{'two cores' if cores == 2 else 'one core'}",
            "message",
            Series("connections", (1, 10, 100)),
            serve=beside(serve),
            load=load,
            limit=LIMIT if how == "protocol" else None,
            place=place,
            fresh=True,
            least=2,
        )
