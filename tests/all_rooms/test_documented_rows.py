"""What docs/explanation/differences.md promises of streams where asyncio does otherwise."""

import array
import asyncio
import socket
import tempfile

import pytest

from tests.support.scenarios import FACTORIES

MUCH = 4_000_000  # bytes: more than a pair of sockets holds


def run(main):
    with asyncio.Runner(loop_factory=FACTORIES["aioxide"]) as runner:
        return runner.run(asyncio.wait_for(main(), 20))


async def connected(protocol=asyncio.Protocol):
    near, far = socket.socketpair()
    far.setblocking(False)
    transport, protocol = await asyncio.get_running_loop().create_connection(protocol, sock=near)
    return transport, protocol, far


async def all_of(far):
    got = bytearray()
    while more := await asyncio.get_running_loop().sock_recv(far, 1 << 20):
        got += more
    far.close()
    await asyncio.sleep(0)  # in which `connection_lost` is called
    return bytes(got)


@pytest.mark.parametrize("way", ["write", "writelines"])
@pytest.mark.parametrize("before", [0, MUCH], ids=["idle", "full"])
def test_the_peer_gets_a_mutable_buffer_as_it_was_written(before, way):
    async def main():
        transport, _, far = await connected()
        transport.write(b"x" * before)
        buffer = bytearray(b"A" * 10)
        transport.write(buffer) if way == "write" else transport.writelines([buffer, memoryview(buffer)])
        buffer[:] = b"B" * 10
        buffer += b"it can be resized"
        transport.close()
        return (await all_of(far))[before:]

    assert set(run(main)) == set(b"A")


@pytest.mark.parametrize("way", ["write", "writelines"])
@pytest.mark.parametrize("code", ["B", "H", "I", "d"])
def test_a_view_of_any_items_is_sent_whole(code, way):
    numbers = array.array(code, range(100 if code == "B" else 1000)) * 8000
    view = memoryview(numbers)[: MUCH // numbers.itemsize]

    async def main():
        transport, _, far = await connected()
        transport.write(view) if way == "write" else transport.writelines([view])
        transport.close()
        return await all_of(far)

    assert run(main) == view.tobytes()


def test_a_view_of_two_dimensions_is_sent_whole():
    view = memoryview(bytes(range(200)) * (MUCH // 200)).cast("B", [MUCH // 200, 200])

    async def main():
        transport, _, far = await connected()
        transport.write(view)
        transport.close()
        return await all_of(far)

    assert run(main) == view.tobytes()


class Ends(asyncio.Protocol):
    ends = 0

    def eof_received(self):
        self.ends += 1
        return True


def test_the_end_is_told_once_however_often_reading_is_resumed():
    async def main():
        transport, protocol, far = await connected(Ends)
        far.shutdown(socket.SHUT_WR)
        for _ in range(3):
            await asyncio.sleep(0.005)
            transport.pause_reading()
            await asyncio.sleep(0.005)
            transport.resume_reading()
        await asyncio.sleep(0.005)
        transport.abort()
        far.close()
        await asyncio.sleep(0)
        return protocol.ends

    assert run(main) == 1


@pytest.mark.parametrize("deed", ["close", "abort"])
@pytest.mark.parametrize("when", ["in its first turn", "while it waits"])
def test_a_sendfile_whose_transport_is_closed_ends_with_an_error(when, deed):
    said = []

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: said.append(context))
        transport, _, far = await connected()
        with tempfile.TemporaryFile() as file:
            file.truncate(MUCH)
            sending = asyncio.ensure_future(loop.sendfile(transport, file))
            await asyncio.sleep(0)
            if when == "while it waits":
                await asyncio.sleep(0.02)
            getattr(transport, deed)()
            with pytest.raises(OSError, match="Bad file descriptor"):
                await asyncio.wait_for(sending, 5)
        far.close()
        # The number is free again, and whoever gets it is not disturbed.
        other, _, far = await connected()
        other.write(b"all is well")
        other.close()
        return await all_of(far)

    assert run(main) == b"all is well"
    assert said == []
