"""Stream transports over a socket pair: calls and their order, flow control, half-close, errors, repr."""

import asyncio
import socket
import sys

import pytest

from .harness import BufferedRecorder, Recorder, connect, parity, settle, since


@parity
async def test_order_of_calls(h):
    h.loop.call_soon(h.log, "soon before")
    transport, protocol, far = await connect(h)
    h.loop.call_soon(h.log, "soon after")
    far.send(b"one")
    await settle()
    far.send(b"two")
    await settle()
    far.close()
    await protocol.lost
    h.log(transport.is_closing())


@parity
async def test_connection_made_runs_before_create_connection_returns(h):
    protocol = Recorder(h)
    protocol.hooks["made"] = lambda t: h.loop.call_soon(h.log, "soon from connection_made")
    near, far = h.socket_pair()
    far.send(b"already there")
    transport, _ = await h.loop.create_connection(lambda: protocol, sock=near)
    h.log("returned", transport.is_reading())
    await settle()
    transport.abort()
    await protocol.lost


@parity
async def test_connection_made_writes_more_than_the_kernel_takes(h):
    for end in (None, "close", "write_eof"):
        protocol = Recorder(h)

        def made(transport, end=end):
            transport.write(b"x" * 3_000_000)
            if end:
                getattr(transport, end)()

        protocol.hooks["made"] = made
        near, far = h.socket_pair()
        far.setblocking(False)
        transport, _ = await h.loop.create_connection(lambda made=protocol: made, sock=near)
        count = 0
        while count < 3_000_000:
            try:
                count += len(far.recv(1 << 20))
            except BlockingIOError:
                await asyncio.sleep(0)
        h.log("all came", end, transport.is_closing())
        if end:
            await settle()
            h.log(far.recv(1))
            far.close()
        else:
            transport.close()
        await protocol.lost


@parity
async def test_write_and_close(h):
    transport, protocol, far = await connect(h)
    transport.write(b"a")
    transport.write(bytearray(b"b"))
    transport.write(memoryview(b"c"))
    transport.writelines([b"d", bytearray(b"e"), memoryview(b"f")])
    transport.write(b"")
    transport.writelines([])
    transport.write(memoryview(b"0123456789")[2:8])
    h.log(transport.close(), transport.is_closing())
    h.loop.call_soon(h.log, "soon after close")
    await protocol.lost
    h.log(far.recv(100), far.recv(100))


@parity
async def test_wrong_types(h):
    transport, protocol, far = await connect(h)
    for wrong in ("text", 5, None, [b"x"], object()):
        h.attempt(transport.write, wrong)
    for wrong in (5, "text", [b"a", "b"], [5]):
        try:
            transport.writelines(wrong)
        except TypeError:
            h.log("writelines", "TypeError")
        else:
            h.log("writelines", "accepted")
    for wrong in ((), (1, 2)):
        try:
            transport.write(*wrong)
        except TypeError:
            h.log("TypeError")
    transport.abort()
    await protocol.lost
    far.close()


@parity
async def test_mutable_data_is_taken_at_the_call(h):
    transport, protocol, far = await connect(h)
    data = bytearray(b"before")
    transport.write(data)
    data[:] = b"after!"
    await settle()
    h.log(far.recv(100))
    transport.close()
    await protocol.lost


@parity
async def test_write_after_close(h):
    transport, protocol, far = await connect(h)
    transport.close()
    transport.write(b"x")
    await protocol.lost
    for _ in range(7):
        transport.write(b"z")
    h.log(far.recv(10))
    h.log(transport.is_closing(), transport.close(), transport.abort())


@parity
@pytest.mark.by_version(
    (3, 12) <= sys.version_info < (3, 14),
    "asyncio's writelines calls None there once the transport is closed",
)
async def test_writelines_after_close(h):
    transport, protocol, far = await connect(h)
    transport.close()
    transport.writelines([b"x"])
    await protocol.lost
    for _ in range(7):
        transport.writelines([b"y", b"z"])
    h.log(far.recv(10))


@parity
async def test_write_after_the_peer_went(h):
    transport, protocol, far = await connect(h)
    transport.pause_reading()
    far.close()
    await settle()
    transport.write(b"x")
    await protocol.lost
    for _ in range(8):
        transport.write(b"x")
    h.log("written")


@parity
async def test_write_eof(h):
    transport, protocol, far = await connect(h)
    h.log(transport.can_write_eof())
    transport.write(b"last words")
    h.log(transport.write_eof(), transport.write_eof())
    h.attempt(transport.write, b"more")
    h.attempt(transport.writelines, [b"more"])
    await settle()
    h.log(far.recv(100), far.recv(100))
    far.send(b"still heard")
    await settle()
    far.close()
    await protocol.lost


@parity
async def test_eof_received_keeps_it_open(h):
    transport, protocol, far = await connect(h)
    protocol.hooks["eof_received"] = lambda: True
    far.send(b"data")
    far.shutdown(socket.SHUT_WR)
    await settle()
    h.log(transport.is_closing(), transport.is_reading())
    transport.write(b"answer")
    await settle()
    h.log(far.recv(100))
    transport.close()
    await protocol.lost


@parity
async def test_eof_received_closes(h):
    transport, protocol, far = await connect(h)
    protocol.hooks["eof_received"] = lambda: transport.write(b"farewell")
    far.shutdown(socket.SHUT_WR)
    await protocol.lost
    h.log(far.recv(100), far.recv(100), transport.is_closing())


@parity
async def test_reset_by_peer(h):
    transport, protocol, far = await connect(h, socket.AF_INET)
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    far.close()
    await protocol.lost
    h.log(transport.is_closing())


@parity
async def test_abort(h):
    transport, protocol, far = await connect(h)
    transport.write(b"x" * 5_000_000)
    h.log(transport.get_write_buffer_size() > 0)
    h.log(transport.abort(), transport.is_closing(), transport.get_write_buffer_size())
    h.loop.call_soon(h.log, "soon after abort")
    await protocol.lost
    far.close()


@parity
async def test_pause_and_resume_reading(h):
    transport, protocol, far = await connect(h)
    h.log(
        transport.is_reading(), transport.pause_reading(), transport.is_reading(), transport.pause_reading()
    )
    far.send(b"while paused")
    await settle()
    h.log(transport.resume_reading(), transport.is_reading(), transport.resume_reading())
    await settle()
    transport.close()
    h.log(
        transport.is_reading(), transport.pause_reading(), transport.resume_reading(), transport.is_reading()
    )
    await protocol.lost
    h.log(transport.pause_reading(), transport.resume_reading(), transport.is_reading())


@parity
async def test_pause_inside_data_received(h):
    transport, protocol, far = await connect(h)
    protocol.hooks["data_received"] = lambda data: transport.pause_reading()
    far.send(b"one")
    await settle()
    far.send(b"two")
    await settle()
    h.log("paused")
    transport.resume_reading()
    await settle()
    transport.close()
    await protocol.lost


@parity
async def test_pause_inside_connection_made(h):
    protocol = Recorder(h)
    protocol.hooks["made"] = lambda transport: transport.pause_reading()
    transport, _, far = await connect(h, protocol=protocol)
    far.send(b"waits")
    await settle()
    h.log("paused", transport.is_reading())
    transport.resume_reading()
    await settle()
    transport.close()
    await protocol.lost


@parity
async def test_flow_control(h):
    transport, protocol, far = await connect(h)
    transport.set_write_buffer_limits(high=1000, low=200)
    h.log(transport.get_write_buffer_limits())
    far.settimeout(0)
    transport.write(b"x" * 4_000_000)
    h.log(transport.get_write_buffer_size() > 1000)
    transport.write(b"y" * 1000)
    received = 0
    while received < 4_001_000:
        try:
            received += len(far.recv(1_000_000))
        except BlockingIOError:
            await asyncio.sleep(0)
    await settle()
    h.log(received, transport.get_write_buffer_size())
    transport.close()
    await protocol.lost


@parity
async def test_write_buffer_limits(h):
    transport, protocol, _far = await connect(h)
    h.log(transport.get_write_buffer_limits())
    for keywords in (
        {},
        {"high": 100},
        {"low": 100},
        {"high": 0},
        {"high": 100, "low": 0},
        {"high": 100, "low": 100},
    ):
        h.log(transport.set_write_buffer_limits(**keywords), transport.get_write_buffer_limits())
    for keywords in ({"high": -1}, {"high": 10, "low": 11}, {"low": -5}, {"high": 10, "low": -1}):
        h.attempt(transport.set_write_buffer_limits, **keywords)
        h.log(transport.get_write_buffer_limits())
    transport.set_write_buffer_limits(1000, 100)
    h.log(transport.get_write_buffer_limits())
    transport.close()
    await protocol.lost


@parity
async def test_set_protocol(h):
    transport, first, far = await connect(h)
    second = Recorder(h, "second")
    h.log(
        transport.get_protocol() is first, transport.set_protocol(second), transport.get_protocol() is second
    )
    far.send(b"to the second")
    await settle()
    buffered = BufferedRecorder(h)
    transport.set_protocol(buffered)
    far.send(b"to the buffered")
    await settle()
    transport.set_protocol(first)
    far.send(b"to the first again")
    await settle()
    far.close()
    await first.lost


@parity
async def test_set_protocol_inside_data_received(h):
    transport, first, far = await connect(h)
    second = Recorder(h, "second")
    first.hooks["data_received"] = lambda data: transport.set_protocol(second)
    far.send(b"one")
    await settle()
    far.send(b"two")
    await settle()
    transport.close()
    await second.lost


@parity
async def test_close_inside_callbacks(h):
    for name in ("connection_made", "data_received", "eof_received"):
        protocol = Recorder(h, name)
        protocol.hooks[name] = lambda *a, p=protocol: (h.log("closing"), p.transport.close(), None)[-1]
        transport, _, far = await connect(h, protocol=protocol)
        if not transport.is_closing():
            far.send(b"x")
            await settle()
        far.close()
        await settle()
        h.log(transport.is_closing())
        transport.close()
        await settle()


@parity
async def test_large_transfers_arrive_whole(h):
    class Counts(Recorder):
        total = 0

        def data_received(self, data):
            self.total += len(data)
            h.kinds.add(type(data).__name__)

    h.kinds = set()
    near, far = h.socket_pair(socket.AF_INET)
    far.setblocking(False)
    _, receiver = await h.loop.create_connection(lambda: Counts(h), sock=near)
    sender, protocol = await h.loop.create_connection(lambda: Recorder(h, "sender"), sock=far)
    sender.set_write_buffer_limits(10_000_000)
    for _ in range(50):
        sender.write(b"x" * 40_000)
    sender.close()
    await receiver.lost
    await protocol.lost
    h.log(receiver.total, h.kinds)


@parity
@since(3, 12)
async def test_writelines_of_many(h):
    transport, protocol, far = await connect(h)
    transport.writelines([b"%d," % i for i in range(2000)])
    transport.writelines(b"<%d>" % i for i in range(3))
    transport.close()
    await protocol.lost
    received = b""
    while data := far.recv(65536):
        received += data
    h.log(len(received), received[-30:])


@parity
async def test_data_then_close_at_once(h):
    for family in (socket.AF_UNIX, socket.AF_INET):
        transport, protocol, far = await connect(h, family)
        far.send(b"data and then the end")
        far.close()
        await protocol.lost
        h.log(transport.is_closing())
