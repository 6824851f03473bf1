"""Arguments given by name, unusual values of options, and what stands for a loop's and a transport's inside."""

import asyncio
import math
import sys

from .harness import Recorder, connect, parity, settle


async def nothing():
    return "nothing"


@parity
def test_callbacks_by_name(h):
    loop = h.loop
    loop.call_soon(callback=lambda: h.log("call_soon"))
    loop.call_soon_threadsafe(callback=lambda: h.log("call_soon_threadsafe"))
    loop.call_later(delay=0, callback=lambda: h.log("call_later"))
    loop.call_later(0, callback=lambda: h.log("call_later, the callback alone"))
    loop.call_at(when=loop.time() - 1, callback=lambda: h.log("call_at"), context=None)
    h.turns(2)
    h.complete(loop.create_task(coro=nothing(), name="by name"))


@parity
def test_wrong_names(h):
    for call in (h.loop.call_soon, h.loop.call_soon_threadsafe, h.loop.call_later, h.loop.call_at):
        h.attempt(call)
        h.attempt(call, context=None)
        h.attempt(call, callback=print)
        try:
            call(1, print, callback=print)
        except TypeError:
            h.log("TypeError")
    h.attempt(h.loop.call_later, print, delay=1)
    h.attempt(h.loop.call_soon, callback=print, other=1)
    h.attempt(h.loop.create_task)
    h.attempt(h.loop.create_task, name="nameless")
    h.turns()


@parity
async def test_options_of_create_connection(h):
    server = await h.loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    for options in (
        {"ssl": False},
        {"ssl_handshake_timeout": 0},
        {"ssl_shutdown_timeout": 0},
        {"server_hostname": ""},
        {"sock": False},
        {"local_addr": 0},
        {"family": False, "proto": 0},
        {"unheard_of": None},
    ):
        try:
            transport, _ = await h.loop.create_connection(asyncio.Protocol, *address, **options)
        except Exception as error:
            h.log(options, error)
        else:
            h.log(options, transport.get_extra_info("peername") == address)
            transport.abort()
    server.close()
    await settle()


@parity
async def test_any_address_as_the_one_to_connect_to(h):
    server = await h.loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transport, _ = await h.loop.create_connection(asyncio.Protocol, "0.0.0.0", port)
    h.log(transport.get_extra_info("peername"))
    transport.abort()
    server.close()
    await settle()


@parity
async def test_an_address_that_cannot_be_connected_to(h):
    """Refused by the call, and refused by the network: the texts differ."""
    await h.wait(h.loop.create_connection(asyncio.Protocol, "255.255.255.255", 9))
    await h.wait(h.loop.create_connection(asyncio.Protocol, "127.0.0.1", 0))


@parity
async def test_unusual_marks_of_flow_control(h):
    transport, protocol, far = await connect(h)
    for high in (math.inf, 1e30, 10.5, True, 2**63, 2**64 - 1, 2**80, 7, -1, "text"):
        h.attempt(transport.set_write_buffer_limits, high=high, low=0)
        h.log(transport.get_write_buffer_limits(), transport._high_water, transport._low_water)
    for high in (10.5, 2**80, True):
        h.attempt(transport.set_write_buffer_limits, high=high)
        h.log(transport.get_write_buffer_limits())
    h.attempt(transport.set_write_buffer_limits)
    h.log(transport.get_write_buffer_limits())
    transport.write(b"data")
    await settle()
    h.log(far.recv(10))
    transport.abort()
    await protocol.lost


@parity
async def test_arguments_of_transports_by_name(h):
    transport, protocol, far = await connect(h)
    transport.write(data=b"one")
    transport.writelines(list_of_data=[b"two", b"three"])
    transport.set_protocol(protocol=protocol)
    await settle()
    h.log(far.recv(100))
    for method in (transport.write, transport.writelines, transport.set_protocol):
        for arguments, keywords in [((), {}), ((b"", b""), {}), ((b"",), {"other": 1}), ((), {"other": 1})]:
            try:
                method(*arguments, **keywords)
            except TypeError:
                h.log("TypeError")
    transport.abort()
    await protocol.lost


@parity
async def test_names_for_extra_info(h):
    transport, protocol, _ = await connect(h)
    for name in (3, None, ()):
        h.attempt(transport.get_extra_info, name, "nothing")
    try:
        transport.get_extra_info([])
    except TypeError:
        h.log("TypeError")
    transport.abort()
    await protocol.lost


@parity
async def test_a_transport_takes_attributes(h):
    transport, protocol, _ = await connect(h)
    transport.added = 5
    h.log(vars(transport)["added"], transport.added, hasattr(transport, "__dict__"))
    transport.abort()
    await protocol.lost


@parity
async def test_writelines_of_what_cannot_be_iterated(h):
    transport, protocol, far = await connect(h)
    # Of [b"a", "text"], 3.15 keeps b"a" for whatever is sent next: docs/explanation/differences.md.
    for lines in (None, 0, 5, "text", ["text"] if sys.version_info >= (3, 15) else [b"a", "text"]):
        h.attempt(transport.writelines, lines)
    transport.writelines(iter([b"a", b"b"]))
    await settle()
    h.log(far.recv(10))
    transport.abort()
    await protocol.lost


@parity
async def test_the_transports_of_a_loop(h):
    transport, protocol, _ = await connect(h)
    known = h.loop._transports
    fd = transport.get_extra_info("socket").fileno()
    h.log(len(known), bool(known), list(known) == [fd], list(known.keys()) == [fd], known.get(-1))
    h.log(list(known.values()) == [transport], list(known.items()) == [(fd, transport)])
    h.log([reference() is transport for reference in known.valuerefs()], dict(known) == {fd: transport})
    h.log([reference() is transport for reference in known.itervaluerefs()], len(known.copy()))
    transport.abort()
    await protocol.lost


def connected(h):
    """A transport whose loop does not run, and the other end of its connection."""
    near, far = h.socket_pair()
    protocol = Recorder(h)
    transport, _ = h.loop.run_until_complete(h.loop.create_connection(lambda: protocol, sock=near))
    return transport, far


@parity
def test_a_write_while_the_loop_does_not_run(h):
    """asyncio's `write` sends in the call. Ours waits for the end of the turn only where there is one."""
    transport, far = connected(h)
    transport.write(b"one")
    h.log(far.recv(10))
    transport.writelines([b"t", b"wo"])
    h.log(far.recv(10))
    h.turns()
    transport.write(b"three")
    h.loop.close()
    h.log(far.recv(10))


@parity
def test_a_write_before_an_exception_that_leaves_the_loop(h):
    transport, far = connected(h)

    def leave():
        transport.write(b"written")
        raise SystemExit(3)

    h.loop.call_soon(leave)
    h.turns()
    h.log(far.recv(10))
    transport.abort()
    h.turns(2)
