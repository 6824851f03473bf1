"""The names of a connection, asked for first when it is gone; and a Unix server that takes no more connections."""

import asyncio
import contextlib
import os
import socket
import struct
import tempfile

from .harness import SIDES, parity, settle

ENDS = ["reset", "close", "abort"]


class Waits(asyncio.Protocol):
    """Asks for nothing while the connection lives."""

    def __init__(self, h):
        self.h = h
        self.transport = None
        self.lost = h.loop.create_future()

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, error):
        names = [self.transport.get_extra_info(name) for name in ("peername", "sockname")]
        self.h.log("in connection_lost", type(error).__name__, names)
        self.lost.set_result(None)


def reset(sock):
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


async def end(h, how, transport, protocol, far):
    await settle()
    if how == "reset":
        reset(far)
    else:
        getattr(transport, how)()
    await protocol.lost
    h.log("behind", [transport.get_extra_info(name) for name in ("peername", "sockname")])
    h.log(transport.get_extra_info("socket").fileno())
    far.close()
    # The kernel may give a port out again: the next connection's are counted anew.
    h.plain.seen.pop("port", None)


async def clients(h, **arguments):
    """A client for each of `ENDS`."""
    with contextlib.ExitStack() as kept:
        for how in ENDS:
            listener = kept.enter_context(socket.create_server(("127.0.0.1", 0)))
            port = listener.getsockname()[1]
            if "sock" in arguments:
                given = {"sock": socket.create_connection(("127.0.0.1", port))}
            else:
                given = {"port": port, **arguments}
            transport, protocol = await h.loop.create_connection(lambda: Waits(h), **given)
            await end(h, how, transport, protocol, listener.accept()[0])


@parity
async def test_a_client_by_host_name(h):
    await clients(h, host="localhost", family=socket.AF_INET)


@parity
async def test_a_client_by_address(h):
    await clients(h, host="127.0.0.1")


@parity
async def test_a_client_by_the_address_of_any(h):
    await clients(h, host="0.0.0.0")


@parity
async def test_a_client_from_an_address_of_its_own(h):
    await clients(h, host="127.0.0.1", local_addr=("127.0.0.1", 0))


@parity
async def test_a_client_of_a_socket(h):
    await clients(h, sock=True)


@parity
async def test_a_connection_that_somebody_else_has_accepted(h):
    for how in ENDS:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            far = socket.create_connection(listener.getsockname())
            near = listener.accept()[0]
        near.setblocking(False)
        transport, protocol = await h.loop.connect_accepted_socket(lambda: Waits(h), near)
        await end(h, how, transport, protocol, far)


async def accepted(h, how, server, far):
    protocols = h.protocols
    while not protocols or protocols[-1].transport is None:
        await asyncio.sleep(0.001)
    protocol = protocols.pop()
    await end(h, how, protocol.transport, protocol, far)
    server.close()


def noting(h):
    h.protocols = []

    def make():
        h.protocols.append(Waits(h))
        return h.protocols[-1]

    return make


@parity
async def test_a_connection_of_a_tcp_server(h):
    for how in ENDS:
        server = await h.loop.create_server(noting(h), "127.0.0.1", 0)
        await accepted(h, how, server, socket.create_connection(server.sockets[0].getsockname()))


@parity
async def test_a_connection_of_a_unix_server(h):
    # Relative, so that the names are the same on both.
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for how in ENDS:
            for number, bound in enumerate(("", "client-ä", b"\0aioxide-names-%d" % os.getpid())):
                path = f"server-{how}-{number}"
                server = await h.loop.create_unix_server(noting(h), path)
                far = socket.socket(socket.AF_UNIX)
                if bound:
                    far.bind(f"{bound}-{how}" if isinstance(bound, str) else bound)
                far.connect(path)
                await accepted(h, how, server, far)


@parity
async def test_a_unix_client(h):
    for how in ENDS:
        for path in (
            f"\0aioxide-names-{os.getpid()}",
            f"{tempfile.gettempdir()}/aioxide-names-{os.getpid()}",
        ):
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(path)
                listener.listen()
                transport, protocol = await h.loop.create_unix_connection(lambda: Waits(h), path)
                await end(h, how, transport, protocol, listener.accept()[0])
            if path[0] != "\0":
                os.unlink(path)


@parity
async def test_the_callers_own_names_are_kept(h):
    near, far = h.socket_pair(socket.AF_INET)
    protocol = Waits(h)
    given = {"peername": "told by a proxy", "other": 1}
    transport = h.loop._make_socket_transport(near, protocol, extra=given)
    await end(h, "reset", transport, protocol, far)
    h.log(transport.get_extra_info("other"))


def test_the_names_compared_are_names():
    """That both say None would be a parity too."""

    async def main():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = listener.getsockname()
            transport, _ = await asyncio.get_running_loop().create_connection(
                asyncio.Protocol, "localhost", address[1], family=socket.AF_INET
            )
            reset(listener.accept()[0])
            while not transport.is_closing():
                await asyncio.sleep(0.001)
        assert transport.get_extra_info("peername") == address

    with asyncio.Runner(loop_factory=SIDES["aioxide"][0]) as runner:
        runner.run(main())


@parity
async def test_a_unix_server_whose_backlog_is_full(h):
    """The kernel says EAGAIN, which asyncio takes for "in progress": the connection is lost as soon as it is read."""
    path = f"\0aioxide-full-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        transport, protocol = await h.loop.create_unix_connection(lambda: Waits(h), path)
        for _ in range(2):
            second, lost = await h.loop.create_unix_connection(lambda: Waits(h), path)
            await lost.lost
            h.log(second.get_extra_info("peername"))
        await end(h, "close", transport, protocol, listener.accept()[0])


@parity
async def test_a_stream_to_a_unix_server_whose_backlog_is_full(h):
    path = f"\0aioxide-full-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(path)
            reader, writer = await asyncio.open_unix_connection(path)
            await h.wait(reader.read())
            writer.write(b"x")
            await h.wait(writer.drain())
            writer.close()
            await h.wait(writer.wait_closed())
