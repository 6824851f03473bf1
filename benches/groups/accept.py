"""Connections that come and go."""

from ..case import Group, Sample, Served
from ..processes import Wrong, native

GROUP = Group("accept")


async def serve(aio, announce):
    """Greets each connection with one byte, which proves to the client that its connection was not only
    queued.
    """
    loop = aio.get_running_loop()

    class Greet(aio.Protocol):
        __slots__ = ()

        def connection_made(self, transport):
            transport.write(b"!")

    server = await loop.create_server(Greet, "127.0.0.1", 0, backlog=4096)
    announce(server.sockets[0].getsockname()[1])
    await loop.create_future()


def load(server, settings):
    seconds = settings.seconds(0.8)
    window = native("connect-load", server, settings.timeout, conns=64, warmup=seconds / 4, seconds=seconds)
    count = window["count"]
    if not count:
        raise Wrong("no connection was greeted within the measured window")
    return Sample(
        window["seconds"] / count,
        {
            "wall": window["seconds"] / count,
            "cpu": window["server_cpu"] / count,
            "busy": window["server_cpu"] / window["seconds"],
            "client_busy": window["client_cpu"] / window["seconds"],
        },
    )


GROUP.add(Served("accepted", GROUP.name, "connections accepted", "connection", serve=serve, load=load))


@GROUP.coroutine("open_connection + accept + close", n=1_000, operation="connection")
async def open_connection(aio, n):
    """Client and server in one loop; the client closes first, and waits until it is closed."""
    accepted = 0

    async def answer(reader, writer):
        nonlocal accepted
        accepted += 1
        await reader.read()
        writer.close()

    server = await aio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for _ in range(n):
        _, writer = await aio.open_connection("127.0.0.1", port)
        writer.close()
        await writer.wait_closed()
    server.close()
    # The last one may be closed before the server has had a turn to see it.
    for _ in range(1_000):
        if accepted >= n:
            break
        await aio.sleep(0)
    return accepted
