"""Datagram endpoints: calls and their order, errors, flow control, what a transport tells of itself, its end."""

import asyncio
import os
import socket
import sys
import tempfile
import weakref

from .harness import parity, settle, since

HERE = ("127.0.0.1", 0)


class Datagrams(asyncio.DatagramProtocol):
    """Notes each call in the history, by the protocol's name, and does what is set for it."""

    def __init__(self, run, name="protocol"):
        self.run, self.name, self.hooks, self.senders = run, name, {}, []
        self.lost = run.loop.create_future()

    def _see(self, what, *values):
        self.run.log(self.name, what, *values)
        if what in self.hooks:
            self.hooks[what](*values)

    def connection_made(self, transport):
        self.transport = transport
        self._see(
            "made", isinstance(transport, asyncio.DatagramTransport), isinstance(transport, asyncio.Transport)
        )

    def datagram_received(self, data, addr):
        self.senders.append(addr)
        self._see("datagram", data[:20], len(data))

    def error_received(self, exc):
        self._see("error", exc)

    def pause_writing(self):
        self._see("pause")

    def resume_writing(self):
        self._see("resume")

    def connection_lost(self, exc):
        self._see("lost", exc)
        if not self.lost.done():
            self.lost.set_result(None)


async def endpoint(h, name="protocol", **options):
    protocol = Datagrams(h, name)
    transport, _ = await h.loop.create_datagram_endpoint(
        lambda: protocol, **(options or {"local_addr": HERE})
    )
    h.opened.callback(lambda: transport._sock and transport._sock.close())
    return transport, protocol, transport.get_extra_info("sockname")


def udp(h, connected_to=None):
    """A plain socket at the far end."""
    sock = h.opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.bind(HERE)
    sock.settimeout(10)
    if connected_to:
        sock.connect(connected_to)
    return sock


async def end(*pairs):
    for transport, protocol in pairs:
        transport.abort()
        await protocol.lost
    await settle()


async def until(condition, pause=0.001):
    for _ in range(1000):
        await asyncio.sleep(pause)
        if condition():
            break


@parity
async def test_each_datagram_has_a_turn_of_its_own(h):
    transport, protocol, at = await endpoint(h)
    protocol.hooks["datagram"] = lambda data, size: h.loop.call_soon(h.log, "soon after", data)
    far = udp(h, at)
    for number in range(70):
        far.send(b"%d" % number)
    await until(lambda: len(protocol.senders) == 70, pause=0)
    await settle()
    h.log(set(protocol.senders) == {far.getsockname()}, transport)
    await end((transport, protocol))


@parity
async def test_two_endpoints_talk(h):
    server, seen, at = await endpoint(h, "server")
    client, asked, _ = await endpoint(h, "client", remote_addr=at)
    seen.hooks["datagram"] = lambda data, size: server.sendto(b"re " + data, seen.senders[-1])
    for number in range(5):
        client.sendto(b"%d" % number)
        await settle()
    h.log(
        client.get_extra_info("peername") == at, server.get_extra_info("peername"), asked.senders == [at] * 5
    )
    h.log(server, client)
    await end((client, asked), (server, seen))


@parity
async def test_what_sendto_takes(h):
    transport, protocol, _ = await endpoint(h)
    far = udp(h)
    there = far.getsockname()
    for data in (b"bytes", bytearray(b"array"), memoryview(b"view"), type("B", (bytes,), {})(b"derived")):
        h.attempt(transport.sendto, data, there)
        h.log(far.recv(100))
    h.attempt(transport.sendto, data=b"by name", addr=there)
    h.log(far.recv(100))
    for bad in ("text", None, 5, [b"x"], object):
        h.attempt(transport.sendto, bad, there)
    await end((transport, protocol))


@parity
async def test_addresses_that_are_none(h):
    for bad in (
        None,
        "text",
        (),
        ("127.0.0.1",),
        ("127.0.0.1", 1, 2, 3),
        ("127.0.0.1", "1"),
        ("127.0.0.1", -1),
    ):
        transport, protocol, _ = await endpoint(h)
        h.loop.set_exception_handler(
            lambda loop, context: h.log(context["message"], context["exception"], sorted(context))
        )
        h.attempt(transport.sendto, b"x", bad)
        h.log(transport.is_closing())
        await settle()
        await end((transport, protocol)) if not protocol.lost.done() else await settle()


@parity
async def test_a_name_and_its_like(h):
    transport, protocol, _ = await endpoint(h)
    far = udp(h)
    port = far.getsockname()[1]
    for host in ("localhost", "127.1", "127.0.0.1"):
        h.attempt(transport.sendto, host.encode(), (host, port))
        h.log(far.recv(100))
    h.attempt(transport.sendto, b"true", ("127.0.0.1", type("I", (int,), {})(port)))
    h.log(far.recv(100))
    await end((transport, protocol))


@parity
async def test_an_endpoint_for_one_peer(h):
    far = udp(h)
    transport, protocol, _ = await endpoint(h, remote_addr=far.getsockname())
    transport.sendto(b"none")
    transport.sendto(b"same", far.getsockname())
    h.log(far.recv(100), far.recv(100))
    for other in (("127.0.0.1", 1), ("localhost", 1), "text", 5, list(far.getsockname())):
        try:
            transport.sendto(b"other", other)
        except ValueError as error:
            h.log(str(error).partition("(")[0])
    await settle()
    transport.close()
    for _ in range(8):
        transport.sendto(b"after close")
    await protocol.lost
    await settle()
    transport.sendto(b"after the end")
    h.log(transport)


@parity
async def test_a_refused_datagram_is_told(h):
    far = udp(h)
    at = far.getsockname()
    transport, protocol, _ = await endpoint(h, remote_addr=at)
    far.close()
    for _ in range(3):
        transport.sendto(b"nobody there")
        h.log("sent")
        await settle()
    transport.sendto(b"one")
    transport.sendto(b"finds the error of the one before")
    await settle()
    await end((transport, protocol))


@parity
async def test_an_error_comes_before_what_was_received(h):
    transport, protocol, at = await endpoint(
        h, sock=None, local_addr=HERE, remote_addr=(far := udp(h)).getsockname()
    )
    far.connect(at)
    sent = []

    def answer(data, size):
        if not sent:
            sent.append(data)
            far.close()
            transport.sendto(b"nobody there any more")

    protocol.hooks["datagram"] = answer
    for number in range(4):
        far.send(b"%d" % number)
    await until(lambda: len(protocol.senders) == 4)
    await end((transport, protocol))


@parity
async def test_too_large(h):
    transport, protocol, _ = await endpoint(h)
    far = udp(h)
    transport.sendto(bytes(70_000), far.getsockname())
    transport.sendto(bytes(60_000), far.getsockname())
    h.log(len(far.recv(70_000)))
    await end((transport, protocol))


@parity
async def test_slots_that_raise(h):
    h.loop.set_exception_handler(
        lambda loop, context: h.log("handler", context["message"], context.get("exception"), sorted(context))
    )
    far = udp(h)
    transport, protocol, at = await endpoint(h, sock=None, local_addr=HERE, remote_addr=far.getsockname())
    far.connect(at)

    def fails(*_):
        raise ValueError("in the protocol")

    protocol.hooks.update(datagram=fails, error=fails, lost=fails)
    for number in range(3):
        far.send(b"%d" % number)
    await settle()
    await settle()
    far.close()
    transport.sendto(b"nobody there")
    await settle()
    transport.sendto(b"nobody there")
    h.attempt(transport.sendto, b"raises what error_received does")
    await settle()
    h.log(transport.is_closing())
    transport.close()
    await settle()
    h.log(transport)


@parity
async def test_close_and_abort_in_a_callback(h):
    for how in ("close", "abort"):
        transport, protocol, at = await endpoint(h, how)
        far = udp(h, at)
        protocol.hooks["datagram"] = lambda data, size, transport=transport, how=how: getattr(
            transport, how
        )()
        for number in range(4):
            far.send(b"%d" % number)
        await settle()
        h.log(transport, transport.is_closing(), transport.get_extra_info("sockname") == at)


@parity
async def test_pause_and_resume_reading(h):
    transport, protocol, at = await endpoint(h)
    far = udp(h, at)

    def pause(data, size):
        transport.pause_reading()
        h.log(transport.is_reading(), transport)
        h.loop.call_later(0.01, transport.resume_reading)

    protocol.hooks["datagram"] = pause
    for number in range(4):
        far.send(b"%d" % number)
    await asyncio.sleep(0.2)
    h.log(transport.is_reading())
    await end((transport, protocol))


def unix_pair(h):
    near, far = (h.opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) for _ in range(2))
    far.bind("")  # the kernel finds a name: to a peer that has none, asyncio sends nothing without an address
    near.connect(far.getsockname())
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    far.setblocking(False)
    return near, far


async def fill(h, transport):
    count = 0
    while not transport.get_write_buffer_size() and count < 1000:
        transport.sendto(b"%03d" % count + bytes(100))
        count += 1
    h.log("full", transport.get_write_buffer_size(), transport)
    return count


async def take(far, count):
    got = []
    for _ in range(2000):
        try:
            got.append(far.recv(1 << 20)[:3])
        except BlockingIOError:
            await asyncio.sleep(0)
        if len(got) == count:
            break
    return got


@parity
async def test_flow_control(h):
    near, far = unix_pair(h)
    transport, protocol, _ = await endpoint(h, sock=near)
    transport.set_write_buffer_limits(high=400, low=150)
    h.log(transport.get_write_buffer_limits())
    count = await fill(h, transport)
    for _ in range(5):
        transport.sendto(b"%03d" % count + bytes(100))
        count += 1
        h.log(transport.get_write_buffer_size())
    got = await take(far, count)
    h.log(got == [b"%03d" % number for number in range(count)])
    await settle()
    h.log(
        transport.get_write_buffer_size() == 0 or sys.version_info[:3] == (3, 13, 0), transport.is_closing()
    )
    await end((transport, protocol))


@parity
async def test_close_sends_what_waits(h):
    near, far = unix_pair(h)
    transport, protocol, _ = await endpoint(h, sock=near)
    count = await fill(h, transport)
    for _ in range(4):
        transport.sendto(b"%03d" % count + bytes(100))
        count += 1
    transport.close()
    h.log(transport)
    got = await take(far, count)
    h.log(got == [b"%03d" % number for number in range(count)])
    await protocol.lost
    h.log(transport)


@parity
async def test_abort_drops_what_waits(h):
    near, far = unix_pair(h)
    transport, protocol, _ = await endpoint(h, sock=near)
    count = await fill(h, transport)
    transport.abort()
    h.log(transport)
    await protocol.lost
    h.log(len(await take(far, count - 1)) == count - 1)


@parity
async def test_the_end_of_the_peer_while_some_wait(h):
    near, far = unix_pair(h)
    transport, protocol, _ = await endpoint(h, sock=near)
    await fill(h, transport)
    for _ in range(3):
        transport.sendto(bytes(50))
    far.close()
    await until(lambda: not transport._buffer)
    await settle()
    h.log(transport.get_write_buffer_size() == 0 or sys.version_info[:3] == (3, 13, 0))
    await end((transport, protocol))


@parity
async def test_marks_that_are_no_numbers_of_bytes(h):
    transport, protocol, _ = await endpoint(h)
    h.attempt(transport.set_write_buffer_limits, high=float("inf"))
    h.log(transport.get_write_buffer_limits())
    h.attempt(transport.set_write_buffer_limits, 1, 2)
    h.attempt(transport.set_write_buffer_limits, 0)
    h.log(transport.get_write_buffer_limits())
    await end((transport, protocol))


@parity(debug=(False,))  # in debug mode the log has the folder's name
async def test_unix_addresses(h):
    with tempfile.TemporaryDirectory() as folder:
        path, hidden = os.path.join(folder, "a"), f"\0parity datagrams {os.getpid()}"
        here, one, _ = await endpoint(h, "path", family=socket.AF_UNIX, local_addr=path)
        there, two, _ = await endpoint(h, "hidden", family=socket.AF_UNIX, local_addr=hidden)
        nameless = h.opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        here.sendto(b"to hidden", hidden)
        here.sendto(b"to hidden", hidden.encode())
        there.sendto(b"to path", path)
        there.sendto(b"to path", path.encode())
        nameless.sendto(b"from nobody", path)
        here.sendto(b"to nothing", path + "nothing")
        await settle()
        await settle()
        h.log([sender and sender.replace(hidden.encode(), b"hidden") for sender in one.senders])
        h.log([sender == path for sender in two.senders])
        await end((here, one), (there, two))


@parity
async def test_arguments(h):
    stream = h.opened.enter_context(socket.socket())
    for options in (
        {},
        {"sock": stream},
        {"sock": udp(h), "local_addr": HERE},
        {"local_addr": "127.0.0.1"},
        {"local_addr": ("127.0.0.1", 0, 0)},
        {"local_addr": ("127.0.0.1", 0), "family": socket.AF_INET6},
        {"family": socket.AF_UNIX, "local_addr": 5},
        {"family": socket.AF_UNIX, "remote_addr": "/nowhere"},
        {"local_addr": ("1.2.3.4", 5)},
        {"local_addr": HERE, "no_such": 1},
    ):
        try:
            made = await h.loop.create_datagram_endpoint(lambda: Datagrams(h), **options)
        except (OSError, TypeError, ValueError) as error:
            h.log(type(error), getattr(error, "errno", None))
        else:
            h.log("made", made[0])
            made[0].abort()
            await made[1].lost


@parity
async def test_options(h):
    one, p, at = await endpoint(h, "one", local_addr=HERE, reuse_port=True)
    two, q, _ = await endpoint(h, "two", local_addr=at, reuse_port=True)
    three, r, _ = await endpoint(h, "three", local_addr=HERE, allow_broadcast=True, remote_addr=at)
    sock = three.get_extra_info("socket")
    h.log(
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST), three.get_extra_info("peername"), sock.type
    )
    four, s, _ = await endpoint(h, "four", family=socket.AF_INET)
    h.log(three.get_extra_info("nothing", 5), type(sock), four)
    await end((one, p), (two, q), (three, r), (four, s))


@parity
async def test_connection_made_that_acts(h):
    far = udp(h)
    for deed in ("sendto", "close", "abort", "raise"):
        protocol = Datagrams(h, deed)
        h.loop.set_exception_handler(lambda loop, context: h.log(context["message"], context["exception"]))

        def made(*_, protocol=protocol, deed=deed):
            if deed == "raise":
                raise ValueError(deed)
            getattr(protocol.transport, deed)(*([b"at once", far.getsockname()] if deed == "sendto" else []))

        protocol.hooks["made"] = made
        transport, _ = await h.loop.create_datagram_endpoint(lambda p=protocol: p, local_addr=HERE)
        h.log(transport)
        await settle()
        if not transport.is_closing():
            await end((transport, protocol))
        h.log(transport)
    h.log(far.recv(100))


@parity
async def test_a_transport_that_is_dropped(h):
    transport, protocol, _ = await endpoint(h)
    transport.pause_reading()
    protocol.transport = None
    gone = weakref.ref(transport)
    h.opened.pop_all()  # it has the transport
    protocol.lost.cancel()
    del transport, protocol
    await settle()
    h.log(gone() is None)


@parity
async def test_attributes(h):
    transport, protocol, _ = await endpoint(h)
    names = (
        "_address",
        "_buffer",
        "_buffer_size",
        "_closing",
        "_conn_lost",
        "_paused",
        "_protocol_paused",
        "_server",
    )
    h.log({name: getattr(transport, name) for name in names}, transport.max_size)
    h.log(transport._loop is h.loop, transport._protocol is protocol, transport.get_protocol() is protocol)
    h.log(h.loop._transports[transport._sock_fd] is transport)
    h.attempt(h.loop.add_reader, transport._sock_fd, print)
    for call in ("write", "writelines", "write_eof", "can_write_eof", "no_such"):
        try:
            getattr(transport, call)(*[b""] * call.endswith(("e", "s")))
        except Exception as error:
            h.log(call, type(error))
    transport.mine = 5
    other = Datagrams(h, "other")
    transport.set_protocol(other)
    udp(h, transport.get_extra_info("sockname")).send(b"for the other")
    await settle()
    await end((transport, other))
    h.log({name: getattr(transport, name) for name in names if name != "_buffer"}, transport.mine)


@since(3, 12)
@parity
async def test_context(h):
    import contextvars

    var = contextvars.ContextVar("var", default="outside")
    var.set("made")
    transport, protocol, at = await endpoint(h)
    far = udp(h, at)

    def see(*_):
        h.log(var.get())
        var.set(var.get() + "+")

    protocol.hooks["datagram"] = see
    for number in range(3):
        far.send(b"%d" % number)
    await settle()
    var.set("resumed")
    transport.pause_reading()
    transport.resume_reading()
    far.send(b"again")
    await settle()
    await end((transport, protocol))
