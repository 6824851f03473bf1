"""Echo by protocol: what the loop adds to the kernel's price for a message.

The clients are one native epoll thread on the other core, each with one message under way; the limit is a
native epoll server that does recv and send and nothing else. All five cases load the same server process of
each loop.
"""

from functools import partial

from ..case import Group, Sample, Served
from ..processes import Wrong, native

GROUP = Group("echo")


async def serve(aio, announce):
    loop = aio.get_running_loop()

    class Echo(aio.Protocol):
        __slots__ = ("transport",)

        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(data)

    # The kernel's own maximum: the client opens its connections in one go.
    server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=4096)
    announce(server.sockets[0].getsockname()[1])
    await loop.create_future()


def load(conns, size, cost, server, settings):
    seconds = settings.seconds(0.8)
    window = native(
        "echo-load", server, settings.timeout, conns=conns, size=size, warmup=seconds / 4, seconds=seconds
    )
    count = window["count"]
    if not count:
        raise Wrong("no message came back within the measured window")
    return Sample(
        window[cost] / count,
        {
            "wall": window["seconds"] / count,
            "cpu": window["server_cpu"] / count,
            "busy": window["server_cpu"] / window["seconds"],
            "client_busy": window["client_cpu"] / window["seconds"],
        },
    )


def add(name, title, conns, size, cost, operation):
    load_it = partial(load, conns, size, cost)
    GROUP.add(Served(name, GROUP.name, title, operation, serve=serve, load=load_it, limit=True))


add("echo_64_10", "echo 64 B, 10 connections", 10, 64, "server_cpu", "message, CPU")
add("echo_64_100", "echo 64 B, 100 connections", 100, 64, "server_cpu", "message, CPU")
add("echo_1k_10", "echo 1 KiB, 10 connections", 10, 1024, "server_cpu", "message, CPU")
add("echo_1k_100", "echo 1 KiB, 100 connections", 100, 1024, "server_cpu", "message, CPU")
add("echo_100k", "echo 100 KiB, 10 connections", 10, 100 * 1024, "seconds", "message, throughput")
