"""Reads that are not a stream transport's: `sock_recv`, datagrams, pipes.

What asyncio's own code reads with has the same price as its transports': 256 KiB are asked for each time, and what that
costs hangs on malloc's state. So each case is run in both.
"""

import os
import socket

from ..case import Served, window_sample
from ..lanes import LIMIT
from ..processes import native
from ..registry import Group
from ..series import BOTH, Series
from .echo import BACKLOG, READ, SMALL, by_size

GROUP = Group("sockets")
# The most that a datagram takes is 65,507.
DATAGRAMS = (200, 2_000, 20_000, 60_000)
# Room in the kernel for what is under way of all clients, so that no datagram is lost.
ROOM = 4 << 20


async def serve_sock(aio, announce, most=READ):
    """By sock_accept, sock_recv of `most` bytes and sock_sendall, a task a connection."""
    loop = aio.get_running_loop()
    tasks = set()

    async def echo(connection):
        with connection:
            while data := await loop.sock_recv(connection, most):
                await loop.sock_sendall(connection, data)

    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener:
        listener.setblocking(False)
        announce(listener.getsockname()[1])
        while True:
            connection, _ = await loop.sock_accept(listener)
            connection.setblocking(False)
            # Where the listener's protocol is 0, asyncio leaves Nagle's delay on, which is not the question here.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            tasks.add(task := aio.create_task(echo(connection)))
            task.add_done_callback(tasks.discard)


async def serve_datagrams(aio, announce):
    loop = aio.get_running_loop()

    class Echo(aio.DatagramProtocol):
        __slots__ = ("transport",)

        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, data, address):
            self.transport.sendto(data, address)

    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", 0))
    # Before: rloop takes the descriptor out of the socket.
    port = sock.getsockname()[1]
    await loop.create_datagram_endpoint(Echo, sock=sock)
    announce(port)
    await loop.create_future()


def datagrams(case, server, settings):
    seconds = settings.seconds(0.8)
    options = {"conns": 10, "size": case.size, "warmup": seconds / 4, "seconds": seconds}
    return window_sample(native("datagram-load", server, settings.timeout, **options), "server_cpu")


def counting(aio, size):
    """A protocol class whose instances call `whole()` for each message of `size` bytes."""

    class Counting(aio.Protocol):
        def __init__(self, whole):
            self.missing, self.whole = size, whole

        def data_received(self, data):
            self.missing -= len(data)
            if self.missing < 0:
                raise RuntimeError("more came back than was sent")
            if not self.missing:
                self.missing = size
                self.whole()

    return Counting


@GROUP.coroutine(
    "pipe, there and back",
    Series(None, (200, 2_000, 20_000), BOTH),
    n=5_000,
    operation="message",
    whole=False,
)
async def pipe_echo(aio, n, size):
    """A message through a pipe to a protocol, which sends the like of it back through another; all four ends are the
    loop's.
    """
    loop = aio.get_running_loop()
    message, came_back, over = bytes(size), 0, loop.create_future()
    protocol = counting(aio, size)

    def again():
        nonlocal came_back
        came_back += 1
        if came_back == n:
            over.set_result(None)
        else:
            there.write(message)

    async def pipe(whole):
        reading, writing = os.pipe()
        source = await loop.connect_read_pipe(lambda: protocol(whole), os.fdopen(reading, "rb", 0))
        sink = await loop.connect_write_pipe(aio.BaseProtocol, os.fdopen(writing, "wb", 0))
        return source[0], sink[0]

    back_source, back = await pipe(again)
    there_source, there = await pipe(lambda: back.write(message))
    there.write(message)
    await over
    for transport in (back, there, back_source, there_source):
        transport.close()
    await aio.sleep(0.01)
    return came_back


GROUP.add(
    Served,
    "sock_echo",
    "echo by sock_recv and sock_sendall",
    "message",
    Series(None, (SMALL, 20 * 1024, 100 * 1024), BOTH),
    serve=serve_sock,
    load=by_size,
    limit=LIMIT,
)
GROUP.add(
    Served,
    "datagrams",
    "datagrams, there and back",
    "datagram, CPU",
    Series(None, DATAGRAMS, BOTH),
    serve=serve_datagrams,
    load=datagrams,
    limit=LIMIT,
    native_server="datagram-server",
)
