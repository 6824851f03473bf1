"""A child by fork, and what it does with a loop of its own."""

import asyncio
import os


def in_child(body):
    """Fork; run `body()` in the child, which says through its exit status whether that returned true."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if body() else 2
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def ours_is_usable(factory):
    """The child makes a loop of its own and does a bit of everything on it."""

    async def main():
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await reader.read() == b""
        writer.close()
        server.close()
        await asyncio.sleep(0.001)
        return await asyncio.to_thread(sum, [1, 2])

    loop = factory()
    try:
        return loop.run_until_complete(main()) == 3
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
