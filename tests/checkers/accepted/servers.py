"""A server with workers and clients, as many programs have one: streams, queues, locks, time limits, signals."""

import contextlib
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar, assert_type, cast

import aioxide as asyncio

P = ParamSpec("P")
T = TypeVar("T")


@dataclass
class Job:
    text: str
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    length: asyncio.Future[int] | None = None


class Server:
    def __init__(self) -> None:
        self.jobs: asyncio.Queue[Job] = asyncio.Queue(maxsize=10)
        self.limit = asyncio.BoundedSemaphore(3)
        self.changed = asyncio.Condition()
        self.listener: asyncio.Server | None = None
        self.workers: list[asyncio.Task[None]] = []

    async def work(self) -> None:
        while True:
            job = await self.jobs.get()
            async with self.limit:
                job.begun.set()
                if job.length is not None and not job.length.done():
                    job.length.set_result(len(job.text))
            async with self.changed:
                self.changed.notify_all()
            self.jobs.task_done()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            while line := await reader.readuntil(b"\n"):
                writer.write(line)
                await writer.drain()
        writer.close()

    async def start(self) -> tuple[str, int]:
        self.listener = await asyncio.start_server(self.serve, "127.0.0.1", 0, limit=2**16)
        self.workers = [asyncio.create_task(self.work(), name=f"worker {number}") for number in range(2)]
        return cast(tuple[str, int], self.listener.sockets[0].getsockname())

    async def stop(self) -> None:
        assert self.listener is not None
        self.listener.close()
        for worker in self.workers:
            worker.cancel("the end")
        ends = await asyncio.gather(*self.workers, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends)


@asynccontextmanager
async def running() -> AsyncGenerator[tuple[Server, tuple[str, int]]]:
    server = Server()
    address = await server.start()
    try:
        yield server, address
    finally:
        await server.stop()


def within(seconds: float) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Coroutine[Any, Any, T]]]:
    def decorated(function: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        async def call(*args: P.args, **kwargs: P.kwargs) -> T:
            async with asyncio.timeout(seconds) as limit:
                assert_type(limit, asyncio.Timeout)
                return await function(*args, **kwargs)

        return call

    return decorated


@within(60)
async def client(address: tuple[str, int], text: str = "x") -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    writer.writelines([text.encode(), b"\n"])
    await writer.drain()
    line = await reader.readexactly(len(text) + 1)
    writer.write_eof()
    writer.close()
    await writer.wait_closed()
    return line


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, received: asyncio.Future[bytes]) -> None:
        self.received = received

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        self.received.set_result(data)


async def datagrams(loop: asyncio.AbstractEventLoop) -> bytes:
    received: asyncio.Future[bytes] = loop.create_future()
    transport, protocol = await loop.create_datagram_endpoint(
        lambda: Datagrams(received), local_addr=("127.0.0.1", 0)
    )
    assert_type(protocol, Datagrams)
    transport.sendto(b"datagram", transport.get_extra_info("sockname"))
    await received
    transport.close()
    return received.result()


async def child() -> tuple[bytes, int | None]:
    process: asyncio.subprocess.Process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "print(1)", stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return output, process.returncode


def on_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    loop.default_exception_handler(context)


async def main() -> int:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(on_error)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running() as (server, address):
        assert_type(await client(address), bytes)
        job = Job("abc", length=loop.create_future())
        server.jobs.put_nowait(job)
        await job.begun.wait()
        assert job.length is not None and await job.length == 3
        await server.jobs.join()
        with contextlib.suppress(asyncio.QueueEmpty):
            server.jobs.get_nowait()
        async with server.changed:
            await server.changed.wait_for(lambda: server.jobs.empty())
        try:
            await asyncio.wait_for(stop.wait(), timeout=0.001)
        except asyncio.TimeoutError:
            print("as planned")
        clients = {asyncio.create_task(client(address, text=str(number))) for number in range(3)}
        done, pending = await asyncio.wait(clients, return_when=asyncio.ALL_COMPLETED)
        assert {task.result() for task in done} == {b"0\n", b"1\n", b"2\n"} and not pending
    assert await datagrams(loop) == b"datagram" and await child() == (b"1\n", 0)
    other = asyncio.run_coroutine_threadsafe(asyncio.sleep(0, 3), loop)
    assert_type(await asyncio.wrap_future(other), int)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
            raise ValueError("one of them")
    except* ValueError as raised:
        assert_type(raised, ExceptionGroup[ValueError])
    return await asyncio.to_thread(sum, [1, 2])


if __name__ == "__main__":
    assert asyncio.run(main(), debug=True) == 3
    with asyncio.Runner() as runner:
        loop: asyncio.AbstractEventLoop = runner.get_loop()
        assert runner.run(main()) == 3
    loop = asyncio.new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        assert loop.run_until_complete(main()) == 3
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()
