"""Stream transports: protocols that fail, what a transport tells of itself, its end."""

import asyncio
import gc
import socket
import weakref

from .harness import BufferedRecorder, Recorder, connect, parity, settle


@parity
async def test_pause_writing_that_fails(h):
    protocol = Recorder(h)

    def fails():
        raise ValueError("in pause_writing")

    protocol.hooks["pause_writing"] = fails
    h.loop.set_exception_handler(lambda loop, context: h.log("handler", list(context), context["exception"]))
    transport, _, far = await connect(h, protocol=protocol)
    transport.write(b"x" * 5_000_000)
    h.log("went on")
    transport.abort()
    await protocol.lost
    far.close()


@parity
async def test_protocol_calls_that_fail(h):
    h.loop.set_exception_handler(
        lambda loop, context: h.log("handler", context["message"], context.get("exception"), sorted(context))
    )

    def fails(*_):
        raise ValueError("in the protocol")

    for name in ("data_received", "eof_received", "connection_lost"):
        transport, protocol, far = await connect(h)
        protocol.hooks[name] = fails
        far.send(b"x")
        await settle()
        far.close()
        await settle()
        h.log(name, transport.is_closing())
        transport.abort()
        await settle()


@parity
async def test_connection_made_that_fails(h):
    h.loop.set_exception_handler(
        lambda loop, context: h.log("handler", context["message"], context.get("exception"), sorted(context))
    )

    held = []

    def fails(transport):
        held.append(transport)
        raise ValueError("in connection_made")

    protocol = Recorder(h)
    protocol.hooks["made"] = fails
    transport, _, far = await connect(h, protocol=protocol)
    h.log("connected all the same", transport is held[0])
    far.send(b"x")
    await settle()
    transport.close()
    await settle()


@parity
async def test_extra_info(h):
    transport, protocol, _far = await connect(h, socket.AF_INET)
    for name in ("peername", "sockname", "compression", "cipher", "sslcontext", "pipe", "nonsense"):
        h.log(name, transport.get_extra_info(name))
    h.log(transport.get_extra_info("nonsense", "default"), transport.get_extra_info("peername", "default"))
    sock = transport.get_extra_info("socket")
    h.log(sock.family, sock.type, sock.proto, sock.gettimeout(), sock.fileno() >= 0)
    h.log(sock.getsockname() == transport.get_extra_info("sockname"))
    h.log(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0)
    transport.close()
    await protocol.lost
    h.log(sock.fileno(), transport.get_extra_info("peername") is not None)


@parity
async def test_the_socket_it_hands_out(h):
    transport, protocol, _far = await connect(h, socket.AF_INET)
    sock = transport.get_extra_info("socket")
    h.log(type(sock).__name__)
    for name in (
        "send",
        "sendall",
        "recv",
        "close",
        "detach",
        "connect",
        "accept",
        "makefile",
        "sendto",
        "recv_into",
    ):
        h.log(name, hasattr(sock, name))
    h.log(sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1))
    h.attempt(sock.settimeout, 0)
    h.attempt(sock.settimeout, 5)
    h.attempt(sock.setblocking, False)
    h.attempt(sock.setblocking, True)
    duplicate = sock.dup()
    h.log(type(duplicate).__name__, duplicate.fileno() != sock.fileno())
    duplicate.close()
    transport.close()
    await protocol.lost


@parity
async def test_repr_by_state(h):
    transport, protocol, far = await connect(h)
    h.log(transport)
    await h.idle()
    h.log(transport)
    transport.pause_reading()
    h.log(transport)
    transport.resume_reading()
    far.settimeout(0)
    transport.write(b"x" * 5_000_000)
    h.log(h.plain.text(repr(transport)).replace(str(transport.get_write_buffer_size()), "SIZE"))
    transport.abort()
    h.log(transport)
    await protocol.lost
    h.log(transport)


@parity
async def test_types(h):
    transport, protocol, _far = await connect(h)
    for base in (asyncio.Transport, asyncio.ReadTransport, asyncio.WriteTransport, asyncio.BaseTransport):
        h.log(isinstance(transport, base))
    h.log(weakref.ref(transport)() is transport, hash(transport) == hash(transport))
    transport.attribute = "free"
    h.log(transport.attribute)
    transport.close()
    await protocol.lost


@parity
async def test_dropped_without_close_warns(h):
    near, _far = h.socket_pair()
    transport, protocol = await h.loop.create_connection(asyncio.Protocol, sock=near)
    transport.pause_reading()
    h.log("dropping")
    del transport, protocol
    gc.collect()
    h.log("dropped")


@parity
async def test_buffered_protocol(h):
    near, far = h.socket_pair()
    transport, protocol = await h.loop.create_connection(lambda: BufferedRecorder(h, 4), sock=near)
    far.send(b"123456789")
    await settle()
    far.close()
    await protocol.lost
    h.log(transport.is_closing())


@parity
async def test_buffered_protocol_with_bad_buffers(h):
    h.loop.set_exception_handler(
        lambda loop, context: h.log("handler", context["message"], context.get("exception"), sorted(context))
    )

    class Bad(BufferedRecorder):
        bad = None

        def get_buffer(self, sizehint):
            if isinstance(self.bad, Exception):
                raise self.bad
            return self.bad

    for bad in (bytearray(), ValueError("no buffer")):
        near, far = h.socket_pair()
        transport, protocol = await h.loop.create_connection(lambda: Bad(h), sock=near)
        protocol.bad = bad
        far.send(b"x")
        await settle()
        h.log(transport.is_closing())
        transport.abort()
        await settle()


@parity
async def test_write_inside_connection_lost_and_after(h):
    transport, protocol, far = await connect(h)
    protocol.hooks["connection_lost"] = lambda exc: (
        h.attempt(transport.write, b"x"),
        h.attempt(transport.write_eof),
        h.attempt(transport.close),
        h.attempt(transport.abort),
        h.attempt(transport.get_write_buffer_size),
        h.attempt(transport.is_reading),
    )
    transport.close()
    await protocol.lost
    h.log(far.recv(10))
    h.attempt(transport.write_eof)
    h.attempt(transport.get_protocol)
    h.log(transport.get_extra_info("socket").fileno())


@parity
async def test_the_loop_s_book_of_transports(h):
    transport, protocol, _far = await connect(h)
    descriptor = transport.get_extra_info("socket").fileno()
    h.log(h.loop._transports.get(descriptor) is transport)
    h.log(transport._sock_fd == descriptor, transport._sock is not None)
    transport.close()
    await protocol.lost
    h.log(transport._sock)


@parity
def test_closing_the_loop_under_a_transport(h):
    near, _far = h.socket_pair()
    transport, _ = h.loop.run_until_complete(h.loop.create_connection(asyncio.Protocol, sock=near))
    h.loop.close()
    h.attempt(transport.close)
    h.attempt(transport.abort)
    h.log(transport.is_closing())
