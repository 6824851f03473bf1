"""What write() has accepted is offered to the kernel before the connection is cut, whatever cuts it."""

import asyncio
import logging
import os
import socket
import sys

import pytest

from tests.certs import client_context, server_context
from tests.support.scenarios import FACTORIES

# Where a loop is left or closed with connections open, they are collected as they are.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

WORDS = b"error: bad request\n"
GAPS = memoryview(b"abcd")[::2]


class Deeds:
    """What cuts a connection, by name; each is called in a callback that has just written."""

    def close(self, transport):
        transport.close()

    def abort(self, transport):
        transport.abort()

    def abort_twice(self, transport):
        transport.abort()
        transport.abort()

    def abort_under_another_protocol(self, transport):
        transport.set_protocol(asyncio.Protocol())
        transport.abort()

    def force_close(self, transport):
        transport._force_close(ValueError("from outside"))

    def raise_in_callback(self, transport):
        raise ValueError("bad request")

    def raise_cancelled(self, transport):
        raise asyncio.CancelledError

    def shut_down_the_socket(self, transport):
        transport.get_extra_info("socket").shutdown(socket.SHUT_WR)

    def shut_down_both_ways(self, transport):
        transport.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    def close_the_socket_behind(self, transport):
        transport.get_extra_info("socket")._sock.close()

    def write_a_bad_buffer(self, transport):
        transport.write(GAPS)

    def write_lines_with_a_bad_buffer(self, transport):
        transport.writelines([b"lost with it", GAPS])

    def write_eof(self, transport):
        transport.write_eof()

    def pause_and_abort(self, transport):
        transport.pause_reading()
        transport.abort()


DEEDS = [name for name in vars(Deeds) if not name.startswith("_")]
# Those that a TLS transport has.
TLS_DEEDS = ["close", "abort", "abort_twice", "force_close", "raise_in_callback", "shut_down_the_socket"]


class Server(asyncio.Protocol):
    deed = "abort"
    at = "data_received"

    def connection_made(self, transport):
        self.transport = transport
        self.act("connection_made")

    def act(self, here):
        if here == self.at:
            self.transport.write(WORDS[:5])
            self.transport.writelines([WORDS[5:9], bytearray(WORDS[9:])])
            getattr(Deeds(), self.deed)(self.transport)

    def data_received(self, data):
        self.act("data_received")

    def eof_received(self):
        self.act("eof_received")
        return True


class BufferedServer(Server, asyncio.BufferedProtocol):
    def get_buffer(self, hint):
        self.act("get_buffer")
        return bytearray(100)

    def buffer_updated(self, count):
        self.act("buffer_updated")


async def start(way, protocol, folder):
    """Serve one connection, and return the peer's reader and writer, and the server."""
    loop = asyncio.get_running_loop()
    if way == "own socket":
        near, far = socket.socketpair()
        await loop.create_connection(protocol, sock=near)
        return *await asyncio.open_connection(sock=far), None
    if way == "unix":
        path = folder / "socket"
        server = await loop.create_unix_server(protocol, path)
        return *await asyncio.open_unix_connection(path), server
    tls = {"ssl": server_context()} if way == "tls" else {}
    server = await loop.create_server(protocol, "127.0.0.1", 0, **tls)
    tls = {"ssl": client_context(), "server_hostname": "localhost"} if way == "tls" else {}
    return *await asyncio.open_connection(*server.sockets[0].getsockname(), **tls), server


def heard(loop, way, protocol, folder):
    """What the peer reads."""

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        reader, writer, server = await start(way, protocol, folder)
        writer.write(b"x")
        if protocol.at == "eof_received":
            writer.write_eof()
        got = b""
        try:
            async with asyncio.timeout(5):
                while len(got) < len(WORDS) and (more := await reader.read(100)):
                    got += more
        except OSError:
            pass  # cut by a reset, as some deeds do; what came before counts
        writer.transport.abort()
        if server is not None:
            server.close()
        await asyncio.sleep(0)
        return got

    with asyncio.Runner(loop_factory=FACTORIES[loop]) as runner:
        return runner.run(main())


@pytest.mark.parametrize("loop", FACTORIES)
@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("way", ["tcp", "unix", "own socket"])
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_peer_hears_what_was_written_before_the_cut(way, deed, loop, tmp_path):
    kind = type("It", (Server,), {"deed": deed})
    assert heard(loop, way, kind, tmp_path) == WORDS


@pytest.mark.parametrize("loop", FACTORIES)
@pytest.mark.parametrize("deed", ["abort", "raise_in_callback"])
@pytest.mark.parametrize("at", ["connection_made", "eof_received", "get_buffer", "buffer_updated"])
def test_it_does_so_in_every_callback(at, deed, loop, tmp_path):
    kind = type("It", (BufferedServer if "buffer" in at else Server,), {"deed": deed, "at": at})
    assert heard(loop, "tcp", kind, tmp_path) == WORDS


@pytest.mark.parametrize("loop", FACTORIES)
@pytest.mark.parametrize("deed", TLS_DEEDS)
def test_it_does_so_over_tls(deed, loop, tmp_path):
    kind = type("It", (Server,), {"deed": deed})
    assert heard(loop, "tls", kind, tmp_path) == WORDS


@pytest.mark.by_version(sys.version_info < (3, 13), "a server has no abort_clients before 3.13")
@pytest.mark.parametrize("loop", FACTORIES)
def test_a_server_that_aborts_its_clients_has_their_last_words_sent(loop):
    async def main():
        transports = []

        class Keeps(asyncio.Protocol):
            def connection_made(self, transport):
                transports.append(transport)

        server = await asyncio.get_running_loop().create_server(Keeps, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        while not transports:
            await asyncio.sleep(0)
        transports[0].write(WORDS)
        server.abort_clients()
        got = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        server.close()
        return got

    with asyncio.Runner(loop_factory=FACTORIES[loop]) as runner:
        assert runner.run(main()) == WORDS


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("loop", FACTORIES)
def test_an_exception_handler_that_ends_the_process_comes_after_the_words(loop):
    """`fatal_error` tells the handler: by then the bytes are out."""
    near, far = socket.socketpair()
    with near, far:
        far.settimeout(5)
        far.send(b"x")
        pid = os.fork()
        if pid == 0:
            with_handler_that_exits(FACTORIES[loop], near)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        assert far.recv(100) == WORDS


def with_handler_that_exits(factory, near):
    try:
        asyncio.events._set_running_loop(None)
        loop = factory()
        loop.set_exception_handler(lambda loop, context: os._exit(7))
        kind = type("It", (Server,), {"deed": "raise_in_callback"})
        # Not by sock=, where each write is sent at once.
        loop.call_soon(loop._make_socket_transport, near, kind())
        loop.run_forever()
    finally:
        os._exit(1)


@pytest.mark.parametrize("loop", FACTORIES)
@pytest.mark.parametrize("leaves", [KeyboardInterrupt, SystemExit])
def test_words_are_sent_when_the_loop_is_left_and_closed(leaves, loop):
    near, far = socket.socketpair()
    far.settimeout(5)
    far.send(b"x")

    def leave(self, transport):
        raise leaves

    made = FACTORIES[loop]()
    kind = type("It", (Server,), {"deed": "leave"})
    Deeds.leave = leave
    try:
        made.call_soon(made._make_socket_transport, near, kind())
        with pytest.raises(leaves):
            made.run_forever()
    finally:
        del Deeds.leave
        made.close()
    with near, far:
        assert far.recv(100) == WORDS


class Tells(logging.Handler):
    """A log that goes over connections of the loop: each record by the next."""

    def __init__(self, transports):
        super().__init__(logging.DEBUG)
        self.transports = iter(transports)

    def emit(self, record):
        if "Fatal write error" in record.getMessage():
            next(self.transports).write(WORDS)


@pytest.mark.parametrize("gone", [1, 2, 3, 4])
@pytest.mark.parametrize("loop", FACTORIES)
def test_what_the_last_flush_makes_others_write_is_sent_as_well(loop, gone, caplog):
    """A write fails when the loop's last turn ends. The log of that goes out by another connection, which fails too."""
    made = FACTORIES[loop]()
    made.set_debug(True)
    pairs = [socket.socketpair() for _ in range(gone + 1)]
    pairs[-1][1].settimeout(5)
    transports = []
    logger = logging.getLogger("asyncio")

    def connect():
        transports.extend(made._make_socket_transport(near, asyncio.Protocol()) for near, _ in pairs)

    def write():
        for transport, (_, far) in zip(transports[:-1], pairs, strict=False):
            transport.pause_reading()
            far.close()
        logger.addHandler(Tells(transports[1:]))
        transports[0].write(b"to nobody")
        made.stop()

    caplog.set_level(logging.DEBUG, "asyncio")
    made.call_soon(connect)
    made.call_later(0.005, write)
    try:
        made.run_forever()
        made.close()
        assert pairs[-1][1].recv(100) == WORDS
    finally:
        logger.handlers[:] = [each for each in logger.handlers if not isinstance(each, Tells)]
        for sock in (sock for pair in pairs for sock in pair):
            sock.close()


@pytest.mark.parametrize("loop", FACTORIES)
def test_a_lost_peer_is_told_as_the_write_that_met_it(loop):
    """What could not be sent is why the connection ended, though abort() followed in the same turn."""

    async def main():
        near, far = socket.socketpair()
        lost = asyncio.get_running_loop().create_future()

        class Protocol(asyncio.Protocol):
            def connection_lost(self, error):
                lost.set_result(error)

        loop = asyncio.get_running_loop()
        transport = loop._make_socket_transport(near, Protocol())
        await asyncio.sleep(0)
        transport.pause_reading()
        far.close()
        transport.write(WORDS)
        transport.abort()
        return type(await lost)

    with asyncio.Runner(loop_factory=FACTORIES[loop]) as runner:
        assert runner.run(main()) is BrokenPipeError
