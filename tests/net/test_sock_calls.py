"""`sock_recv`, `sock_sendall` and their kin, on sockets of the user: what they return and raise, as asyncio's."""

import array
import asyncio
import os
import socket
import struct

import pytest

from .own_sockets import BIG, both, over_tcp, pair, run, turns

# --------------------------------------------------------------------------------------------------- what they return


@both
@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("make", [pair, over_tcp])
def test_bytes_there_and_back(make, debug, factory):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = make()
        with ours, theirs:
            for early in (False, True):
                for size in (1, 1_000, 100_000):
                    data = os.urandom(size)
                    receiving = [] if early else [asyncio.create_task(loop.sock_recv(theirs, size))]
                    await turns()
                    sending = asyncio.create_task(loop.sock_sendall(ours, data))
                    got = await receiving[0] if receiving else b""
                    while len(got) < size:
                        got += await loop.sock_recv(theirs, 1 << 20)
                    assert got == data and await sending is None
            buffer = bytearray(10)
            receiving = asyncio.create_task(loop.sock_recv_into(theirs, memoryview(buffer)[2:]))
            await turns()
            await loop.sock_sendall(ours, b"abc")
            assert await receiving == 3 and buffer == b"\0\0abc\0\0\0\0\0"
            assert await loop.sock_recv_into(theirs, bytearray()) == 0
            ours.close()
            assert await loop.sock_recv(theirs, 10) == b"" == await loop.sock_recv(theirs, 1 << 20)
            assert await loop.sock_recv_into(theirs, buffer) == 0
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                for _ in range(3):
                    await loop.sock_sendall(theirs, b"x")

    run(main, factory, debug)


@both
def test_what_is_asked_for_is_what_comes_at_most(factory):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = pair()
        with ours, theirs:
            await loop.sock_sendall(ours, bytes(100_000))
            for size in (1, 65_536, True, 70_000):
                left = len(theirs.recv(1 << 20, socket.MSG_PEEK))
                assert len(await loop.sock_recv(theirs, size)) == min(size, left)
            assert await loop.sock_recv(theirs, 0) == b""
            for wrong in (-1, "1", 1.0, None, 1 << 70):
                with pytest.raises((TypeError, ValueError, OverflowError)) as stock:
                    theirs.recv(wrong)
                with pytest.raises(type(stock.value)) as raised:
                    await loop.sock_recv(theirs, wrong)
                assert str(raised.value) == str(stock.value)
            for wrong in (b"fixed", "text", None):
                with pytest.raises(TypeError) as stock:
                    theirs.recv_into(wrong)
                with pytest.raises(TypeError) as raised:
                    await loop.sock_recv_into(theirs, wrong)
                assert str(raised.value) == str(stock.value)
            with pytest.raises(TypeError):
                await loop.sock_sendall(ours, "text")

    run(main, factory)


@both
def test_messages_stay_apart(factory):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        with ours, theirs:
            for sock in (ours, theirs):
                sock.setblocking(False)
                sock.bind(("127.0.0.1", 0))
            there = theirs.getsockname()
            late = asyncio.create_task(loop.sock_recvfrom(theirs, 100))
            await turns()
            assert await loop.sock_sendto(ours, b"one", there) == 3
            assert await late == (b"one", ours.getsockname())
            for data in (b"", b"two", bytes(60_000)):
                await loop.sock_sendto(ours, data, there)
            assert await loop.sock_recv(theirs, 10) == b""
            buffer = bytearray(2)
            assert await loop.sock_recvfrom_into(theirs, buffer) == (2, ours.getsockname())
            assert buffer == b"tw"
            assert len(await loop.sock_recv(theirs, 1 << 20)) == 60_000
            ours.connect(there)
            await loop.sock_sendall(ours, b"")
            assert await loop.sock_recvfrom(theirs, 10) == (b"", ours.getsockname())

    run(main, factory)


@both
def test_connections_are_accepted_non_blocking(factory):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            late = asyncio.create_task(loop.sock_accept(listener))
            await turns()
            with socket.create_connection(listener.getsockname()) as near:
                far, address = await late
                with far:
                    assert address == near.getsockname() and far.gettimeout() == 0
                    near.sendall(b"x")
                    assert await loop.sock_recv(far, 1) == b"x"

    run(main, factory)


def test_of_a_typed_memoryview_all_bytes_are_sent():
    async def main():
        loop = asyncio.get_running_loop()
        numbers = array.array("Q", range(BIG // 8))
        ours, theirs = pair()
        with ours, theirs:
            sending = asyncio.create_task(loop.sock_sendall(ours, memoryview(numbers)))
            got = bytearray()
            while len(got) < BIG:
                got += await loop.sock_recv(theirs, 1 << 20)
            await sending
            assert got == numbers.tobytes()

    run(main)


@both
def test_debug_mode_may_be_switched_on_meanwhile(factory):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = pair()
        with ours, theirs:
            data = os.urandom(BIG)
            sending = asyncio.create_task(loop.sock_sendall(ours, data))
            await turns()
            loop.set_debug(True)
            got = bytearray()
            while len(got) < BIG:
                got += await loop.sock_recv(theirs, 1 << 20)
            await sending
            assert got == data

    run(main, factory)


@both
def test_what_is_sent_cannot_change_its_size_meanwhile(factory):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = pair()
        with ours, theirs:
            data = bytearray(BIG)
            sending = asyncio.create_task(loop.sock_sendall(ours, data))
            await turns()
            with pytest.raises(BufferError):
                data.clear()
            sending.cancel()
            await asyncio.wait([sending])
            data.clear()

    run(main, factory)


def test_a_socket_that_may_block_does_not_block_the_loop():
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            receiving = asyncio.create_task(loop.sock_recv(theirs, 10))
            sending = asyncio.create_task(loop.sock_sendall(ours, bytes(BIG)))
            await turns()
            assert len(await receiving) == 10
            sending.cancel()

    run(main)


@both
def test_debug_mode_refuses_a_socket_that_may_block(factory):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            for call in (
                loop.sock_recv(ours, 1),
                loop.sock_recv_into(ours, bytearray(1)),
                loop.sock_sendall(ours, b"x"),
                loop.sock_accept(ours),
                loop.sock_recvfrom(ours, 1),
            ):
                with pytest.raises(ValueError, match="the socket must be non-blocking"):
                    await call

    run(main, factory, debug=True)


# --------------------------------------------------------------------------------------- what others put in the way


@both
def test_a_method_of_the_socket_s_that_somebody_has_replaced_is_called(factory, monkeypatch):
    class Own(socket.socket):
        def recv(self, size):
            return super().recv(size).upper()

    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = pair()
        with Own(fileno=ours.detach()) as own, theirs:
            own.setblocking(False)
            receiving = asyncio.create_task(loop.sock_recv(own, 10))
            await turns()
            await loop.sock_sendall(theirs, b"abc")
            assert await receiving == b"ABC"
            called = []
            for name in ("recv", "recv_into", "send"):
                standard = getattr(socket.socket, name)

                def noted(sock, *args, name=name, standard=standard):
                    called.append(name)
                    return standard(sock, *args)

                monkeypatch.setattr(socket.socket, name, noted, raising=False)
            await loop.sock_sendall(theirs, b"abc")
            await loop.sock_sendall(own, b"abc")
            await loop.sock_recv(theirs, 1)
            await loop.sock_recv_into(theirs, bytearray(2))
            assert called == ["send", "send", "recv", "recv_into"]
            called.clear()
            sending = asyncio.create_task(loop.sock_sendall(own, bytes(BIG)))
            left = BIG
            while left:
                left -= len(await loop.sock_recv(theirs, 1 << 20))
            await sending
            assert called.count("send") > 1

    run(main, factory)


@both
def test_any_family_of_sockets(factory):
    """Nothing in the path looks at it: the kernel's routing table, asked and answered (netlink(7))."""

    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as asked:
            asked.setblocking(False)
            asked.bind((0, 0))
            receiving = asyncio.create_task(loop.sock_recv(asked, 65_536))
            await turns()
            get_link, request_and_dump = 18, 0x301
            await loop.sock_sendall(
                asked, struct.pack("=IHHIIBxHiII", 32, get_link, request_and_dump, 7, 0, 0, 0, 0, 0, 0)
            )
            size, kind, _, number, _ = struct.unpack("=IHHII", (await receiving)[:16])
            assert kind == 16 and number == 7 and size > 32

    run(main, factory)
