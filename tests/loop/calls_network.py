"""Connections, servers, TLS, datagrams, name resolution, sendfile."""

import asyncio
import os
import socket
import tempfile

import pytest

from tests.certs import client_context, server_context

from .surface import Collect, Echo, calls

PAYLOAD = bytes(range(256)) * 4096  # 1 MiB: no socket buffer takes it at once


async def serve(loop, factory=Echo, **options):
    """An echo server on a free loopback port, and that port."""
    server = await loop.create_server(factory, "127.0.0.1", 0, **options)
    return server, server.sockets[0].getsockname()[1]


async def finish(server):
    server.close()
    await server.wait_closed()


@calls("create_server", "create_connection")
async def echoes_over_tcp(loop):
    server, port = await serve(loop)
    transport, protocol = await loop.create_connection(Collect, "127.0.0.1", port)
    assert isinstance(transport, asyncio.Transport)
    assert transport.get_extra_info("peername") == ("127.0.0.1", port)
    assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    transport.write(PAYLOAD[:1000])
    transport.writelines([PAYLOAD[1000:70000], bytearray(PAYLOAD[70000:70003]), memoryview(PAYLOAD)[70003:]])
    assert await protocol.receive(len(PAYLOAD)) == PAYLOAD
    transport.write_eof()
    assert await protocol.lost is None
    await finish(server)


@calls("create_server", "create_connection")
async def listens_as_told(loop):
    options = {"backlog": 5, "reuse_address": True, "reuse_port": True, "start_serving": False}
    server, port = await serve(loop, **options)
    assert not server.is_serving()
    await server.start_serving()
    assert server.get_loop() is loop.real
    assert server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
    transport, protocol = await loop.create_connection(
        Collect,
        "localhost",
        port,
        family=socket.AF_INET,
        local_addr=("127.0.0.1", 0),
        happy_eyeballs_delay=0.1,
    )
    transport.abort()
    assert await protocol.lost is None
    await finish(server)
    with pytest.raises(ConnectionRefusedError):
        await loop.create_connection(Collect, "127.0.0.1", port)


@calls("create_server")
async def serves_until_cancelled(loop):
    server, port = await serve(loop, lambda: asyncio.Protocol())
    forever = asyncio.ensure_future(server.serve_forever())
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    forever.cancel()
    writer.close()
    with pytest.raises(asyncio.CancelledError):
        await forever
    assert not server.is_serving()
    assert server.sockets == ()


@calls("create_unix_server", "create_unix_connection")
async def echoes_over_unix_sockets(loop):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "socket")
        server = await loop.create_unix_server(Echo, path)
        transport, protocol = await loop.create_unix_connection(Collect, path)
        transport.write(PAYLOAD)
        assert await protocol.receive(len(PAYLOAD)) == PAYLOAD
        transport.close()
        assert await protocol.lost is None
        await finish(server)


@calls("connect_accepted_socket", "create_connection")
async def takes_an_accepted_socket(loop):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = asyncio.ensure_future(loop.create_connection(Collect, *listener.getsockname()))
        accepted = await asyncio.to_thread(listener.accept)
        server, _ = await loop.connect_accepted_socket(Echo, accepted[0])
        transport, protocol = await client
        transport.write(b"accepted elsewhere")
        assert await protocol.receive(18) == b"accepted elsewhere"
        server.close()
        assert await protocol.lost is None


@calls("create_server", "create_connection")
async def echoes_over_tls(loop):
    server, port = await serve(loop, ssl=server_context(), ssl_handshake_timeout=20, ssl_shutdown_timeout=5)
    transport, protocol = await loop.create_connection(
        Collect, "127.0.0.1", port, ssl=client_context(), server_hostname="localhost"
    )
    assert transport.get_extra_info("ssl_object").version().startswith("TLS")
    assert transport.get_extra_info("peercert")["subjectAltName"]
    transport.write(PAYLOAD)
    assert await protocol.receive(len(PAYLOAD)) == PAYLOAD
    transport.close()
    assert await protocol.lost is None
    await finish(server)


@calls("create_server", "create_connection")
async def refuses_an_unknown_authority(loop):
    from ssl import SSLCertVerificationError, create_default_context

    complaints = []
    loop.real.set_exception_handler(lambda loop, context: complaints.append(context))
    server, port = await serve(loop, ssl=server_context())
    with pytest.raises(SSLCertVerificationError):
        await loop.create_connection(
            Collect, "127.0.0.1", port, ssl=create_default_context(), server_hostname="localhost"
        )
    await finish(server)


class StartsTLS(Collect):
    """Server side: at the word STARTTLS it changes to TLS, greets, and echoes from then on."""

    def data_received(self, data):
        assert data == b"STARTTLS"
        self.task = asyncio.get_running_loop().create_task(self.upgrade())

    async def upgrade(self):
        loop, echo = asyncio.get_running_loop(), Echo()
        self.transport.write(b"GO")
        echo.transport = await loop.start_tls(self.transport, echo, server_context(), server_side=True)
        echo.transport.write(b"now ")


@calls("create_server", "create_connection", "start_tls")
async def upgrades_to_tls(loop):
    server, port = await serve(loop, StartsTLS)
    transport, protocol = await loop.create_connection(Collect, "127.0.0.1", port)
    transport.write(b"STARTTLS")
    assert await protocol.receive(2) == b"GO"
    secure = Collect()
    transport = await loop.start_tls(transport, secure, client_context(), server_hostname="localhost")
    await secure.receive(4)
    transport.write(b"in secret")
    assert await secure.receive(13) == b"now in secret"
    transport.close()
    await secure.lost
    await finish(server)


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self):
        self.received, self.lost = asyncio.Queue(), asyncio.get_running_loop().create_future()

    def datagram_received(self, data, address):
        self.received.put_nowait((data, address))

    def error_received(self, error):
        self.received.put_nowait(error)

    def connection_lost(self, error):
        self.lost.set_result(error)


@calls("create_datagram_endpoint")
async def exchanges_datagrams(loop):
    server, server_side = await loop.create_datagram_endpoint(
        Datagrams, ("127.0.0.1", 0), allow_broadcast=True
    )
    address = server.get_extra_info("sockname")
    client, client_side = await loop.create_datagram_endpoint(Datagrams, remote_addr=address)
    client.sendto(b"x" * 60000)
    data, sender = await server_side.received.get()
    assert data == b"x" * 60000
    server.sendto(b"back", sender)
    assert await client_side.received.get() == (b"back", address)
    server.close()
    assert await server_side.lost is None
    client.sendto(b"nobody there")
    assert isinstance(await client_side.received.get(), ConnectionRefusedError)
    client.abort()
    assert await client_side.lost is None


@calls("create_datagram_endpoint")
async def exchanges_unix_datagrams(loop):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "socket")
        server, server_side = await loop.create_datagram_endpoint(Datagrams, path, family=socket.AF_UNIX)
        client, _ = await loop.create_datagram_endpoint(Datagrams, remote_addr=path, family=socket.AF_UNIX)
        client.sendto(b"by path")
        assert (await server_side.received.get())[0] == b"by path"
        client.close()
        server.close()
        await server_side.lost


@calls("getaddrinfo", "getnameinfo")
async def resolves_names(loop):
    found = await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    assert found == socket.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    found = await loop.getaddrinfo("localhost", None, family=socket.AF_INET, type=socket.SOCK_STREAM)
    assert ("127.0.0.1", 0) in [entry[4] for entry in found]
    numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    assert await loop.getnameinfo(("127.0.0.1", 8080), numeric) == ("127.0.0.1", "8080")
    with pytest.raises(socket.gaierror):
        await loop.getaddrinfo("no.such.name.invalid", 80, flags=socket.AI_NUMERICHOST)


@calls("sendfile", "create_server", "create_connection")
async def sends_a_file(loop):
    server, port = await serve(loop, Collect, ssl=None)
    received = []
    server.close()
    server, port = await serve(loop, lambda: received.append(Collect()) or received[-1])
    transport, _ = await loop.create_connection(Collect, "127.0.0.1", port)
    with tempfile.TemporaryFile() as file:
        file.write(PAYLOAD)
        transport.write(b"before ")
        assert await loop.sendfile(transport, file, 256, 70000) == 70000
        transport.write(b" after")
        transport.close()
    assert await received[0].lost is None
    assert received[0].data == b"before " + PAYLOAD[256:70256] + b" after"
    with tempfile.TemporaryFile() as file, pytest.raises(RuntimeError, match="Transport is closing"):
        await loop.sendfile(transport, file)
    await finish(server)


@calls("sendfile", "create_server", "create_connection")
async def sends_a_file_through_tls(loop):
    """The kernel can't send through TLS: by `fallback` the file is read and written, without it that is an
    error.
    """
    received = []
    server, port = await serve(loop, lambda: received.append(Collect()) or received[-1], ssl=server_context())
    transport, _ = await loop.create_connection(
        Collect, "127.0.0.1", port, ssl=client_context(), server_hostname="localhost"
    )
    with tempfile.TemporaryFile() as file:
        file.write(PAYLOAD)
        with pytest.raises(RuntimeError, match="fallback is disabled"):
            await loop.sendfile(transport, file, fallback=False)
        file.seek(0)  # 3.11 starts from where the file stands when the offset is 0
        assert await loop.sendfile(transport, file) == len(PAYLOAD)
    transport.close()
    assert await received[0].lost is None
    assert received[0].data == PAYLOAD
    await finish(server)
