"""Programs whose history is the same on asyncio and on both engines."""

import asyncio
import socket
import ssl
import struct

from tests.certs import client_context, server_context

from .ends import Blocking, Noting, pair, plain


async def client_closes(log):
    async with pair(log, {}, {}) as (near, far):
        far.transport.write(b"hi")
        far.transport.close()
        await near.done
        await far.done


async def server_closes_with_data(log):
    async with pair(log, {"data": lambda end: (end.transport.write(b"answer"), end.transport.close())}) as (
        near,
        far,
    ):
        far.transport.write(b"hi")
        await near.done
        await far.done


async def eof_received_is_true(log):
    async with pair(log, {"eof": lambda end: True}) as (near, far):
        far.transport.close()
        await asyncio.sleep(0.1)
        log.append(str(near.transport.is_closing()))
        await asyncio.wait_for(near.done, 5)
        await far.done


def raising(slot):
    async def program(log):
        def raises(end):
            raise ValueError(slot)

        try:
            async with pair(log, {slot: raises}) as (near, far):
                far.transport.write(b"hi")
                far.transport.close()
                await near.done
                await far.done
        except Exception as error:
            log.append(plain(error))

    program.__name__ = f"raises_in_{slot}"
    return program


def ending(slot, how):
    """A connection that is closed or aborted, or written to, from within a slot."""

    async def program(log):
        deed = {"close": lambda end: end.transport.close(), "abort": lambda end: end.transport.abort()}[how]
        async with pair(log, {slot: lambda end: deed(end) and None}) as (near, far):
            far.transport.write(b"hi")
            await asyncio.sleep(0.05)
            far.transport.close()
            await asyncio.wait_for(near.done, 5)
            await asyncio.wait_for(far.done, 5)
        if how == "abort":
            # Whether the other one is told by a reset, is chance.
            log[:] = [event for event in log if event.startswith("s.")]

    program.__name__ = f"{how}_in_{slot}"
    return program


async def no_close_notify(log):
    async with pair(log) as (near, far):
        far.transport._ssl_protocol._transport.abort()
        await near.done
        await far.done


async def end_within_a_record(log):
    def body(sock):
        raw = socket.socket(fileno=sock.detach())
        raw.sendall(b"\x17\x03\x03\x01\x00abc")
        raw.close()

    far = Blocking(body)
    end = Noting("c", log)
    await asyncio.get_running_loop().create_connection(
        lambda: end, *far.address, ssl=client_context(), server_hostname="localhost"
    )
    await asyncio.wait_for(end.done, 5)


async def garbage_after_the_handshake(log):
    def body(sock):
        raw = socket.socket(fileno=sock.detach())
        raw.sendall(b"garbage that is no record" * 4)
        raw.recv(100)
        raw.close()

    far = Blocking(body)
    end = Noting("c", log)
    await asyncio.get_running_loop().create_connection(
        lambda: end, *far.address, ssl=client_context(), server_hostname="localhost"
    )
    await asyncio.wait_for(end.done, 5)


async def refusal(log, **options):
    try:
        await asyncio.get_running_loop().create_connection(lambda: Noting("c", log), **options)
    except Exception as error:
        log.append(plain(error))


async def plain_server(log):
    far = Blocking(lambda sock: sock.sendall(b"HTTP/1.1 400 no\r\n\r\n"), tls=False)
    host, port = far.address
    await refusal(log, host=host, port=port, ssl=client_context(), server_hostname="localhost")


async def silent_server(log):
    far = Blocking(lambda sock: [sock.recv(1000) for _ in range(3)] and None, tls=False)
    host, port = far.address
    options = {"ssl": client_context(), "server_hostname": "localhost", "ssl_handshake_timeout": 0.1}
    await refusal(log, host=host, port=port, **options)
    await far.outcome()


async def reset_in_the_handshake(log):
    def body(sock):
        sock.recv(10)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    far = Blocking(body, tls=False)
    host, port = far.address
    await refusal(log, host=host, port=port, ssl=client_context(), server_hostname="localhost")


async def wrong_certificate(log):
    far = Blocking(lambda sock: None)
    host, port = far.address
    await refusal(log, host=host, port=port, ssl=ssl.create_default_context(), server_hostname="localhost")


async def wrong_arguments(log):
    far = Blocking(lambda sock: None, tls=False)
    host, port = far.address
    context = client_context()
    for options in (
        {"ssl": object()},
        {"ssl": context, "ssl_handshake_timeout": 0, "server_hostname": "localhost"},
        {"ssl_handshake_timeout": 1},
        {"server_hostname": "x"},
        {"ssl_shutdown_timeout": 1},
    ):
        await refusal(log, host=host, port=port, **options)
        if "ssl" in options:
            far = Blocking(lambda sock: None, tls=False)
            host, port = far.address
    with socket.create_connection(far.address) as sock:
        await refusal(log, sock=sock, ssl=context)


async def shutdown_without_an_answer(log):
    held = asyncio.Event()
    far = Blocking(lambda sock: sock.recv(1) and sock.recv(1) and __import__("time").sleep(1))
    end = Noting("c", log)
    transport, _ = await asyncio.get_running_loop().create_connection(
        lambda: end, *far.address, ssl=client_context(), server_hostname="localhost", ssl_shutdown_timeout=0.2
    )
    transport.write(b"ab")
    transport.close()
    transport.write(b"silent")
    await asyncio.wait_for(end.done, 5)
    held.set()
    await far.outcome()


async def pause_then_the_peer_closes(log):
    async with pair(log) as (near, far):
        near.transport.pause_reading()
        far.transport.write(b"abc")
        far.transport.close()
        await asyncio.sleep(0.1)
        log.append("resume")
        near.transport.resume_reading()
        await near.done
        await far.done


async def wrong_types(log):
    async with pair(log) as (_near, far):
        for data in ("text", 1, None, [b"x"]):
            try:
                far.transport.write(data)
                log.append("written")
            except Exception as error:
                log.append(plain(error))
        far.transport.write(b"")
        far.transport.write(memoryview(b""))
        far.transport.writelines([b"ok", "text"])
        await far.done
    # What the other one sees depends on whether there was something that was not read: a reset.
    log[:] = [event for event in log if not event.startswith("s.")]


class Small(asyncio.BufferedProtocol):
    def __init__(self, log):
        self.log, self.room = log, bytearray(100)

    def connection_made(self, transport):
        self.transport = transport

    def get_buffer(self, hint):
        self.log.append(f"hint {hint}")
        return self.room

    def buffer_updated(self, count):
        self.log.append(f"got {count}")

    def eof_received(self):
        self.log.append("eof")


async def buffered_protocol(log):
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Small(log), "127.0.0.1", 0, ssl=server_context())
    notes = []
    end = Noting("c", notes)
    await loop.create_connection(
        lambda: end, *server.sockets[0].getsockname(), ssl=client_context(), server_hostname="localhost"
    )
    await asyncio.sleep(0.1)
    end.transport.write(b"x" * 250)
    await asyncio.sleep(0.1)
    end.transport.close()
    await end.done
    server.close()


async def protocol_changes_while_data_flows(log):
    async with pair(log) as (near, far):
        other = Noting("o", log)
        other.transport = near.transport
        near.deeds["data"] = lambda end: end.transport.set_protocol(other)
        for _ in range(3):
            far.transport.write(b"x" * 10)
            await asyncio.sleep(0.05)
        log.append(str(near.transport.get_protocol() is other))
        far.transport.close()
        await other.done
        near.done.set_result(None)


async def what_a_transport_says(log):
    async with pair(log) as (_near, far):
        transport = far.transport
        log.append(f"{transport.get_write_buffer_limits()} {transport.get_write_buffer_size()}")
        log.append(f"{transport.can_write_eof()} {transport.is_reading()} {type(transport).__name__}")
        try:
            transport.write_eof()
        except NotImplementedError as error:
            log.append(plain(error))
        found = transport.get_extra_info("ssl_object")
        log.append(f"{type(found)} {found.version()} {found.server_hostname} {found.pending()}")
        log.append(
            f"{bool(found.getpeercert())} {transport.get_extra_info('peercert') == found.getpeercert()}"
        )
        names = ("cipher", "compression", "sslcontext", "nothing")
        log.extend(type(transport.get_extra_info(name)).__name__ for name in names)


PROGRAMS = [
    client_closes,
    server_closes_with_data,
    eof_received_is_true,
    *(raising(slot) for slot in ("made", "data", "eof", "lost")),
    *(ending(slot, how) for slot in ("data", "eof") for how in ("close", "abort")),
    ending("made", "abort"),
    no_close_notify,
    end_within_a_record,
    garbage_after_the_handshake,
    plain_server,
    silent_server,
    reset_in_the_handshake,
    wrong_certificate,
    wrong_arguments,
    shutdown_without_an_answer,
    pause_then_the_peer_closes,
    wrong_types,
    buffered_protocol,
    protocol_changes_while_data_flows,
    what_a_transport_says,
]
