"""What programs do all day, in batches: run by `test_leaks` in a process of its own, which measures itself.

It prints one JSON object a batch: descriptors open, bytes that malloc has handed out, references (a debug
build of CPython counts them) and living objects of the garbage collector.
"""

import asyncio
import contextlib
import ctypes
import gc
import json
import socket
import sys
import threading

from tests.certs import client_context, server_context
from tests.support.measures import measure
from tests.support.scenarios import FACTORIES


async def echo(reader, writer):
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1000):
            writer.write(data)
    writer.close()


async def ask(*address, **options):
    reader, writer = await asyncio.open_connection(*address, **options)
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def in_parallel(count, make, width=50):
    for _ in range(max(1, count // width)):
        await asyncio.gather(*(make() for _ in range(width)))


async def connections(count, **options):
    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        address = server.sockets[0].getsockname()
        await in_parallel(count, lambda: ask(*address))


async def tls_connections(count):
    async with await asyncio.start_server(echo, "127.0.0.1", 0, ssl=server_context()) as server:
        address, context = server.sockets[0].getsockname(), client_context()
        await in_parallel(count, lambda: ask(*address, ssl=context, server_hostname="localhost"), 10)


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.writelines([data[:2], data[2:]])


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, whole):
        self.whole, self.lost = whole, asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.whole(data, addr)

    def connection_lost(self, exc):
        self.lost.set_result(exc)


async def datagrams(count):
    """An endpoint for each, that asks in several datagrams and closes amid the answers; its last word is for nobody."""
    make = asyncio.get_running_loop().create_datagram_endpoint
    server, _ = await make(
        lambda: Datagrams(lambda data, addr: server.sendto(data, addr)), local_addr=("127.0.0.1", 0)
    )
    at = server.get_extra_info("sockname")

    async def talk():
        client, asked = await make(lambda: Datagrams(lambda data, addr: client.close()), remote_addr=at)
        for data in (b"", b"one", memoryview(b"two"), bytes(3000), bytes(70_000)):
            client.sendto(data)
        client.get_extra_info("socket")
        await asked.lost

    await in_parallel(count, talk, 10)  # few enough for the kernel to lose none
    server.abort()
    await asyncio.sleep(0)


class Ask(asyncio.BufferedProtocol):
    def __init__(self):
        self.buffer, self.lost = bytearray(100), asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        transport.write(bytearray(b"hello"))

    def get_buffer(self, hint):
        return self.buffer

    def buffer_updated(self, count):
        self.transport.pause_reading()
        self.transport.resume_reading()
        self.transport.close()

    def connection_lost(self, error):
        self.lost.set_result(error)


async def protocols(count):
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0)

    async def one():
        await (await loop.create_connection(Ask, *server.sockets[0].getsockname()))[1].lost

    await in_parallel(count, one)
    server.close()
    await server.wait_closed()


async def reset_connections(count):
    """Each ends badly: aborted by one side or the other, with data under way."""
    loop = asyncio.get_running_loop()
    servers = []

    class Abrupt(Echo):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.write(bytes(100_000))
            servers.append(transport)

        def connection_lost(self, error):
            servers.remove(self.transport)

    server = await loop.create_server(Abrupt, "127.0.0.1", 0)

    async def one():
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(bytes(100_000))
        writer.transport.abort()

    await in_parallel(count, one, 10)
    while servers:
        await asyncio.sleep(0.001)
    server.close()


async def refused_connections(count):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()

    async def one():
        with contextlib.suppress(ConnectionRefusedError):
            await asyncio.open_connection(*address)

    await in_parallel(count, one)


async def cancelled_connects(count):
    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        address = server.sockets[0].getsockname()
        for number in range(count):
            task = asyncio.ensure_future(ask(*address))
            for _ in range(number % 7):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await asyncio.sleep(0.01)


async def tasks(count):
    async def nothing():
        await asyncio.sleep(0)

    for _ in range(count // 100):
        await asyncio.gather(*(nothing() for _ in range(50)))
        for _ in range(50):
            await asyncio.create_task(nothing())


async def failing_tasks(count):
    async def fail():
        await asyncio.sleep(0)
        raise ValueError("on purpose")

    async def wait():
        await asyncio.get_running_loop().create_future()

    for _ in range(count // 20):
        await asyncio.gather(*(fail() for _ in range(10)), return_exceptions=True)
        waiting = [asyncio.create_task(wait()) for _ in range(10)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel("a message")
        await asyncio.wait(waiting)


async def timeouts(count):
    never = asyncio.get_running_loop().create_future()
    for _ in range(count // 2):
        async with asyncio.timeout(1000):
            await asyncio.sleep(0)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(never), 0)
    never.cancel()


async def futures(count):
    loop = asyncio.get_running_loop()
    for number in range(count):
        future = loop.create_future()
        future.add_done_callback(len if number % 2 else print)
        future.remove_done_callback(len)
        future.remove_done_callback(print)
        future.add_done_callback(lambda f: None)
        loop.call_soon(future.set_result, number)
        assert await future == number


async def handles(count):
    loop = asyncio.get_running_loop()
    for _ in range(count // 4):
        loop.call_soon(int)
        loop.call_soon_threadsafe(int, "1")
        loop.call_later(1000, int).cancel()
        loop.call_later(0, int, "1")
        await asyncio.sleep(0)


async def cancelled_timers(count):
    loop = asyncio.get_running_loop()
    for _ in range(count // 500):
        for handle in [loop.call_later(1000, int, bytes(100)) for _ in range(500)]:
            handle.cancel()
        await asyncio.sleep(0)


async def readers(count):
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    with near, far:
        for _ in range(count):
            loop.add_reader(near, int, "1")
            loop.add_reader(near, int, "2")
            loop.add_writer(near, int)
            await asyncio.sleep(0)
            loop.remove_writer(near)
            loop.remove_reader(near)


async def threads(count):
    loop = asyncio.get_running_loop()

    def schedule():
        for _ in range(count):
            loop.call_soon_threadsafe(int, "1")

    thread = threading.Thread(target=schedule)
    thread.start()
    while thread.is_alive():
        await asyncio.sleep(0.001)
    thread.join()
    for _ in range(count // 20):
        await loop.run_in_executor(None, int)


async def processes(count):
    for _ in range(count // 100):
        process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
        await process.communicate(b"hello")


async def generators(count):
    async def numbers():
        yield 1
        yield 2

    for _ in range(count):
        async for _ in numbers():
            break
    gc.collect()
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def forgotten_memory(count):
    """A leak on purpose: what `test_leaks` must notice in anything."""
    malloc = ctypes.CDLL(None).malloc
    malloc.argtypes, malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    for _ in range(count):
        malloc(32)


async def forgotten_objects(count, forgotten=[]):  # noqa: B006
    """The same with an object for each operation."""
    forgotten += [[] for _ in range(count)]


def loops(count, factory):
    """Not a coroutine: each round makes a loop, uses it and closes it, at times with things left on it."""
    for number in range(count):
        loop = factory()
        loop.run_until_complete(asyncio.sleep(0))
        if number % 2:
            loop.call_soon(int)
            loop.call_later(100, int)
            loop.call_soon_threadsafe(int)
        loop.close()


def main(name, activity, count, batches):
    factory = FACTORIES[name]
    loop = factory()
    run = globals()[activity]

    def batch():
        if asyncio.iscoroutinefunction(run) if sys.version_info < (3, 12) else activity != "loops":
            loop.run_until_complete(run(count))
        else:
            run(count, factory)

    for _ in range(3):
        batch()  # fills caches and freelists, and lets CPython specialise the code
    for _ in range(batches + 1):
        batch()
        print(json.dumps(measure()), flush=True)
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
