"""Programs that asyncio's TLS fails, and what comes of them here."""

import asyncio
import socket
import ssl

from tests.certs import CA, SERVER, client_context, server_context

from .ends import Sizes, dialled, pair, plain


async def two_closes(log):
    async with pair([]) as (_near, far):
        transport = far.transport
        transport.close()
        transport.close()
        for call in (
            lambda: type(transport.get_extra_info("ssl_object")).__name__,
            transport.is_closing,
            lambda: transport.write(b"x"),
            lambda: transport.writelines([b"x"]),
            transport.is_reading,
            transport.get_protocol,
            transport.get_write_buffer_size,
            transport.abort,
        ):
            try:
                call()
                log.append("ok")
            except Exception as error:
                log.append(plain(error))


async def close_after_the_end(log):
    async with pair([]) as (near, far):
        near.transport.close()
        await far.done
        far.transport.close()
        log.append(str(far.transport.get_extra_info("peername")))
        log.append(type(far.transport.get_extra_info("ssl_object")).__name__)
        far.transport.write(b"x")


async def streams(handler, server=None):
    server = await asyncio.start_server(handler, "127.0.0.1", 0, ssl=server or server_context())
    address = server.sockets[0].getsockname()
    return server, address


async def connected(address):
    return await asyncio.open_connection(*address, ssl=client_context(), server_hostname="localhost")


async def drains(writer):
    try:
        await asyncio.wait_for(writer.drain(), 0.3)
        return "drained"
    except TimeoutError:
        return "waits"


async def drain_with_no_buffer(log):
    server, address = await streams(lambda reader, writer: reader.read())
    _, writer = await connected(address)
    writer.transport.set_write_buffer_limits(high=0)
    for _ in range(4):
        writer.write(b"x")
        log.append(await drains(writer))
    writer.transport.abort()
    server.close()


async def drain_after_much(log):
    def paused(reader, writer):
        writer.transport.pause_reading()
        kept.append(writer)

    kept = []
    server, address = await streams(paused)
    _, writer = await connected(address)
    writer.write(b"x" * 20_000_000)
    log.append(await drains(writer))
    size = writer.transport.get_write_buffer_size()
    log.append(f"{10_000_000 < size <= 20_100_000}")
    writer.transport.abort()
    kept[0].transport.abort()
    server.close()


async def close_while_the_peer_sends(log):
    ended = asyncio.Event()

    async def handler(reader, writer):
        writer.write(b"x" * 1000)
        await writer.drain()
        await reader.read()
        writer.close()
        await writer.wait_closed()
        log.append("server closed")
        ended.set()

    server, address = await streams(handler)
    _, writer = await connected(address)
    writer.close()
    await writer.wait_closed()
    await ended.wait()
    log.append("client closed")
    server.close()


async def reply_after_the_peers_end(log):
    async def handler(reader, writer):
        request = await reader.read()
        await asyncio.sleep(0.2)
        writer.write(b"reply to " + request)
        await writer.drain()
        writer.close()

    server, address = await streams(handler)
    log.append(await asyncio.get_running_loop().run_in_executor(None, half_closing, address))
    server.close()


def half_closing(address):
    """A client that ends its side of TLS, and reads on."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(address, 10) as sock:

        def step(function):
            while True:
                try:
                    return function()
                except ssl.SSLWantReadError:
                    sock.sendall(outgoing.read())
                    incoming.write(sock.recv(65536))

        step(tls.do_handshake)
        tls.write(b"request")
        try:
            tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        sock.sendall(outgoing.read())
        try:
            return step(lambda: tls.read(100)).decode()
        except ssl.SSLError as error:
            return plain(error)


async def alert(log):
    context = server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(CA)
    server, address = await streams(lambda reader, writer: None, context)
    outcome = await asyncio.get_running_loop().run_in_executor(
        None, dialled, address, client_context(), lambda sock: sock.recv(1)
    )
    log.append(str("ALERT" in outcome.upper()))
    server.close()


async def clients_closed_by_the_server(log):
    if not hasattr(asyncio.Server, "close_clients"):
        log.append("b''")
        return
    server, address = await streams(lambda reader, writer: asyncio.sleep(0))
    loop = asyncio.get_running_loop()
    reading = loop.run_in_executor(None, dialled, address, client_context(), lambda sock: sock.recv(1))
    await asyncio.sleep(0.3)
    server.close_clients()
    log.append(plain(await reading))
    server.close()


async def hello_in_the_stream(log):
    async def handler(reader, writer):
        log.append(repr(await reader.readline()))
        await asyncio.sleep(0.2)
        await writer.start_tls(server_context(), ssl_handshake_timeout=2)
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    def client(address):
        with socket.create_connection(address, 10) as sock:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
            early = b"STARTTLS\n"
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    sock.sendall(early + outgoing.read())
                    early = b""
                    incoming.write(sock.recv(65536))
            tls.write(b"hello\n")
            sock.sendall(outgoing.read())
            while True:
                try:
                    return repr(tls.read(100))
                except ssl.SSLWantReadError:
                    incoming.write(sock.recv(65536))

    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    log.append(await asyncio.get_running_loop().run_in_executor(None, client, address))
    server.close()


async def records_of_a_turn(log):
    """A client's records, as a relay below it sees them."""
    sizes = []

    class Tap(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport, self.seen = transport, Sizes()
            self.far = None
            connecting.append(asyncio.ensure_future(self.connect()))

        async def connect(self):
            tap = self

            class Back(asyncio.Protocol):
                def data_received(self, data):
                    tap.transport.write(data)

            self.transport.pause_reading()
            self.far, _ = await loop.create_connection(Back, *server.sockets[0].getsockname())
            self.transport.resume_reading()

        def data_received(self, data):
            sizes.extend(self.seen.feed(data))
            self.far.write(data)

    loop, connecting = asyncio.get_running_loop(), []
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=server_context())
    tap = await loop.create_server(Tap, "127.0.0.1", 0)
    _, writer = await connected(tap.sockets[0].getsockname())
    await asyncio.sleep(0.1)
    sizes.clear()
    writer.write(b"x" * 10)
    writer.writelines([b"x" * 5, b"x" * 6])
    writer.write(b"x" * 40000)
    writer.writelines([b"", b"x"])
    await asyncio.sleep(0.2)
    log.append(str(sizes))
    sizes.clear()
    writer.write(b"x" * 100_000)
    await asyncio.sleep(0.2)
    log.append(str(sizes))
    writer.transport.abort()
    server.close()
    tap.close()
    for task in connecting:
        await task


async def reply_in_eof_received(log):
    async with pair(log, {"eof": lambda end: end.transport.write(b"reply")}) as (_near, far):
        far.transport.close()
        await far.done
    log[:] = [event for event in log if event.startswith("c.")]


async def close_in_connection_made(log):
    async with pair(log, {"made": lambda end: end.transport.close()}) as (near, far):
        far.transport.write(b"hi")
        await near.done
    log[:] = [event for event in log if event.startswith("s.")]


async def written_then_aborted(log):
    async with pair(log) as (near, far):
        log.clear()
        near.transport.write(b"12345678")
        near.transport.abort()
        await far.done
        log[:] = [event for event in log if event.startswith("c.data")]


async def written_then_raised(log):
    def raises(end):
        end.transport.write(b"12345")
        raise ValueError("no")

    events = []
    async with pair(events, {"data": raises}) as (_near, far):
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        far.transport.write(b"x")
        await far.done
    log.extend(event for event in events if event.startswith("c.data"))


async def tls_over_tls(log):
    async def outer(reader, writer):
        log.append(repr(await reader.readline()))
        writer.write(b"ok\n")
        await writer.drain()
        await writer.start_tls(server_context())
        writer.write(await reader.readexactly(300_000))
        await writer.drain()
        writer.close()

    server, address = await streams(outer)
    reader, writer = await connected(address)
    writer.write(b"again\n")
    log.append(repr(await reader.readline()))
    await writer.start_tls(client_context(), server_hostname="localhost")
    writer.write(b"x" * 300_000)
    await writer.drain()
    log.append(str(await reader.readexactly(300_000) == b"x" * 300_000))
    log.append(repr(await reader.read()))
    writer.close()
    await writer.wait_closed()
    server.close()


async def object_of_a_class_of_the_users(log):
    class Counting(ssl.SSLObject):
        reads = 0

        def read(self, *arguments):
            Counting.reads += 1
            return super().read(*arguments)

    class Named(ssl.SSLObject):
        pass

    for kind in (Counting, Named):
        ours = client_context()
        ours.sslobject_class = kind
        async with pair([], {}, {}, (server_context(), ours)) as (near, far):
            near.transport.write(b"hello")
            while not far.size:
                await asyncio.sleep(0.01)
            log.append(f"{type(far.transport.get_extra_info('ssl_object')).__name__} {far.size}")
    log.append(str(Counting.reads > 0))


async def context_changed_by_name(log):
    names = []
    other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    other.load_cert_chain(SERVER)
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def by_name(found, name, context):
        names.append((type(found).__name__, name))
        found.context = other

    theirs.sni_callback = by_name
    async with pair([], {}, {}, (theirs, client_context())) as (near, far):
        near.transport.write(b"hello")
        while not far.size:
            await asyncio.sleep(0.01)
    log.append(str(names))


EXPECTED = {
    "two_closes": ["ok"] * 8,
    "close_after_the_end": ["None", "SSLObject"],
    "drain_with_no_buffer": ["drained"] * 4,
    "drain_after_much": ["waits", "True"],
    "close_while_the_peer_sends": ["server closed", "client closed"],
    "reply_after_the_peers_end": ["reply to request"],
    "alert": ["True"],
    "clients_closed_by_the_server": ["b''"],
    "hello_in_the_stream": ["b'STARTTLS\\n'", "b'hello\\n'"],
    "records_of_a_turn": [
        "[16384, 16384, 7254]",
        "[4096, 16384, 16384, 16384, 16384, 16384, 13984]",
    ],
    "reply_in_eof_received": ["c.made", "c.eof", "c.lost None"],
    "close_in_connection_made": ["s.made", "s.eof", "s.lost None"],
    "written_then_aborted": ["c.data 8"],
    "written_then_raised": ["c.data 5"],
    "tls_over_tls": ["b'again\\n'", "b'ok\\n'", "True", "b''"],
    "object_of_a_class_of_the_users": ["Counting 5", "Named 5", "True"],
    "context_changed_by_name": ["[('SSLObject', 'localhost')]"],
}
PROGRAMS = [globals()[name] for name in EXPECTED]
