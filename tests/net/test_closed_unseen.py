"""A connection's descriptor leaves the epoll set with its close alone. Where somebody has a copy, it doesn't:
the loop must neither spin nor take what comes there for another connection's.
"""

import asyncio
import os
import socket
import time

import aioxide
import pytest

from tests.support.scenarios import FACTORIES


class Keeps(asyncio.Protocol):
    def __init__(self, made):
        self.made, self.received = made, b""
        self.lost = asyncio.get_running_loop().create_future()
        self.told = asyncio.Event()

    def connection_made(self, transport):
        self.transport = transport
        self.made.put_nowait(self)

    def data_received(self, data):
        self.received += data
        self.told.set()

    def connection_lost(self, exception):
        self.lost.set_result(exception)


async def connected(loop):
    """A server, and a function that gives both ends of a new connection to it: its protocol, and a plain socket."""
    made = asyncio.Queue()
    server = await loop.create_server(lambda: Keeps(made), "127.0.0.1", 0)

    async def connect():
        near = socket.create_connection(server.sockets[0].getsockname())
        return await made.get(), near

    return server, connect


def forked(_):
    """A copy in a child; a function that ends it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)

    def end():
        os.close(writing)
        os.waitpid(child, 0)

    return end


def duplicated(number):
    """A copy that was made by number, of which nothing is known here; a function that closes it."""
    copy = os.dup(number)
    return lambda: os.close(copy)


# The child of this fork does nothing but read and leave.
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("copied", [forked, duplicated])
def test_a_copy_of_a_closed_connection_makes_the_loop_neither_spin_nor_err(copied):
    async def main():
        loop = asyncio.get_running_loop()
        server, connect = await connected(loop)
        old, near = await connect()
        end = copied(old.transport._sock_fd)
        try:
            old.transport.close()
            assert await old.lost is None
            new, other = await connect()
            near.sendall(b"to nobody")
            other.sendall(b"to the new one")
            await asyncio.wait_for(new.told.wait(), 5)
            before = time.thread_time()
            await asyncio.sleep(0.05)
            assert time.thread_time() - before < 0.03
            assert (old.received, new.received) == (b"", b"to the new one")
        finally:
            end()
            near.close()
            other.close()
        await new.lost
        server.close()

    with asyncio.Runner(loop_factory=aioxide.new_event_loop) as runner:
        runner.run(main())


@pytest.mark.parametrize("factory", FACTORIES.values(), ids=FACTORIES)
@pytest.mark.parametrize("family", ["inet", "unix"])
def test_addresses_that_were_never_asked_for_are_known_when_the_connection_is_gone(factory, family, tmp_path):
    async def main():
        loop = asyncio.get_running_loop()
        made = asyncio.Queue()
        if family == "inet":
            server = await loop.create_server(lambda: Keeps(made), "127.0.0.1", 0)
            place = server.sockets[0].getsockname()
            _, client = await loop.create_connection(lambda: Keeps(asyncio.Queue()), *place)
        else:
            place = str(tmp_path / "s")
            server = await loop.create_unix_server(lambda: Keeps(made), place)
            _, client = await loop.create_unix_connection(lambda: Keeps(asyncio.Queue()), place)
        served = await made.get()
        client.transport.close()
        await client.lost
        await served.lost
        ours, theirs = served.transport.get_extra_info, client.transport.get_extra_info
        assert ours("sockname") == theirs("peername") == place
        assert ours("peername") == theirs("sockname")
        assert ours("peername") == "" if family == "unix" else ours("peername")[0] == "127.0.0.1"
        server.close()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
