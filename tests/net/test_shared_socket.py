"""When a write reaches the kernel: gathered until the turn's end, or before whoever can tell the difference."""

import asyncio
import os
import socket

import pytest

from tests.certs import client_context, server_context
from tests.support.scenarios import FACTORIES, NATIVE

pytestmark = pytest.mark.skipif(not NATIVE, reason="asyncio's own transports send in each write")

METHODS = {
    "getpeername": (),
    "getsockname": (),
    "getsockopt": (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    "setsockopt": (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    "get_inheritable": (),
    "gettimeout": (),
    "settimeout": (0,),
    "setblocking": (False,),
    "shutdown": (socket.SHUT_RD,),
    "__repr__": (),
}
TAKES = {
    "fileno": lambda sock: sock.fileno(),
    "dup": lambda sock: sock.dup().close(),
    "_sock": lambda sock: sock._sock,
}


def arrived(far):
    """What the peer has now."""
    got = b""
    try:
        while more := far.recv(1 << 16, socket.MSG_DONTWAIT):
            got += more
    except BlockingIOError:
        pass
    return got


def run(main):
    with asyncio.Runner(loop_factory=FACTORIES["aioxide"]) as runner:
        return runner.run(main())


async def accepted(made=None):
    """A connection that a server has accepted, and its peer, which is no part of the loop."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport):
            if made is not None:
                made(transport)
            future.set_result(transport)

    server = await loop.create_server(Protocol, "127.0.0.1", 0)
    far = socket.create_connection(server.sockets[0].getsockname())
    transport = await future
    server.close()
    return transport, far


async def ended(transport, far):
    transport.abort()
    far.close()
    await asyncio.sleep(0)


def gathers(transport, far):
    """Whether a write waits for the end of the turn."""
    assert arrived(far) == b""
    transport.write(b"one ")
    first = arrived(far)
    transport.writelines([b"two"])
    assert first + arrived(far) in (b"", b"one two")
    return not first


def test_writes_of_a_turn_are_gathered():
    async def main():
        transport, far = await accepted()
        assert gathers(transport, far)
        await asyncio.sleep(0)
        assert arrived(far) == b"one two"
        await ended(transport, far)

    run(main)


@pytest.mark.parametrize("name", METHODS)
def test_each_method_of_the_socket_sends_what_was_written_and_costs_the_gathering_nothing(name):
    async def main():
        transport, far = await accepted()
        sock = transport.get_extra_info("socket")
        transport.write(b"before")
        getattr(sock, name)(*METHODS[name])
        assert arrived(far) == b"before"
        assert gathers(transport, far)
        await ended(transport, far)

    run(main)


def test_every_method_that_this_python_has_is_tried():
    public = {name for name in vars(asyncio.trsock.TransportSocket) if not name.startswith("_")}
    properties = {"family", "type", "proto"}
    # asyncio's own `getsockbyname` calls what no socket has.
    assert public - properties - {"getsockbyname"} <= {*METHODS, *TAKES}


@pytest.mark.parametrize("name", TAKES)
def test_who_takes_the_descriptor_has_each_write_sent_at_once(name):
    async def main():
        transport, far = await accepted()
        sock = transport.get_extra_info("socket")
        transport.write(b"before")
        TAKES[name](sock)
        assert arrived(far) == b"before"
        assert not gathers(transport, far)
        await asyncio.sleep(0)
        assert not gathers(transport, far)
        await ended(transport, far)

    run(main)


def test_asking_for_the_socket_sends_what_was_written():
    async def main():
        transport, far = await accepted()
        transport.write(b"before")
        transport.get_extra_info("peername")
        assert arrived(far) == b""
        transport.get_extra_info("socket")
        assert arrived(far) == b"before"
        await ended(transport, far)

    run(main)


def test_servers_that_ask_and_set_options_keep_the_gathering():
    def made(transport):
        # As uvicorn, hypercorn and aiohttp do.
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        assert (sock.family, sock.type) == (socket.AF_INET, socket.SOCK_STREAM)
        assert sock.getpeername() == transport.get_extra_info("peername")
        assert "laddr" in repr(sock)

    async def main():
        transport, far = await accepted(made)
        assert gathers(transport, far)
        await ended(transport, far)

    run(main)


async def of_own_socket(way, near, protocol):
    loop = asyncio.get_running_loop()
    if way == "create_connection":
        return (await loop.create_connection(protocol, sock=near))[0]
    if way == "create_unix_connection":
        return (await loop.create_unix_connection(protocol, sock=near))[0]
    if way == "connect_accepted_socket":
        return (await loop.connect_accepted_socket(protocol, near))[0]
    return (await asyncio.open_connection(sock=near))[1]


@pytest.mark.parametrize(
    "way", ["create_connection", "create_unix_connection", "connect_accepted_socket", "open_connection"]
)
def test_a_transport_of_the_users_own_socket_sends_in_each_write(way):
    near, far = socket.socketpair()
    seen = []

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport):
            transport.write(b"at once")
            seen.append(arrived(far))

    async def main():
        transport = await of_own_socket(way, near, Protocol)
        transport.write(b"header ")
        near.send(b"body")
        assert arrived(far) == b"header body"
        getattr(transport, "transport", transport).abort()
        # The next connection of this loop is its own again.
        transport, other = await accepted()
        assert gathers(transport, other)
        await ended(transport, other)

    with near, far:
        run(main)
    assert seen in ([], [b"at once"])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_connection_that_the_loop_made_gathers_however_it_was_made(host):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_connection(asyncio.Protocol, host, port, family=socket.AF_INET)
            far = listener.accept()[0]
            assert gathers(transport, far)
            await ended(transport, far)

    run(main)


def test_a_unix_connection_that_the_loop_made_gathers(tmp_path):
    async def main():
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "socket"))
            listener.listen()
            path = str(tmp_path / "socket")
            transport, _ = await asyncio.get_running_loop().create_unix_connection(asyncio.Protocol, path)
            far = listener.accept()[0]
            assert gathers(transport, far)
            await ended(transport, far)

    run(main)


# ------------------------------------------------------------------------------------------------------- limits


def test_without_a_buffer_each_write_is_sent_at_once():
    async def main():
        transport, far = await accepted()
        transport.write(b"before")
        transport.set_write_buffer_limits(0)
        assert arrived(far) == b"before"
        assert not gathers(transport, far)
        transport.set_write_buffer_limits()
        assert gathers(transport, far)
        await asyncio.sleep(0)
        arrived(far)
        transport.set_write_buffer_limits(high=0)
        assert not gathers(transport, far)
        await ended(transport, far)

    run(main)


class Records:
    """How many records of application data a TLS peer was sent: its bytes are not decrypted."""

    def __init__(self, far):
        self.far = far
        self.rest = b""

    def count(self):
        self.rest += arrived(self.far)
        kinds = []
        while len(self.rest) >= 5 and len(self.rest) >= (size := 5 + int.from_bytes(self.rest[3:5], "big")):
            kinds.append(self.rest[0])
            self.rest = self.rest[size:]
        return kinds.count(23)


async def tls_pair():
    """A client's transport over a socket that the loop made, and the raw stream that its peer gets."""
    loop = asyncio.get_running_loop()
    raw = {}

    class Relay(asyncio.Protocol):
        """Hands the peer's bytes to a real server, and what that answers back, so that we see what comes."""

        def connection_made(self, transport):
            raw["near"] = transport
            transport.pause_reading()

        def data_received(self, data):
            raw["out"].write(data)

    class Back(asyncio.Protocol):
        def data_received(self, data):
            raw["near"].write(data)

    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=server_context())
    relay = await loop.create_server(Relay, "127.0.0.1", 0)
    connecting = asyncio.ensure_future(
        asyncio.open_connection(
            *relay.sockets[0].getsockname(), ssl=client_context(), server_hostname="localhost"
        )
    )
    while "near" not in raw:
        await asyncio.sleep(0)
    raw["out"], _ = await loop.create_connection(Back, *server.sockets[0].getsockname())
    raw["near"].resume_reading()
    _, writer = await connecting
    await asyncio.sleep(0.01)
    raw["near"].pause_reading()
    await asyncio.sleep(0.01)
    server.close()
    relay.close()
    far = raw["near"].get_extra_info("socket").dup()
    return writer, far, raw


async def tls_ended(writer, far, raw):
    writer.transport.abort()
    raw["near"].abort()
    raw["out"].abort()
    far.close()
    await asyncio.sleep(0.01)


def test_what_sends_at_once_does_so_over_tls():
    async def main():
        writer, far, raw = await tls_pair()
        records = Records(far)
        writer.write(b"gathered")
        writer.write(b"gathered")
        assert records.count() == 0
        await writer.drain()
        # What is gathered is one record.
        assert records.count() == 1
        writer.write(b"gathered")
        writer.get_extra_info("socket")
        assert records.count() == 1
        writer.transport.set_write_buffer_limits(0)
        writer.write(b"at once")
        assert records.count() == 1
        writer.transport.set_write_buffer_limits()
        writer.write(b"gathered")
        assert records.count() == 0
        writer.get_extra_info("socket").fileno()
        writer.write(b"at once")
        assert records.count() == 2
        await tls_ended(writer, far, raw)

    run(main)


def test_drain_is_heard_over_tls_that_was_begun_later():
    async def main():
        port, listener = listening()
        loop = asyncio.get_running_loop()
        server = asyncio.ensure_future(served(listener))
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        transport = await loop.start_tls(
            writer.transport, writer._protocol, client_context(), server_hostname="localhost"
        )
        assert type(transport).__name__ == "_SSLProtocolTransport"
        writer._transport = transport
        sock = transport.get_extra_info("socket")
        inner = transport._ssl_protocol._transport
        for _ in range(3):
            writer.write(b"x")
            assert transport._ssl_protocol._backlog_size == 1
            await writer.drain()
            assert transport._ssl_protocol._backlog_size == 0
            assert "bufsize=0" in repr(inner)
        assert sock.getpeername()[1] == port
        writer.close()
        await server

    run(main)


def listening():
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    return listener.getsockname()[1], listener


async def served(listener):
    loop = asyncio.get_running_loop()
    sock, _ = await loop.sock_accept(listener)
    listener.close()
    done = loop.create_future()

    class Ends(asyncio.Protocol):
        def connection_lost(self, error):
            done.set_result(None)

    await loop.connect_accepted_socket(Ends, sock, ssl=server_context())
    await asyncio.wait_for(done, 5)


# -------------------------------------------------------------------------------------------------------- drain


async def accepted_streams():
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    server = await asyncio.start_server(lambda *pair: future.set_result(pair), "127.0.0.1", 0)
    far = socket.create_connection(server.sockets[0].getsockname())
    _, writer = await future
    server.close()
    return writer, far


class Wrapper:
    """A transport within a transport, as middleware puts it."""

    def __init__(self, transport):
        self._inner = transport

    def is_closing(self):
        return self._inner.is_closing()

    def __getattr__(self, name):
        return getattr(self._inner, name)


async def own_drain(writer):
    async def drain():
        if writer.transport.is_closing():
            await asyncio.sleep(0)

    await drain()


async def by_a_wrapper(writer):
    if not isinstance(writer._transport, Wrapper):
        writer._transport = Wrapper(Wrapper(writer._transport))
    await writer.drain()


DRAINS = {"drain": lambda writer: writer.drain(), "a wrapper's": by_a_wrapper, "one's own": own_drain}


@pytest.mark.parametrize("how", DRAINS)
def test_drain_sends_what_was_written_before_it_returns(how):
    async def main():
        writer, far = await accepted_streams()
        for _ in range(3):
            writer.write(b"acknowledged")
            assert arrived(far) == b""
            await DRAINS[how](writer)
            assert arrived(far) == b"acknowledged"
        assert gathers(writer, far)
        await ended(writer.transport, far)

    run(main)


def test_a_server_that_asks_whether_it_is_closing_before_each_write_gathers_all_the_same():
    async def main():
        writer, far = await accepted_streams()
        for _ in range(3):
            assert not writer.is_closing()
            assert not writer.transport.is_closing()
            writer.write(b"x")
        assert arrived(far) == b""
        await asyncio.sleep(0)
        assert arrived(far) == b"xxx"
        await ended(writer.transport, far)

    run(main)


@pytest.mark.parametrize("loop", FACTORIES)
def test_drain_behind_a_write_to_a_lost_peer_raises(loop):
    async def main():
        path = f"\0aioxide-drain-{os.getpid()}"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            _, writer = await asyncio.open_unix_connection(path)
            listener.accept()[0].close()
        writer.transport.pause_reading()
        writer.write(b"to nobody")
        try:
            await writer.drain()
        finally:
            writer.close()

    with asyncio.Runner(loop_factory=FACTORIES[loop]) as runner, pytest.raises(ConnectionResetError):
        runner.run(main())


def test_many_drains_in_a_turn_leave_nothing_behind():
    """Each sends; the list of what is due at the turn's end does not grow by it."""

    async def main():
        writer, far = await accepted_streams()
        for _ in range(5000):
            writer.write(b"x")
            await writer.drain()
        assert len(arrived(far)) == 5000
        await ended(writer.transport, far)

    run(main)
