"""create_server, create_connection, their Unix kin, streams: arguments, errors, the server's life."""

import asyncio
import os
import pathlib
import socket
import tempfile

from .harness import Quiet, Recorder, parity, settle, since


def address(server):
    return server.sockets[0].getsockname()


@parity
async def test_server_life(h):
    server = await h.loop.create_server(lambda: Recorder(h), "127.0.0.1", 0)
    h.log(type(server).__name__, server.is_serving(), len(server.sockets), server.get_loop() is h.loop)
    h.log(isinstance(server, asyncio.AbstractServer), type(server.sockets), type(server.sockets[0]).__name__)
    h.log(server.close(), server.is_serving(), server.sockets, server.close())
    await h.wait(server.wait_closed())
    await h.wait(server.start_serving())
    await h.wait(server.serve_forever())


@parity
async def test_start_serving_later(h):
    server = await h.loop.create_server(lambda: Recorder(h), "127.0.0.1", 0, start_serving=False)
    h.log(server.is_serving())
    await h.wait(server.start_serving())
    h.log(server.is_serving())
    await h.wait(server.start_serving())
    server.close()


@parity
async def test_serve_forever(h):
    server = await h.loop.create_server(lambda: Recorder(h), "127.0.0.1", 0, start_serving=False)
    task = h.loop.create_task(server.serve_forever())
    await h.idle(2)
    h.log(server.is_serving())
    await h.wait(server.serve_forever())
    task.cancel()
    await h.wait(task)
    h.log(server.is_serving(), server.sockets)


@parity
async def test_as_a_context_manager(h):
    async with await h.loop.create_server(lambda: Recorder(h), "127.0.0.1", 0) as server:
        h.log(server.is_serving())
    h.log(server.is_serving())


@parity
async def test_connections(h):
    protocols = []

    def factory():
        protocols.append(Recorder(h, f"server {len(protocols)}"))
        return protocols[-1]

    server = await h.loop.create_server(factory, "127.0.0.1", 0)
    for n in range(3):
        client = socket.create_connection(address(server))
        client.send(b"%d" % n)
        await settle()
        client.close()
        await protocols[-1].lost
    server.close()
    await h.wait(server.wait_closed())


@parity
async def test_server_closes_with_open_connections(h):
    protocol = Recorder(h)
    server = await h.loop.create_server(lambda: protocol, "127.0.0.1", 0)
    client = socket.create_connection(address(server))
    await settle()
    server.close()
    waiting = h.loop.create_task(server.wait_closed())
    await settle()
    h.log(waiting.done(), protocol.transport.is_closing())
    client.send(b"still served")
    await settle()
    client.close()
    await protocol.lost
    await h.wait(waiting)


@parity
@since(3, 13)
async def test_close_clients_and_abort_clients(h):
    for method in ("close_clients", "abort_clients"):
        protocol = Recorder(h, method)
        server = await h.loop.create_server(lambda p=protocol: p, "127.0.0.1", 0)
        client = socket.create_connection(address(server))
        await settle()
        server.close()
        getattr(server, method)()
        await protocol.lost
        await h.wait(server.wait_closed())
        client.close()


@parity
async def test_protocol_factory_that_fails(h):
    h.loop.set_exception_handler(
        lambda loop, context: h.log("handler", context["message"], context.get("exception"), sorted(context))
    )

    def factory():
        raise ValueError("no protocol")

    h.minds_leaks = False  # asyncio leaves the accepted socket to the collector
    server = await h.loop.create_server(factory, "127.0.0.1", 0)
    client = socket.create_connection(address(server))
    client.settimeout(5)
    await settle()
    h.log("still serving", server.is_serving())
    client.close()
    server.close()


@parity
async def test_create_server_arguments(h):
    create = h.loop.create_server
    near, far = h.socket_pair()
    datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    await h.wait(create(Recorder))
    await h.wait(create(Recorder, "127.0.0.1", 0, sock=near))
    await h.wait(create(Recorder, None, None, sock=datagram))
    await h.wait(create(Recorder, "127.0.0.1", 0, ssl=True))
    await h.wait(create(Recorder, "127.0.0.1", 0, ssl="yes"))
    await h.wait(create(Recorder, "127.0.0.1", 0, ssl_handshake_timeout=5))
    await h.wait(create(Recorder, "127.0.0.1", 0, ssl_shutdown_timeout=5))
    await h.wait(create(Recorder, "256.0.0.1", 0))
    datagram.close()
    far.close()


@parity
async def test_address_in_use(h):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        await h.wait(h.loop.create_server(Recorder, *taken.getsockname()))


@parity(debug=[False])  # asyncio goes through a set of the hosts, and debug mode logs the result
async def test_several_hosts_and_ports(h):
    server = await h.loop.create_server(Recorder, ["127.0.0.1", "127.0.0.2"], 0)
    h.log(sorted(sock.getsockname()[0] for sock in server.sockets))
    server.close()


@parity
async def test_server_from_a_socket(h):
    sock = socket.create_server(("127.0.0.1", 0))
    protocol = Recorder(h)
    server = await h.loop.create_server(lambda: protocol, sock=sock)
    h.log(sock.gettimeout(), server.sockets[0].getsockname() == sock.getsockname())
    client = socket.create_connection(sock.getsockname())
    client.close()
    await protocol.lost
    server.close()
    h.log(sock.fileno())


@parity
async def test_create_connection(h):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        transport, protocol = await h.loop.create_connection(lambda: Recorder(h), *listener.getsockname())
        h.log(transport.get_extra_info("peername") == listener.getsockname())
        far = listener.accept()[0]
        far.send(b"hello")
        await settle()
        far.close()
        await protocol.lost
        local = ("127.0.0.1", 0)
        transport, protocol = await h.loop.create_connection(
            lambda: Recorder(h),
            "localhost",
            listener.getsockname()[1],
            family=socket.AF_INET,
            local_addr=local,
        )
        h.log(transport.get_extra_info("sockname")[0])
        transport.abort()
        await protocol.lost


@parity
async def test_connection_refused(h):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        refused = listener.getsockname()
    await h.wait(h.loop.create_connection(Recorder, *refused))
    await h.wait(asyncio.open_connection(*refused))
    await h.wait(h.loop.create_unix_connection(Recorder, "/nowhere/at/all"))


@parity
async def test_create_connection_arguments(h):
    create = h.loop.create_connection
    near, _far = h.socket_pair()
    datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    await h.wait(create(Recorder))
    await h.wait(create(Recorder, "127.0.0.1", 1, sock=near))
    await h.wait(create(Recorder, sock=datagram))
    await h.wait(create(Recorder, "127.0.0.1", 1, server_hostname="name"))
    await h.wait(create(Recorder, sock=near, ssl=True))
    await h.wait(create(Recorder, "127.0.0.1", 1, ssl_handshake_timeout=5))
    await h.wait(create(Recorder, "127.0.0.1", 1, ssl_shutdown_timeout=5))
    await h.wait(create(Recorder, "127.0.0.1", "no such service"))
    datagram.close()


@parity
async def test_protocol_factory_of_a_client_that_fails(h):
    near, _far = h.socket_pair()

    def factory():
        raise ValueError("no protocol")

    await h.wait(h.loop.create_connection(factory, sock=near))
    h.log(near.fileno() >= 0)


@parity
async def test_unix_server(h):
    with tempfile.TemporaryDirectory() as folder:
        for path in (os.path.join(folder, "one"), pathlib.Path(folder) / "two"):
            protocol = Quiet(h)
            server = await h.loop.create_unix_server(lambda p=protocol: p, path)
            h.log(server.sockets[0].getsockname() == str(path), os.path.exists(path))
            transport, client = await h.loop.create_unix_connection(lambda: Quiet(h), path)
            h.log(transport.get_extra_info("peername") == str(path), transport.get_extra_info("sockname"))
            transport.close()
            await client.lost
            await protocol.lost
            h.log(client.seen, protocol.seen)
            server.close()
            await server.wait_closed()
            h.log(os.path.exists(path))


@parity
async def test_unix_arguments(h):
    near, _far = h.socket_pair()
    inet = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "socket")
        for create in (h.loop.create_unix_server, h.loop.create_unix_connection):
            await h.wait(create(Recorder))
            await h.wait(create(Recorder, path, sock=near))
            await h.wait(create(Recorder, sock=inet))
            await h.wait(create(Recorder, path, ssl_handshake_timeout=5))
        await h.wait(h.loop.create_unix_server(Recorder, path, ssl=True))
        await h.wait(h.loop.create_unix_connection(Recorder, path, server_hostname="name"))
        await h.wait(h.loop.create_unix_connection(Recorder, path, ssl=True))
        try:
            await h.loop.create_unix_server(Recorder, os.path.join(folder, "no", "folder"))
        except OSError as error:
            h.log(type(error), error.errno)
        regular = os.path.join(folder, "regular")
        pathlib.Path(regular).write_text("x")
        try:
            await h.loop.create_unix_server(Recorder, regular)
        except OSError as error:
            h.log(type(error), error.errno)
    inet.close()


@parity
async def test_connect_accepted_socket(h):
    near, far = h.socket_pair()
    transport, protocol = await h.loop.connect_accepted_socket(lambda: Recorder(h), near)
    far.send(b"hello")
    await settle()
    transport.close()
    await protocol.lost
    datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    await h.wait(h.loop.connect_accepted_socket(Recorder, datagram))
    datagram.close()


@parity
async def test_streams(h):
    async def handler(reader, writer):
        h.log("peer", writer.get_extra_info("peername") is not None)
        while line := await reader.readline():
            h.log("line", line)
            writer.write(line.upper())
            await writer.drain()
        writer.close()
        await writer.wait_closed()
        h.log("handler ends")

    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*address(server))
    for n in range(3):
        writer.write(b"line %d\n" % n)
        h.log(await reader.readline())
    writer.write_eof()
    h.log(await reader.read(), reader.at_eof())
    writer.close()
    await writer.wait_closed()
    await h.idle(3)
    server.close()
    await server.wait_closed()


@parity
async def test_stream_reader_errors(h):
    near, far = h.socket_pair()
    reader, writer = await asyncio.open_connection(sock=near, limit=64)
    far.send(b"short\n" + b"x" * 200)
    h.log(await reader.readuntil(b"\n"))
    await h.wait(reader.readline())
    far.send(b"y" * 100)
    await h.wait(reader.readuntil(b"\n"))
    h.log(await reader.readexactly(100))
    far.send(b"tail")
    far.close()
    await h.wait(reader.readexactly(1000))
    h.log(await reader.read(), reader.at_eof())
    await h.wait(reader.readexactly(-1))
    await h.wait(reader.readuntil(b""))
    writer.write(b"x")
    await h.idle(2)  # what a turn writes may leave at its end, and only then fail
    await h.wait(writer.drain())
    writer.close()
    await h.wait(writer.wait_closed())


@parity
async def test_two_readers_at_once(h):
    near, far = h.socket_pair()
    reader, writer = await asyncio.open_connection(sock=near)
    task = h.loop.create_task(reader.read(10))
    await h.idle()
    await h.wait(reader.read(10))
    far.send(b"data")
    await h.wait(task)
    writer.close()
    await writer.wait_closed()


@parity
async def test_stream_handler_that_fails(h):
    async def handler(reader, writer):
        raise ValueError("in the handler")

    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    client = socket.create_connection(address(server))
    client.settimeout(5)
    await settle()
    h.log(client.recv(1))
    client.close()
    server.close()


@parity
async def test_client_and_server_on_one_loop(h):
    accepted = Quiet(h)
    accepted.hooks["data_received"] = lambda data: accepted.transport.write(data.upper())
    server = await h.loop.create_server(lambda: accepted, "127.0.0.1", 0)
    transport, client = await h.loop.create_connection(lambda: Quiet(h), *address(server))
    for _ in range(3):
        transport.write(b"ping")
        await settle()
    transport.write_eof()
    await client.lost
    await accepted.lost
    server.close()
    await server.wait_closed()
    h.log(client.seen)
    h.log(accepted.seen)


@parity
async def test_unread_data_at_close_of_the_stream(h):
    near, far = h.socket_pair()
    reader, writer = await asyncio.open_connection(sock=near)
    far.send(b"unread")
    await settle()
    writer.close()
    await h.wait(writer.wait_closed())
    h.log(await reader.read(), reader.at_eof(), writer.is_closing())


@parity
async def test_a_subclass_with_its_own_steps_of_accepting(h):
    """Whoever overrides what asyncio's acceptor goes through gets called for each connection."""

    class Loop(type(h.loop)):
        def _make_socket_transport(self, *arguments, **options):
            h.log("_make_socket_transport", "server" in options)
            return super()._make_socket_transport(*arguments, **options)

    h.loop.__class__ = Loop
    server = await h.loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    far = socket.create_connection(server.sockets[0].getsockname())
    await settle()
    far.close()
    server.close()
    await settle()
