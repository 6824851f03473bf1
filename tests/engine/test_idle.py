"""A loop with nothing to do sleeps in the kernel: no wake-ups, no clock ticks, no CPU time."""

import pytest

from tests.support.scenarios import FACTORIES, child

PROGRAM = """
import asyncio, sys, threading, time
from tests.support.scenarios import FACTORIES

def wakeups():
    # Of this thread alone: each return from a wait in the kernel was a voluntary switch into it.
    with open(f"/proc/self/task/{threading.get_native_id()}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("voluntary_ctxt"))

async def nothing():
    return []

async def far_timers():
    loop = asyncio.get_running_loop()
    kept = [loop.call_later(delay, print) for delay in (10, 1e6, 1e12)]
    cancelled = [loop.call_later(0.05 * n, print) for n in range(1, 5)]
    for handle in cancelled:
        handle.cancel()
    return kept

async def serve(reader, writer):
    await reader.read()
    writer.close()

async def connections():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    ends = [await asyncio.open_connection(*server.sockets[0].getsockname()) for _ in range(5)]
    readers = [asyncio.ensure_future(reader.read()) for reader, _ in ends]
    return [server, ends, readers]

async def paused():
    # Data waits on a connection that is not being read.
    kept = []
    server = await asyncio.start_server(lambda r, w: (kept.append(w), w.write(bytes(99)))[0], "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.transport.pause_reading()
    return [server, reader, writer, kept]

async def full():
    # A connection with data to send, and a peer that takes none.
    kept = []
    stop = lambda r, w: (kept.append(w), w.transport.pause_reading())[0]
    server = await asyncio.start_server(stop, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(bytes(64 << 20))
    return [server, reader, writer, kept]

async def hung_up():
    # The peer is gone, and the protocol keeps its side open.
    class Open(asyncio.Protocol):
        def eof_received(self):
            return True
    loop = asyncio.get_running_loop()
    kept = []
    server = await asyncio.start_server(lambda r, w: (kept.append(w), w.write_eof())[0], "127.0.0.1", 0)
    return [server, kept, await loop.create_connection(Open, *server.sockets[0].getsockname())]

async def used_threads():
    await asyncio.to_thread(int)
    return []

async def used_signals():
    import signal
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, print)
    signal.raise_signal(signal.SIGUSR1)
    return []

async def used_processes():
    process = await asyncio.create_subprocess_exec("sleep", "0")
    await process.wait()
    # Its output goes elsewhere, or the test would wait for its end.
    return [await asyncio.create_subprocess_exec("sleep", "1", stdout=-3, stderr=-3)]

async def main(situation):
    loop = asyncio.get_running_loop()
    kept = await situation()
    await asyncio.sleep(0.1)  # what has to settle settles here
    before, cpu = wakeups(), time.thread_time()
    await asyncio.sleep(0.25)
    count, cpu = wakeups() - before, time.thread_time() - cpu
    # The sleep itself ends with two (whole milliseconds in epoll, the rest in ppoll); the kernel is granted one more.
    print("idle" if count <= 3 and cpu < 0.02 else f"{count} wake-ups, {cpu:.3f} s")
    import os
    sys.stdout.flush()
    os._exit(0)  # what is kept was never meant to be closed

FACTORIES[sys.argv[1]]().run_until_complete(main(globals()[sys.argv[2]]))
"""

SITUATIONS = [
    "nothing",
    "far_timers",
    "connections",
    "paused",
    "full",
    "hung_up",
    "used_threads",
    "used_signals",
    "used_processes",
]


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("name", FACTORIES)
def test_idle_loop_sleeps(name, situation):
    result = child(PROGRAM, name, situation)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "idle"
