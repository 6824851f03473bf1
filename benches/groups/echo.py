"""Echo: what the loop adds to the kernel's price for a message, by protocol, buffered protocol and streams.

The clients are one native epoll thread on the other core, each with one message under way; the limit is a
native epoll server that does recv and send and nothing else. Small messages are compared by the server's CPU
time, large ones by their rate. Each size has a server process of its own, once as it starts and once after one
block was freed.
"""

from ..case import Served, window_sample
from ..lanes import LIMIT
from ..processes import native
from ..registry import Group
from ..series import BOTH, Series

GROUP = Group("echo")
READ = 256 * 1024
SMALL = 1024
# The kernel's own maximum: the client opens its connections in one go.
BACKLOG = 4096


async def serve_protocol(aio, announce):
    loop = aio.get_running_loop()

    class Echo(aio.Protocol):
        __slots__ = ("transport",)

        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(data)

    server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=BACKLOG)
    announce(server.sockets[0].getsockname()[1])
    await loop.create_future()


async def serve_buffered(aio, announce):
    loop = aio.get_running_loop()

    class Echo(aio.BufferedProtocol):
        __slots__ = ("buffer", "transport")

        def connection_made(self, transport):
            self.transport = transport
            self.buffer = memoryview(bytearray(READ))

        def get_buffer(self, sizehint):
            return self.buffer

        def buffer_updated(self, nbytes):
            # A copy: some loops keep what they are given, and the buffer is filled again.
            self.transport.write(bytes(self.buffer[:nbytes]))

    server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=BACKLOG)
    announce(server.sockets[0].getsockname()[1])
    await loop.create_future()


async def serve_streams(aio, announce):
    async def echo(reader, writer):
        while data := await reader.read(READ):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await aio.start_server(echo, "127.0.0.1", 0, backlog=BACKLOG)
    announce(server.sockets[0].getsockname()[1])
    await aio.get_running_loop().create_future()


def loaded(server, settings, conns, size):
    """The window of an echo load."""
    seconds = settings.seconds(0.8)
    warmup = {"warmup": seconds / 4, "seconds": seconds}
    return native("echo-load", server, settings.timeout, conns=conns, size=size, **warmup)


def by_size(case, server, settings):
    window = loaded(server, settings, 10, case.size)
    return window_sample(window, "server_cpu" if case.size <= SMALL else "seconds")


def by_connections(case, server, settings):
    return window_sample(loaded(server, settings, case.size, SMALL), "server_cpu")


def woken(case, server, settings):
    """One message to each of many idle connections, and again after a rest."""
    times = 3 if settings.quick else max(5, min(25, 50_000 // case.size))
    options = {"pause": 0.02, "times": times}
    return window_sample(native("wake-load", server, settings.timeout, conns=case.size, size=64, **options))


SIZES = (SMALL, 20 * 1024, 100 * 1024, 2**20, 16 * 2**20)


def add(family, title, series, serve, load, **options):
    GROUP.add(Served, family, title, "message", series, serve=serve, load=load, limit=LIMIT, **options)


add("echo", "echo by a protocol", Series(None, (64, *SIZES), BOTH), serve_protocol, by_size)
add("echo_buffered", "echo by a BufferedProtocol", Series(None, SIZES, BOTH), serve_buffered, by_size)
add("echo_streams", "echo by streams", Series(None, SIZES, BOTH), serve_streams, by_size)
add(
    "echo_connections",
    "echo of 1 KiB",
    Series("connections", (1, 10, 100, 1_000), BOTH),
    serve_protocol,
    by_connections,
)
add(
    "wake_idle",
    "one message to each idle connection",
    Series("connections", (100, 1_000, 10_000), BOTH),
    serve_protocol,
    woken,
    # A sample wakes all of them many times; what takes long is to open them.
    least=1,
)
