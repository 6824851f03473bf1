"""A message of any size that memory allows is delivered: on both sides of what a read takes, of what waits for the end
of a turn, and of what the kernel takes at once; one that goes as it lies, and one that is copied.
"""

import asyncio
import hashlib

import aioxide
import pytest

from .pairs import tcp_pair, unix_pair

READ = 256 * 1024
GATHERED = 64 * 1024
SIZES = [1, GATHERED, GATHERED + 1, READ - 1, READ, READ + 1, 2**20 + 1, 16 * 2**20 + 3]
PATTERN = bytes(range(251))


class Digests(asyncio.Protocol):
    """Digests what it gets, up to the end."""

    def __init__(self):
        self.digest, self.size = hashlib.blake2b(), 0
        self.ended = asyncio.get_running_loop().create_future()

    def data_received(self, data):
        self.digest.update(data)
        self.size += len(data)

    def connection_lost(self, exception):
        self.ended.set_result(exception)


class DigestsBuffered(asyncio.BufferedProtocol, Digests):
    """The same from room of its own."""

    room = memoryview(bytearray(100_000))

    def get_buffer(self, hint):
        return self.room

    def buffer_updated(self, count):
        self.data_received(self.room[:count])


def in_lines(transport, data):
    half = len(data) // 2
    transport.writelines([memoryview(data)[:half], bytearray(data[half:])])


def as_view_that_changes(transport, data):
    """What was written is the transport's own at once (asyncio keeps the view): it changes once `write` is through."""
    changing = bytearray(data)
    transport.write(memoryview(changing))
    changing[:] = bytes(len(changing))


WRITES = {
    "bytes": lambda transport, data: transport.write(data),
    "a view that changes": as_view_that_changes,
    "lines": in_lines,
}


PAIRS = {"tcp": tcp_pair, "unix": unix_pair}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize(
    ("family", "receiver"), [("tcp", Digests), ("unix", DigestsBuffered)], ids=["tcp", "unix, buffered"]
)
def test_a_message_of_any_size_arrives_as_it_was_written(family, receiver, write):
    async def send(size):
        loop = asyncio.get_running_loop()
        near, far = PAIRS[family]()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=near)
        _, protocol = await loop.create_connection(receiver, sock=far)
        data = (PATTERN * (size // len(PATTERN) + 1))[:size]
        # Something small before and behind it: nothing overtakes.
        transport.write(b"before")
        write(transport, data)
        transport.write(b"behind")
        transport.close()
        async with asyncio.timeout(20):
            assert await protocol.ended is None
        assert protocol.size == size + 12
        assert protocol.digest.digest() == hashlib.blake2b(b"before" + data + b"behind").digest()

    async def main():
        for size in SIZES:
            await send(size)

    with asyncio.Runner(loop_factory=aioxide.new_event_loop) as runner:
        runner.run(main())


def test_a_message_of_any_size_goes_through_streams():
    async def main():
        near, far = tcp_pair()
        _, writer = await asyncio.open_connection(sock=near)
        reader, other = await asyncio.open_connection(sock=far)
        for size in SIZES:
            data = (PATTERN * (size // len(PATTERN) + 1))[:size]
            writer.write(data)
            async with asyncio.timeout(20):
                received, _ = await asyncio.gather(reader.readexactly(size), writer.drain())
            assert received == data
        for end in (writer, other):
            end.close()

    with asyncio.Runner(loop_factory=aioxide.new_event_loop) as runner:
        runner.run(main())
