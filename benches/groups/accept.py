"""Connections that come and go."""

import contextlib

from ..case import Served, window_sample
from ..lanes import LIMIT
from ..processes import native
from ..registry import Group
from ..series import BOTH, Series
from .echo import BACKLOG, serve_protocol

GROUP = Group("accept")
AT_A_TIME = Series("at a time", (1, 10, 100), BOTH)


async def serve_greeting(aio, announce):
    """Greets each connection with one byte, which proves to the client that its connection was not only
    queued.
    """
    loop = aio.get_running_loop()

    class Greet(aio.Protocol):
        __slots__ = ()

        def connection_made(self, transport):
            transport.write(b"!")

    server = await loop.create_server(Greet, "127.0.0.1", 0, backlog=BACKLOG)
    announce(server.sockets[0].getsockname()[1])
    await loop.create_future()


def connected(server, settings, conns, **options):
    seconds = settings.seconds(0.8)
    options |= {"conns": conns, "warmup": seconds / 4, "seconds": seconds}
    return native("connect-load", server, settings.timeout, **options)


def greeted(case, server, settings):
    return window_sample(connected(server, settings, case.size))


def echoed(case, server, settings):
    return window_sample(connected(server, settings, case.size, size=64), "server_cpu")


GROUP.add(
    Served,
    "accepted",
    "connections accepted, greeted",
    "connection",
    AT_A_TIME,
    serve=serve_greeting,
    load=greeted,
    limit=LIMIT,
    manners=("--greet", "1"),
)
GROUP.add(
    Served,
    "connect_echo",
    "connect, 1 echo, close",
    "connection, CPU",
    AT_A_TIME,
    serve=serve_protocol,
    load=echoed,
    limit=LIMIT,
)


@GROUP.coroutine(
    "open_connection + accept + close", AT_A_TIME, n=1_000, operation="connection", with_transports=True
)
async def open_connection(aio, n, size):
    """Client and server in one loop; the client closes first, and waits until it is closed. It is over when the server
    has accepted all: uvloop does so one a turn, and most clients are done before that.
    """
    accepted, all_accepted = 0, aio.Event()

    async def answer(reader, writer):
        nonlocal accepted
        accepted += 1
        if accepted == n:
            all_accepted.set()
        # Not waited for: of rloop's last readers some do not hear that their client has closed.
        await reader.read()
        writer.close()

    async def connect(times):
        for _ in range(times):
            _, writer = await aio.open_connection("127.0.0.1", port)
            writer.close()
            await writer.wait_closed()

    server = await aio.start_server(answer, "127.0.0.1", 0, backlog=BACKLOG)
    port = server.sockets[0].getsockname()[1]
    await aio.gather(*[connect(n // size) for _ in range(size)])
    # Less than all in that time is a failure of the case.
    with contextlib.suppress(TimeoutError):
        await aio.wait_for(all_accepted.wait(), 5)
    server.close()
    return accepted
