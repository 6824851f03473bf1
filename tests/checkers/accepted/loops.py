"""The loop's own methods, runners, ways in."""

import asyncio
import contextvars
import sys
from typing import Any, assert_type

import aioxide


class Lines(asyncio.Protocol):
    def __init__(self) -> None:
        self.done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(b"hello\n")

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self.received.endswith(b"\n"):
            self.done.set_result(self.received)
            self.transport.close()


async def connections(loop: aioxide.EventLoop) -> None:
    server = await loop.create_server(Lines, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    transport, protocol = await loop.create_connection(Lines, host, port)
    assert_type(transport, asyncio.Transport)
    assert_type(protocol, Lines)
    assert await protocol.done == b"hello\n"
    server.close()
    await server.wait_closed()


async def calls(loop: aioxide.EventLoop) -> None:
    context = contextvars.copy_context()
    handle: asyncio.Handle = loop.call_soon(print, "never", context=context)
    timer: asyncio.TimerHandle = loop.call_later(60, handle.cancel)
    for each in (handle, timer, loop.call_soon_threadsafe(int), loop.call_at(loop.time() + 1, int)):
        each.cancel()
    assert_type(await loop.run_in_executor(None, max, 1, 2), int)
    task: asyncio.Task[None] = loop.create_task(asyncio.sleep(0), name="mine", context=context)
    await task
    future: asyncio.Future[str] = loop.create_future()
    loop.call_soon(future.set_result, "done")
    assert_type(await future, str)


def factory(loop: asyncio.AbstractEventLoop, coro: Any, **keywords: Any) -> asyncio.Task[Any]:
    return asyncio.Task(coro, loop=loop, **keywords)


async def main() -> int:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, aioxide.EventLoop)
    await connections(loop)
    await calls(loop)
    loop.set_task_factory(factory)
    assert await asyncio.create_task(asyncio.sleep(0, 1)) == 1
    if sys.version_info >= (3, 12):
        loop.set_task_factory(aioxide.eager_task_factory)
        assert await asyncio.create_task(asyncio.sleep(0, 1)) == 1
    return 1


assert_type(aioxide.run(main(), debug=False, loop_factory=aioxide.EventLoop), int)
loop = aioxide.new_event_loop()
assert_type(loop, aioxide.EventLoop)
standard: asyncio.SelectorEventLoop = loop
loop.close()
with aioxide.installed(), aioxide.Runner(debug=True) as runner:
    assert_type(runner.run(main()), int)
aioxide.install(namespace=True, replace_uvloop=False)
assert asyncio.run(main()) == 1
aioxide.uninstall()
information: dict[str, Any] = aioxide.build_info()
assert information["version"] == aioxide.__version__
