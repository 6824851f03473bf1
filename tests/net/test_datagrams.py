"""Datagram endpoints, beyond what asyncio's history says (`tests/parity/test_parity_datagrams.py`): batches, sources,
sizes, other sockets, other processes.
"""

import asyncio
import contextlib
import gc
import logging
import os
import selectors
import socket
import sys
import weakref

import aioxide
import pytest
from aioxide._loop import datagrams

from tests.support.scenarios import child

from .own_sockets import both, run

HERE = ("127.0.0.1", 0)
NATIVE = datagrams._SelectorDatagramTransport


class Keeps(asyncio.DatagramProtocol):
    """Keeps all that it is told; `seen` is called with each datagram."""

    def __init__(self, seen=lambda data, addr: None):
        self.seen, self.got, self.errors, self.flow = seen, [], [], []
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.got.append((data, addr))
        self.seen(data, addr)

    def error_received(self, exc):
        self.errors.append(exc)

    def pause_writing(self):
        self.flow.append("pause")

    def resume_writing(self):
        self.flow.append("resume")

    def connection_lost(self, exc):
        self.lost.set_result(exc)


@contextlib.asynccontextmanager
async def endpoint(seen=lambda data, addr: None, **options):
    loop = asyncio.get_running_loop()
    make = loop.create_datagram_endpoint
    transport, protocol = await make(lambda: Keeps(seen), **(options or {"local_addr": HERE}))
    try:
        yield transport, protocol, transport.get_extra_info("sockname")
    finally:
        transport.abort()
        await protocol.lost


def far_end(to=None, family=socket.AF_INET):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.settimeout(10)
    if family == socket.AF_INET:
        sock.bind(HERE)
    if to:
        sock.connect(to)
    return sock


async def until(true):
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.001)


def test_it_is_ours_and_asyncios():
    async def main():
        async with endpoint() as (transport, _, _):
            assert type(transport) is NATIVE
            assert isinstance(transport, asyncio.selector_events._SelectorDatagramTransport)

    run(main)


def test_ten_thousand_keep_their_order_and_their_senders():
    async def main():
        async with endpoint() as (transport, protocol, at):
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            with contextlib.ExitStack() as opened:
                senders = [opened.enter_context(far_end(at)) for _ in range(100)]
                for number in range(10_000):
                    senders[number % 100].send(b"%d" % number)
                    if number % 100 == 99:
                        await asyncio.sleep(0)
                await until(lambda: len(protocol.got) == 10_000)
                assert [int(data) for data, _ in protocol.got] == list(range(10_000))
                names = [sender.getsockname() for sender in senders]
                assert all(addr == names[int(data) % 100] for data, addr in protocol.got)

    run(main)


@both
def test_sizes_from_none_to_the_largest(factory):
    sizes = [0, 1, 2047, 2048, 2049, 9000, 65_507, 0, 3, 60_000] * 3

    async def main():
        async with endpoint() as (transport, protocol, at):
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            with far_end(at) as far:
                for nth, size in enumerate(sizes):
                    far.send(bytes([nth]) * size)
                    await asyncio.sleep(0.001 if size > 9000 else 0)
                await until(lambda: len(protocol.got) == len(sizes))
            assert [data for data, _ in protocol.got] == [bytes([n]) * size for n, size in enumerate(sizes)]

    run(main, factory)


def test_an_empty_datagram_is_sent_on_every_version():
    async def main():
        async with endpoint() as (one, _, _), endpoint() as (_, protocol, at):
            for data in (b"", bytearray(), memoryview(b"")):
                one.sendto(data, at)
            await until(lambda: len(protocol.got) == 3)
            assert {data for data, _ in protocol.got} == {b""}

    run(main)


def test_all_bytes_of_a_view_with_large_items_are_sent_and_counted():
    view = memoryview(b"12345678" * 2).cast("I")

    async def main():
        async with endpoint() as (one, _, _), endpoint() as (_, protocol, at):
            one.sendto(view, at)
            await until(lambda: protocol.got)
            assert protocol.got[0][0] == b"12345678" * 2
        near, far = named_pair()
        with far:
            async with endpoint(sock=near) as (transport, _, _):
                fill(transport)
                before = transport.get_write_buffer_size()
                transport.sendto(view)
                assert transport.get_write_buffer_size() - before == 16 + NATIVE._header_size

    run(main)


def named_pair():
    near, far = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
    far.bind("")
    near.connect(far.getsockname())
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    far.settimeout(10)
    return near, far


def fill(transport):
    count = 0
    while not transport.get_write_buffer_size():
        transport.sendto(b"%d" % count)
        count += 1
    return count


def test_ten_thousand_that_wait_leave_in_order():
    async def main():
        near, far = named_pair()
        far.setblocking(False)
        loop = asyncio.get_running_loop()
        async with endpoint(sock=near) as (transport, protocol, _):
            transport.set_write_buffer_limits(high=1000, low=0)
            count = fill(transport)
            for number in range(count, count + 10_000):
                transport.sendto(b"%d" % number)
            got = []
            loop.add_reader(far, lambda: got.append(int(far.recv(100))))
            await until(lambda: len(got) == count + 10_000)
            loop.remove_reader(far)
            assert got == list(range(count + 10_000)) and protocol.flow[0] == "pause"
            assert protocol.flow == ["pause", "resume"] and not transport.get_write_buffer_size()
        far.close()

    run(main)


def test_waiting_ones_with_addresses_leave_together_and_one_that_is_refused_does_not_stop_the_rest():
    async def main():
        loop = asyncio.get_running_loop()
        async with endpoint() as (transport, protocol, _):
            with far_end() as far:
                at = far.getsockname()
                # As if the kernel had been full: what waits is put there by asyncio's own rule.
                transport._buffer.extend(
                    [(b"a", at), (bytes(70_000), at), (b"b", ("localhost", at[1])), (b"c", at)]
                )
                transport._buffer_size = 70_003 + 4 * NATIVE._header_size
                loop._add_writer(transport._sock_fd, transport._sendto_ready)
                got = [await loop.run_in_executor(None, far.recv, 100) for _ in range(3)]
            assert got == [b"a", b"b", b"c"]
            assert [error.errno for error in protocol.errors] == [90]  # EMSGSIZE
            await until(lambda: not transport.get_write_buffer_size())

    run(main)


def test_a_connected_socket_sends_to_the_address_it_is_given():
    async def main():
        with far_end() as peer, far_end() as other:
            near = far_end(peer.getsockname())
            async with endpoint(sock=near) as (transport, protocol, _):
                transport.sendto(b"to other", other.getsockname())
                transport.sendto(b"to peer", peer.getsockname())
                transport.sendto(b"to peer again")
                transport.sendto(b"no address", 5)
                assert other.recv(100) == b"to other"
                assert [peer.recv(100) for _ in range(3)] == [b"to peer", b"to peer again", b"no address"]
                assert not protocol.errors

    run(main)


@both
def test_ipv6_with_and_without_a_scope(factory):
    async def main():
        async with endpoint(local_addr=("::1", 0)) as (one, _, _):
            async with endpoint(local_addr=("::1", 0)) as (_, protocol, at):
                for address in (at[:2], at[:3], at, ("::1", at[1], 0, 0)):
                    one.sendto(b"x", address)
                await until(lambda: len(protocol.got) == 4)
                assert {addr for _, addr in protocol.got} == {one.get_extra_info("sockname")}

    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    run(main, factory)


# ------------------------------------------------------------------------------------------- other sockets, and hooks


class Own(socket.socket):
    """Its own methods are called."""

    def recvfrom(self, *args):
        data, addr = super().recvfrom(*args)
        return b"own " + data, addr

    def sendto(self, data, addr):
        return super().sendto(b"mine " + data, addr)


@both
def test_a_socket_with_methods_of_its_own_is_served_by_them(factory):
    async def main():
        sock = Own(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(HERE)
        with far_end(sock.getsockname()) as far:
            async with endpoint(sock=sock) as (transport, protocol, _):
                far.send(b"hello")
                await until(lambda: protocol.got)
                assert protocol.got[0][0] == b"own hello"
                transport.sendto(b"hello", far.getsockname())
                assert far.recv(100) == b"mine hello"

    run(main, factory)


def test_a_method_that_is_replaced_on_the_standard_socket_is_called(monkeypatch):
    def sendto(sock, data, addr):
        return socket.SocketType.sendto(sock, b"replaced " + data, addr)

    monkeypatch.setattr(socket.socket, "sendto", sendto, raising=False)

    async def main():
        with far_end() as far:
            async with endpoint() as (transport, _, _):
                transport.sendto(b"hello", far.getsockname())
                assert far.recv(100) == b"replaced hello"

    run(main)


@pytest.mark.by_version(sys.version_info < (3, 12), "asyncio refuses them")
@both
def test_sockets_that_are_neither_udp_nor_unix_datagrams(factory):
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    async def main():
        async with endpoint(sock=near) as (_, protocol, _):
            far.send(b"one")
            far.send(b"two")
            await until(lambda: len(protocol.got) == 2)
            assert [data for data, _ in protocol.got] == [b"one", b"two"]

    with far:
        run(main, factory)


AUDIT = """
import asyncio, socket, sys, aioxide

events = []
def hook(event, args):
    if event.startswith("socket.") and event != "socket.__new__":
        events.append((event, *map(type, args)) if event != "socket.sendto" else (event, args[1][0]))
        if event == "socket.sendto" and args[1][0] == "127.0.0.2":
            raise refused
sys.addaudithook(hook)

async def main():
    loop = asyncio.get_running_loop()
    class P(asyncio.DatagramProtocol):
        def error_received(self, error): events.append(("error_received", repr(error)))
        def connection_lost(self, error): events.append(("lost", repr(error)))
    loop.set_exception_handler(lambda loop, context: events.append(context["message"]))
    transport, _ = await loop.create_datagram_endpoint(P, local_addr=("127.0.0.1", 0))
    peer, _ = await loop.create_datagram_endpoint(P, remote_addr=transport.get_extra_info("sockname"))
    peer.sendto(b"x")
    transport.sendto(b"x", ("127.0.0.1", 9))
    transport.sendto(b"x", ("127.0.0.2", 9))
    await asyncio.sleep(0.01)
    peer.abort(); transport.abort()
    await asyncio.sleep(0)

for refused in (OSError("hook"), ValueError("hook")):
    for factory in (asyncio.SelectorEventLoop, aioxide.new_event_loop):
        events.clear()
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.get_loop()
            events.clear()
            runner.run(main())
        print(events)
"""


def test_audit_hooks_hear_what_they_hear_of_asyncio():
    result = child(AUDIT)
    assert result.returncode == 0, result.stderr
    stock, ours, stock_fatal, ours_fatal = result.stdout.splitlines()
    assert stock == ours and "error_received" in stock
    assert stock_fatal == ours_fatal and "Fatal write error" in stock_fatal


@both
def test_a_max_size_that_somebody_sets(factory):
    async def main():
        async with endpoint() as (transport, protocol, at):
            transport.max_size = 3
            with far_end(at) as far:
                far.send(b"12345")
                far.send(b"67")
                await until(lambda: len(protocol.got) == 2)
            assert [data for data, _ in protocol.got] == [b"123", b"67"]

    run(main, factory)


def test_a_datagram_that_was_cut_is_told(caplog):
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)

    async def main():
        async with endpoint(sock=near) as (transport, protocol, _):
            try:
                far.send(bytes(transport.max_size + 1))
            except OSError:
                pytest.skip("this kernel takes no datagram that is so large")
            await until(lambda: protocol.got)
            assert len(protocol.got[0][0]) == transport.max_size

    with far, caplog.at_level(logging.WARNING, "asyncio"):
        run(main)
    assert "was cut to max_size, 262144 bytes" in caplog.text


# ------------------------------------------------------------------------------------------- closed, forked, forgotten


def test_a_number_that_is_anothers_by_now_is_left_alone():
    async def main():
        async with endpoint() as (transport, protocol, at):
            other, number = far_end(), transport._sock_fd
            transport._sock.close()
            os.dup2(other.fileno(), number)
            try:
                transport.sendto(b"not by the other", at)
                assert [error.errno for error in protocol.errors] == [9]  # EBADF
            finally:
                os.close(number)
                other.close()

    run(main)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_child_of_fork_is_not_told_what_its_parent_has_received():
    loop = aioxide.new_event_loop()
    told, child_is = [], []
    reading, writing = os.pipe()

    def leave():
        if child_is == [0]:
            os.write(writing, b"%d" % len(told))
            os._exit(0)
        loop.stop()

    def seen(data, addr):
        told.append(data)
        if not child_is:
            child_is.append(os.fork())
            loop.call_later(0.1, leave)

    made = loop.create_datagram_endpoint(lambda: Keeps(seen), local_addr=HERE)
    transport, _ = loop.run_until_complete(made)
    with far_end(transport.get_extra_info("sockname")) as far:
        for number in range(5):
            far.send(b"%d" % number)
        loop.run_forever()
    os.close(writing)
    assert told == [b"%d" % number for number in range(5)]
    # The first is told in both: it was, before there was a child.
    assert os.read(reading, 10) == b"1"
    os.close(reading)
    os.waitpid(child_is[0], 0)
    transport.abort()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


@both
def test_a_loop_that_is_closed_amid_a_batch_leaves_nothing(factory):
    loop = factory()

    def stop(data, addr):
        loop.stop()

    made = loop.create_datagram_endpoint(lambda: Keeps(stop), local_addr=HERE)
    transport, protocol = loop.run_until_complete(made)
    with far_end(transport.get_extra_info("sockname")) as far:
        for number in range(10):
            far.send(b"%d" % number)
        loop.run_forever()
        # asyncio's turn ends with the callback that stops; so does ours, and the rest is told when the loop runs again.
        assert len(protocol.got) == 1
        loop.run_forever()
        assert len(protocol.got) == 2
    sock, gone = weakref.ref(transport._sock), weakref.ref(transport)
    loop.close()
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        del transport, protocol.transport, protocol
        gc.collect()
    assert gone() is None and sock() is None


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
@both
def test_what_leaves_the_loop_leaves_the_others_for_later(factory, exception):
    loop = factory()
    raises = [exception]

    def seen(data, addr):
        if raises:
            raise raises.pop()

    made = loop.create_datagram_endpoint(lambda: Keeps(seen), local_addr=HERE)
    transport, protocol = loop.run_until_complete(made)
    with far_end(transport.get_extra_info("sockname")) as far:
        for number in range(40):
            far.send(b"%d" % number)
        with pytest.raises(exception):
            loop.run_forever()
        assert len(protocol.got) == 1
        loop.run_until_complete(asyncio.sleep(0.1))
        assert [data for data, _ in protocol.got] == [b"%d" % number for number in range(40)]
    transport.abort()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_a_flood_lets_the_rest_of_the_loop_run():
    async def main():
        turns = [0]

        def turn():
            turns[0] += 1
            loop.call_soon(turn)

        loop = asyncio.get_running_loop()
        async with endpoint() as (_, protocol, at):
            with far_end(at) as far:
                for _ in range(100):
                    far.send(b"x")
                before = len(protocol.got)
                loop.call_soon(turn)
                await until(lambda: len(protocol.got) >= before + 100)
                assert turns[0] >= 99  # one datagram a turn

    run(main)


def test_reading_costs_no_page_faults():
    resource = pytest.importorskip("resource")

    async def main():
        async with endpoint() as (_, protocol, at):
            with far_end(at) as far:

                async def rounds(count):
                    for _ in range(count):
                        for _ in range(10):
                            far.send(bytes(200))
                        got = len(protocol.got)
                        await until(lambda got=got: len(protocol.got) >= got)
                        protocol.got.clear()

                await rounds(100)
                before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
                await rounds(500)
                assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 500

    run(main)


def test_an_error_that_stays_is_told_once_amid_a_batch():
    async def main():
        def seen(data, addr):
            transport._sock.close()

        async with endpoint(seen) as (transport, protocol, at):
            with far_end(at) as far:
                for _ in range(3):
                    far.send(b"x")
                await asyncio.sleep(0.05)
            # Who closes the socket behind the transport's back is told of what had come, and of the error.
            assert len(protocol.got) in (1, 3) and len(protocol.errors) <= 1

    run(main)


def test_a_max_size_that_is_set_amid_a_batch_does_not_spin():
    async def main():
        def seen(data, addr):
            transport.max_size = 1000

        async with endpoint(seen) as (transport, protocol, at):
            with far_end(at) as far:
                for _ in range(3):
                    far.send(b"x")
                await until(lambda: len(protocol.got) == 3)
                asked, loop = [], asyncio.get_running_loop()
                standard = asyncio.selector_events._SelectorDatagramTransport
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(standard, "_read_ready", lambda self: asked.append(self))
                    await asyncio.sleep(0.02)
                assert len(asked) <= 1 and loop.is_running()

    run(main)


def test_the_selectors_view_shows_what_is_polled():
    async def main():
        loop = asyncio.get_running_loop()
        async with endpoint() as (transport, _, _):
            await asyncio.sleep(0)
            assert loop._selector.get_key(transport._sock_fd).events == selectors.EVENT_READ
            assert loop._transports[transport._sock_fd] is transport
            with pytest.raises(RuntimeError, match="is used by transport"):
                loop.add_reader(transport._sock_fd, print)

    run(main)


def test_what_sendto_raises_after_the_end():
    async def main():
        async with endpoint() as (transport, protocol, at):
            transport.close()
            transport.sendto(b"still sent", at)
            await protocol.lost
            with pytest.raises(AttributeError, match="the datagram transport is closed"):
                transport.sendto(b"x", at)

    run(main)
