"""A process that forks in the middle of a running loop: the child is free of it, the parent undisturbed."""

import asyncio
import os
import socket
import threading

import pytest

from tests.support.forks import in_child, ours_is_usable
from tests.support.scenarios import FACTORIES

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture(params=FACTORIES)
def loop(request):
    loop = FACTORIES[request.param]()
    yield loop
    loop.close()


def no_loop_runs():
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()
    return asyncio._get_running_loop() is None


@pytest.mark.parametrize("place", ["callback", "task", "timer", "reader"])
@pytest.mark.parametrize("deed", ["no loop runs", "a new loop works", "the old loop is left to die"])
def test_child_forked_inside_the_loop(loop, place, deed):
    def child():
        if deed == "no loop runs":
            return no_loop_runs()
        if deed == "a new loop works":
            return ours_is_usable(type(loop))
        return True

    statuses = []

    def fork():
        statuses.append(in_child(child))
        loop.stop()

    async def task():
        fork()

    near, far = socket.socketpair()
    with near, far:
        if place == "callback":
            loop.call_soon(fork)
        elif place == "timer":
            loop.call_later(0.001, fork)
        elif place == "reader":
            loop.add_reader(near, fork)
            far.send(b"x")
        else:
            kept = loop.create_task(task())
        loop.run_forever()
        if place == "reader":
            loop.remove_reader(near)
        elif place == "task":
            loop.run_until_complete(kept)
    assert statuses == [0]
    assert loop.run_until_complete(asyncio.sleep(0, "the parent goes on")) == "the parent goes on"


def test_childs_changes_do_not_reach_the_parents_poller(loop):
    """Both processes hold the same epoll set. A child that closes or unregisters must not silence the
    parent.
    """
    near, far = socket.socketpair()
    seen = []
    with near, far:
        loop.add_reader(near, lambda: (seen.append(near.recv(10)), loop.stop()))

        def child():
            # Only the wake-up and what the child registers itself may be touched; asyncio's loop does the
            # same.
            near.close()
            far.close()
            return True

        assert in_child(child) == 0
        far.send(b"still here")
        loop.run_forever()
        loop.remove_reader(near)
    assert seen == [b"still here"]


def test_parent_still_wakes_up_from_threads(loop):
    """The wake-up descriptor is shared too: nothing that the child does with it may use up the parent's."""
    assert in_child(lambda: ours_is_usable(type(loop))) == 0
    thread = threading.Timer(0.02, loop.call_soon_threadsafe, [loop.stop])
    thread.start()
    loop.run_forever()
    thread.join()


def test_connection_survives_a_child_that_exits(loop):
    async def main():
        async def echo(reader, writer):
            writer.write(await reader.readexactly(5))
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await asyncio.sleep(0)
        assert in_child(lambda: True) == 0
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()
        server.close()

    loop.run_until_complete(main())


def test_process_pool_forks_under_the_loop(loop):
    import concurrent.futures
    import multiprocessing

    async def main():
        fork = multiprocessing.get_context("fork")
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=fork) as pool:
            return await asyncio.gather(*(loop.run_in_executor(pool, divmod, n, 7) for n in range(5)))

    assert loop.run_until_complete(main()) == [divmod(n, 7) for n in range(5)]


def test_what_was_written_before_a_fork_is_sent_once(loop):
    """asyncio sends in `write`. What we keep for the end of the turn must not leave from both processes."""
    near, far = socket.socketpair()
    near.setblocking(False)
    far.settimeout(10)
    transport, _ = loop.run_until_complete(loop.create_connection(asyncio.Protocol, sock=near))
    parent, children = os.getpid(), []

    def fork():
        transport.write(b"once")
        pid = os.fork()
        children.append(pid)
        loop.stop()

    loop.call_soon(fork)
    loop.run_forever()
    if os.getpid() != parent:
        os._exit(0)
    os.waitpid(children[0], 0)
    transport.write(b"!")
    loop.run_until_complete(asyncio.sleep(0))
    transport.close()
    loop.run_until_complete(asyncio.sleep(0.01))
    received = b""
    while data := far.recv(100):
        received += data
    far.close()
    assert received == b"once!"
