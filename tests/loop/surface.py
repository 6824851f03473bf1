"""The table of calls: which functions here call which methods of the event loop.

A function registered by `calls` gets a `Watched` loop in the place of the real one. What it does not call
although it says so, the test that runs it reports; what no function calls, `test_surface` reports.
"""

import asyncio
import inspect

REGISTRY = []


def calls(*names):
    """Register a test body, a coroutine function or a plain one, that calls the loop's methods `names`."""

    def register(body):
        REGISTRY.append((body, frozenset(names)))
        return body

    return register


class Watched:
    """The loop itself, but for a note of every method that is looked up through it."""

    def __init__(self, loop):
        self.real = loop
        self.called = set()

    def __getattr__(self, name):
        self.called.add(name)
        return getattr(self.real, name)


def run(body, factory):
    """Run a registered body on a fresh loop; return the names of the methods that it called."""
    loop = factory()
    unhandled = []
    loop.set_exception_handler(lambda loop, context: unhandled.append(context))
    watched = Watched(loop)
    try:
        if inspect.iscoroutinefunction(body):
            loop.run_until_complete(asyncio.wait_for(body(watched), 30))
        else:
            body(watched)
    finally:
        if not loop.is_closed():
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
    assert unhandled == []
    return watched.called


class Collect(asyncio.Protocol):
    """A protocol that keeps what it gets: bytes in `data`, the end in the future `lost`."""

    def __init__(self):
        loop = asyncio.get_running_loop()
        self.made, self.lost, self.got_eof = (loop.create_future() for _ in range(3))
        self.data = bytearray()
        self.transport = None
        self.waiting = []

    def connection_made(self, transport):
        self.transport = transport
        self.made.set_result(transport)

    def data_received(self, data):
        self.data += data
        for size, future in self.waiting:
            if len(self.data) >= size and not future.done():
                future.set_result(bytes(self.data))

    def eof_received(self):
        self.got_eof.set_result(None)

    def connection_lost(self, error):
        self.lost.set_result(error)

    async def receive(self, size):
        """What has come, as soon as it is `size` bytes."""
        if len(self.data) < size:
            future = asyncio.get_running_loop().create_future()
            self.waiting.append((size, future))
            await future
        return bytes(self.data)


class Echo(Collect):
    """Sends everything back, and closes at the end of file."""

    def data_received(self, data):
        super().data_received(data)
        self.transport.write(data)
