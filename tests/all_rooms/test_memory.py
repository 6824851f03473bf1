"""Memory runs out in the middle of a connection: that one ends with MemoryError, and nothing else does."""

import pytest

from tests.support.scenarios import child

# The limit leaves little more than is in use: what a program of this size needs, and no large message.
PROGRAM = """
import asyncio, socket, sys
import aioxide
from tests.support.limits import MB, leave_memory


class Victim(asyncio.Protocol):
    def __init__(self):
        self.lost = asyncio.get_running_loop().create_future()
        self.received = bytearray()

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, exception):
        self.received = None
        self.lost.set_result(type(exception).__name__)


class Gathers(Victim):
    "Keeps all that it gets in one piece."

    def data_received(self, data):
        self.received += data


class Lends(asyncio.BufferedProtocol, Victim):
    "Has room made for what is to come."

    def get_buffer(self, hint):
        self.room = bytearray(64 * MB)
        return self.room

    def buffer_updated(self, count):
        raise AssertionError("there was room")


class WritesMuch(Victim):
    "Writes what can be neither sent at once nor copied."

    large = bytearray(32 * MB)

    def data_received(self, data):
        self.transport.write(self.large)


class WritesMany(Victim):
    "Queues a byte at a time."

    def connection_made(self, transport):
        super().connection_made(transport)
        transport.write(bytes(8 * MB))

    def data_received(self, data):
        write = self.transport.write
        while True:
            write(b"x")


class WritesLines(WritesMany):
    def data_received(self, data):
        lines = [b"x"] * 64
        while True:
            self.transport.writelines(lines)


class Echo(Victim):
    def data_received(self, data):
        self.transport.write(data)


async def feed(loop, near):
    # It is made before the memory is gone: this end shall not be short of it.
    data = memoryview(bytes(MB // 4))
    try:
        while True:
            await loop.sock_sendall(near, data)
    except OSError:
        pass


async def echo(loop, near, counts):
    while True:
        await loop.sock_sendall(near, b"y" * 1024)
        left = 1024
        while left:
            left -= len(await loop.sock_recv(near, left))
        counts.append(1)
        await asyncio.sleep(0)


async def main():
    loop = asyncio.get_running_loop()
    reported, counts = [], []
    loop.set_exception_handler(lambda loop, context: reported.append(type(context["exception"]).__name__))
    ends = []
    for kind in (globals()[sys.argv[1]], Echo):
        near, far = socket.socketpair()
        near.setblocking(False)
        _, protocol = await loop.create_connection(kind, sock=far)
        ends.append((near, protocol))
    (near, victim), (other, witness) = ends
    echoing = loop.create_task(echo(loop, other, counts))
    while len(counts) < 10:
        await asyncio.sleep(0)
    leave_memory(24 * MB)
    if isinstance(victim, (Gathers, Lends)):
        feeding = loop.create_task(feed(loop, near))
    else:
        await loop.sock_sendall(near, b"!")
    async with asyncio.timeout(20):
        how = await victim.lost
        seen = len(counts)
        while len(counts) < seen + 1000:
            await asyncio.sleep(0)
    print(how, *reported, witness.lost.done(), echoing.done())


aioxide.run(main())
"""

WAYS = ["Gathers", "Lends", "WritesMuch", "WritesMany", "WritesLines"]


@pytest.mark.parametrize("way", WAYS)
def test_what_memory_does_not_allow_ends_its_own_connection(way):
    done = child(PROGRAM, way)
    assert (done.returncode, done.stdout.split()) == (0, ["MemoryError"] * 2 + ["False"] * 2), done.stderr
