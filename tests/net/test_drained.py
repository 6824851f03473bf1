"""No byte stays behind: what may be concluded from a short read, and that a protocol gets all that has come.

The first half asks the kernel, without any loop, for each kind of descriptor in the table of `net/recv.rs`. The second
half has a peer send, and nothing more, and looks at what the protocol was given.
"""

import asyncio
import fcntl
import os
import pty
import random
import select
import socket
import subprocess
import threading
import time

import pytest

from tests.support.scenarios import FACTORIES

from .pairs import tcp_pair, unix_pair

EAGAIN = "EAGAIN"
MPTCP = 262  # IPPROTO_MPTCP, which socket has from 3.14 on


def inline_pair():
    near, far = tcp_pair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    return near, far


def credentials_pair():
    near, far = unix_pair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    return near, far


def plainly(far):
    far.send(b"abc")
    far.send(b"def")


def with_a_mark(far):
    far.send(b"abc")
    far.send(b"!", socket.MSG_OOB)
    far.send(b"def")


def with_descriptors(far):
    for piece in (b"ab", b"cd", b"ef"):
        socket.send_fds(far, [piece], [0])


def by_two_writers(far):
    far.send(b"abc")
    subprocess.run(["printf", "de"], stdout=far, check=True)
    far.send(b"f")


# kind: the pair, what the peer does, and what the reads give.
SOCKETS = {
    "tcp": (tcp_pair, plainly, [b"abcdef"]),
    "tcp, urgent": (tcp_pair, with_a_mark, [b"abc", b"def"]),
    "tcp, urgent inline": (inline_pair, with_a_mark, [b"abc", b"!def"]),
    "unix": (unix_pair, plainly, [b"abcdef"]),
    "unix, urgent": (unix_pair, with_a_mark, [b"abc", b"def"]),
    "unix, descriptors": (unix_pair, with_descriptors, [b"ab", b"cd", b"ef"]),
    "unix, two writers": (credentials_pair, by_two_writers, [b"abc", b"de", b"f"]),
    "unix seqpacket": (lambda: unix_pair(socket.SOCK_SEQPACKET), plainly, [b"abc", b"def"]),
    "mptcp": (lambda: tcp_pair(MPTCP), plainly, [b"abcdef"]),
}


def pair_of(kind):
    make, send, expected = SOCKETS[kind]
    try:
        near, far = make()
    except OSError as error:
        pytest.skip(f"this kernel has no such socket: {error}")
    near.setblocking(False)
    return near, far, send, expected


def flags_of(sock):
    """What an edge-triggered registration reports first."""
    with select.epoll() as epoll:
        wanted = select.EPOLLIN | select.EPOLLPRI | select.EPOLLRDHUP | select.EPOLLET
        epoll.register(sock, wanted)
        return dict(epoll.poll(5))[sock.fileno()]


def read_all(read):
    """What reads give, up to the first that would wait."""
    got = []
    while True:
        try:
            got.append(read())
        except BlockingIOError:
            return [*got, EAGAIN]


# ---------------------------------------------------------------------------------------- what the kernel does


@pytest.mark.parametrize("kind", SOCKETS)
def test_where_the_kernel_ends_a_read(kind):
    near, far, send, expected = pair_of(kind)
    with near, far:
        send(far)
        until_arrived(near, expected)
        assert read_all(lambda: near.recv(100)) == [*expected, EAGAIN]


def until_arrived(near, expected):
    """TCP over loopback has arrived when `send` returns, or in the next softirq."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and len(near.recv(100, socket.MSG_PEEK)) < len(expected[0]):
        time.sleep(0.001)


@pytest.mark.parametrize("kind", ["tcp, urgent", "tcp, urgent inline", "unix, urgent"])
def test_an_urgent_mark_is_told_by_epollpri(kind):
    near, far, _, _ = pair_of(kind)
    with near, far:
        plainly(far)
        assert flags_of(near) == select.EPOLLIN
        far.send(b"!", socket.MSG_OOB)
        assert flags_of(near) & select.EPOLLPRI


def test_a_mark_that_arrives_behind_a_look_makes_an_edge_of_its_own():
    near, far, _, _ = pair_of("tcp")
    with near, far, select.epoll() as epoll:
        epoll.register(near, select.EPOLLIN | select.EPOLLPRI | select.EPOLLET)
        far.send(b"abc")
        assert epoll.poll(5) == [(near.fileno(), select.EPOLLIN)]
        # The look saw no mark; a read now ends at one all the same.
        far.send(b"!", socket.MSG_OOB)
        far.send(b"def")
        until_arrived(near, [b"abc"])
        assert near.recv(100) == b"abc"
        ((_, flags),) = epoll.poll(5)
        assert flags & select.EPOLLPRI


def test_the_end_of_a_tcp_stream_shares_an_edge_with_its_last_bytes():
    near, far, _, _ = pair_of("tcp")
    with near, far:
        far.send(b"abc")
        far.shutdown(socket.SHUT_WR)
        assert flags_of(near) == select.EPOLLIN | select.EPOLLRDHUP
        assert [near.recv(100), near.recv(100)] == [b"abc", b""]


def test_a_pipe_ends_a_read_behind_each_packet():
    for flags, expected in ((0, [b"abcdef"]), (os.O_DIRECT, [b"abc", b"def"])):
        reader, writer = os.pipe2(os.O_NONBLOCK | flags)
        os.write(writer, b"abc")
        os.write(writer, b"def")
        assert read_all(lambda fd=reader: os.read(fd, 100)) == [*expected, EAGAIN]
        os.close(reader)
        os.close(writer)


def test_a_tty_ends_a_read_behind_each_line_and_says_eio_at_the_end():
    master, terminal = pty.openpty()
    for fd in (master, terminal):
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_NONBLOCK)
    os.write(master, b"ab\ncd\n")
    assert read_all(lambda: os.read(terminal, 100)) == [b"ab\n", b"cd\n", EAGAIN]
    os.close(terminal)
    assert os.read(master, 100).replace(b"\r", b"") == b"ab\ncd\n"
    with pytest.raises(OSError, match="Input/output error"):
        os.read(master, 100)
    os.close(master)


@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET])
def test_a_datagram_is_a_read_also_an_empty_one(family):
    if family == socket.AF_UNIX:
        near, far = unix_pair(socket.SOCK_DGRAM)
    else:
        near, far = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(2))
        near.bind(("127.0.0.1", 0))
        far.connect(near.getsockname())
    near.setblocking(False)
    with near, far:
        for piece in (b"abc", b"", b"def"):
            far.send(piece)
        assert read_all(lambda: near.recv(100)) == [b"abc", b"", b"def", EAGAIN]


# -------------------------------------------------------------------------------------- what a protocol is given


class Streaming(asyncio.Protocol):
    def __init__(self):
        self.got = []
        self.ended = False

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.got.append(bytes(data))
        self.received()

    def received(self):
        pass

    def eof_received(self):
        self.ended = True


class Buffered(Streaming, asyncio.BufferedProtocol):
    def __init__(self):
        super().__init__()
        self.room = bytearray(100)

    def get_buffer(self, hint):
        return self.room

    def buffer_updated(self, count):
        self.data_received(self.room[:count])


class Tight(Buffered):
    """Its room is as large as the first piece: a full read, of a descriptor that may be empty or not."""

    def __init__(self):
        super().__init__()
        self.room = bytearray(3)


class Pausing(Streaming):
    """Pauses in each callback, and goes on a turn later."""

    def received(self):
        self.transport.pause_reading()
        asyncio.get_running_loop().call_soon(self.transport.resume_reading)


PROTOCOLS = [Streaming, Buffered, Tight, Pausing]


async def until(condition, seconds=5):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.001)


async def to_the_end(main):
    result = await main
    await asyncio.sleep(0)  # in which `connection_lost` is called
    return result


def run(main, loop="aioxide"):
    with asyncio.Runner(loop_factory=FACTORIES[loop]) as runner:
        return runner.run(to_the_end(main))


@pytest.mark.parametrize("loop", FACTORIES)
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", SOCKETS)
def test_all_that_came_is_delivered_though_nothing_follows(kind, protocol, loop):
    near, far, send, expected = pair_of(kind)

    async def main():
        # `create_connection` wants a SOCK_STREAM; what a Python socket calls itself is its maker's word.
        sock = socket.socket(near.family, socket.SOCK_STREAM, near.proto, fileno=near.detach())
        transport, ours = await asyncio.get_running_loop().create_connection(protocol, sock=sock)
        # Twice: before the loop looks, and when it has read before.
        for times in (1, 2):
            send(far)
            await until(lambda times=times: len(b"".join(ours.got)) == times * len(b"".join(expected)))
            await asyncio.sleep(0.01)
        far.close()
        await until(lambda: ours.ended)
        transport.abort()
        return b"".join(ours.got)

    with near, far:
        assert run(main(), loop) == b"".join(expected) * 2


@pytest.mark.parametrize("kind", ["tcp, urgent", "unix, descriptors", "unix, two writers", "unix, urgent"])
def test_a_stream_reader_gets_all_though_nothing_follows(kind):
    near, far, send, expected = pair_of(kind)

    async def main():
        reader, writer = await asyncio.open_connection(sock=near, limit=2)
        send(far)
        got = await asyncio.wait_for(reader.readexactly(len(b"".join(expected))), 5)
        writer.close()
        return got

    with near, far:
        assert run(main()) == b"".join(expected)


def test_what_came_while_reading_was_paused_is_delivered():
    near, far, send, expected = pair_of("unix, descriptors")

    async def main():
        transport, ours = await asyncio.get_running_loop().create_connection(Streaming, sock=near)
        transport.pause_reading()
        await asyncio.sleep(0.01)
        send(far)
        await asyncio.sleep(0.01)
        assert ours.got == []
        transport.resume_reading()
        await until(lambda: len(ours.got) == len(expected))
        transport.abort()
        return ours.got

    with near, far:
        assert run(main()) == expected


def test_accepted_unix_connections_get_each_message_that_brings_a_descriptor(tmp_path):
    async def main():
        ours = Streaming()
        server = await asyncio.get_running_loop().create_unix_server(lambda: ours, tmp_path / "socket")
        with socket.socket(socket.AF_UNIX) as far:
            far.connect(str(tmp_path / "socket"))
            with_descriptors(far)
            await until(lambda: len(ours.got) == 3)
        ours.transport.abort()
        server.close()
        return ours.got

    assert run(main()) == [b"ab", b"cd", b"ef"]


def test_urgent_marks_at_any_moment_keep_nothing_back():
    """A thread sends pieces and marks as they come; after each few it waits until all pieces have arrived."""
    near, far, _, _ = pair_of("tcp")
    rounds, seed = 200, random.randrange(1 << 30)
    print("seed", seed)
    dice = random.Random(seed)

    async def main():
        loop = asyncio.get_running_loop()
        transport, ours = await loop.create_connection(Streaming, sock=near)
        # An urgent byte that a second one overtakes becomes an ordinary one.
        arrived = lambda: sum(len(piece) - piece.count(b"!") for piece in ours.got)  # noqa: E731
        sent = 0

        def send():
            count = 0
            for _ in range(dice.randrange(1, 6)):
                if dice.random() < 0.4:
                    far.send(b"!", socket.MSG_OOB)
                else:
                    count += far.send(b"x" * dice.randrange(1, 9))
            return count

        for _ in range(rounds):
            thread = Sender(send)
            thread.start()
            while thread.is_alive():
                await asyncio.sleep(0.0002)
            sent += thread.result
            await until(lambda sent=sent: arrived() == sent)
        transport.abort()

    with near, far:
        run(main())


class Sender(threading.Thread):
    def __init__(self, send):
        super().__init__()
        self.send = send

    def run(self):
        self.result = self.send()
