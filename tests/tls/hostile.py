"""Programs that would break it: each prints what is left of it."""

import asyncio
import contextlib
import gc
import os
import socket
import ssl
import sys
import weakref

import aioxide

from tests.certs import client_context, server_context

from .ends import Noting, pair


def descriptors():
    return len(os.listdir("/proc/self/fd"))


async def refused_handshakes():
    """A hundred of each: garbage, a hello that ends early, nothing at all, an end at once."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        asyncio.Protocol, "127.0.0.1", 0, ssl=server_context(), ssl_handshake_timeout=0.5, backlog=500
    )
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    hello = outgoing.read()
    counts = []
    for _ in range(2):
        for data in (b"GET / HTTP/1.1\r\n\r\n", hello[:100], b"", b"\x16\x03\x01\xff\xff" + b"x" * 1000):
            ends = [socket.create_connection(server.sockets[0].getsockname()) for _ in range(50)]
            for end in ends:
                end.sendall(data)
            for end in ends[::2]:
                end.close()
            await asyncio.sleep(0.1)
            await asyncio.sleep(0.6)
            for end in ends[1::2]:
                end.setblocking(False)
                # An alert, or the end; not silence.
                with contextlib.suppress(ConnectionResetError):
                    end.recv(1000)
                end.close()
        await asyncio.sleep(0.1)
        gc.collect()
        counts.append((descriptors(), len(gc.get_objects())))
    server.close()
    await asyncio.sleep(0.1)
    gc.collect()
    (fds, objects), (fds_later, objects_later) = counts
    return fds == fds_later and abs(objects_later - objects) < 100


async def every_slot(deed):
    for slot in ("made", "data", "eof", "pause", "resume", "lost"):

        def act(end):
            gc.collect()
            with contextlib.suppress(Exception):
                deed(end)
            gc.collect()

        async with pair([], {slot: act}, {} if slot == "made" else {slot: act}) as (near, far):
            far.transport.write(b"x" * 100_000)
            near.transport.write(b"x" * 3_000_000)
            await asyncio.sleep(0.05)
            far.transport.close()
            await asyncio.wait_for(near.done, 5)
            await asyncio.wait_for(far.done, 5)
    return True


DEEDS = {
    "close": lambda end: end.transport.close(),
    "abort": lambda end: end.transport.abort(),
    "write": lambda end: end.transport.write(b"y" * 70_000),
    "raw": lambda end: end.transport._ssl_protocol._transport.abort(),
    "read": lambda end: end.transport.get_extra_info("ssl_object").read(10),
    "unwrap": lambda end: end.transport.get_extra_info("ssl_object").unwrap(),
    "pause": lambda end: (end.transport.pause_reading(), end.transport.resume_reading()),
    "step": lambda end: end.transport._ssl_protocol._do_read(),
    "protocol": lambda end: end.transport.set_protocol(end),
    "limits": lambda end: end.transport.set_write_buffer_limits(0),
}


async def from_every_slot():
    return [await every_slot(deed) for deed in DEEDS.values()]


async def never_reads():
    """What a client that never reads makes a server hold that waits for drain()."""
    sizes = []

    async def handler(reader, writer):
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"x" * 50_000)
                sizes.append(writer.transport.get_write_buffer_size())
                await writer.drain()

    server = await asyncio.start_server(handler, "127.0.0.1", 0, ssl=server_context())
    _, writer = await asyncio.open_connection(
        *server.sockets[0].getsockname(), ssl=client_context(), server_hostname="localhost", limit=1000
    )
    await asyncio.sleep(0.5)
    writer.transport.abort()
    server.close()
    await asyncio.sleep(0.1)
    return len(sizes) > 3 and max(sizes) <= 512 * 1024 + 50_000 + 16_384 + 1000


async def outlives_its_context():
    theirs, ours = server_context(), client_context()
    kept = weakref.ref(ours)
    async with pair([], {}, {}, (theirs, ours)) as (near, far):
        del theirs, ours
        gc.collect()
        near.transport.write(b"x" * 1000)
        while far.size < 1000:
            await asyncio.sleep(0.01)
        found = far.transport.get_extra_info("ssl_object")
        near.transport.close()
        await far.done
        await near.done
    told = found.version(), found.cipher() is not None, found.pending()
    with contextlib.suppress(ssl.SSLError):
        found.read(10)
    del found, near, far
    gc.collect()
    return [told == ("TLSv1.3", True, 0), kept() is None]


def loop_closed_in_a_handshake():
    listener = socket.create_server(("127.0.0.1", 0))
    for _ in range(20):
        loop = aioxide.new_event_loop()
        task = loop.create_task(
            loop.create_connection(
                asyncio.Protocol, *listener.getsockname(), ssl=client_context(), server_hostname="localhost"
            )
        )
        loop.run_until_complete(asyncio.sleep(0.01))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
        loop.close()
    loop = aioxide.new_event_loop()
    ends = []

    async def leave():
        async with pair([]) as (_near, far):
            ends.append(far)
            far.transport.write(b"last")
            loop.stop()
            await asyncio.sleep(1)

    task = loop.create_task(leave())
    with contextlib.suppress(RuntimeError):
        loop.run_forever()
    loop.close()
    ends[0].transport.write(b"after the end")
    ends.clear()
    del task
    gc.collect()
    return True


async def interleaved_threads():
    """Other threads run Python and open connections of their own loops meanwhile."""
    loop = asyncio.get_running_loop()

    def other():
        async def main():
            async with pair([]) as (near, far):
                for _ in range(200):
                    near.transport.write(b"z" * 30_000)
                    await asyncio.sleep(0)
                while far.size < 200 * 30_000:
                    await asyncio.sleep(0.01)
            return far.size

        with asyncio.Runner(loop_factory=aioxide.new_event_loop) as runner:
            return runner.run(main())

    return await asyncio.gather(*(loop.run_in_executor(None, other) for _ in range(3)))


def main(name):
    if name == "loop_closed_in_a_handshake":
        print(loop_closed_in_a_handshake())
        return
    if name == "interleaved_threads":
        assert isinstance(Noting, type)
    with asyncio.Runner(loop_factory=aioxide.new_event_loop) as runner:
        runner.get_loop().set_exception_handler(lambda loop, context: None)
        print(runner.run(asyncio.wait_for(globals()[name](), 60)))


if __name__ == "__main__":
    main(sys.argv[1])
