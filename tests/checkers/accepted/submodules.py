"""Every submodule of asyncio's, by import statements of each form."""

import asyncio.streams
import sys
from typing import assert_type

import aioxide
import aioxide.base_tasks as base_tasks
import aioxide.locks
import aioxide.mixins as mixins
import aioxide.subprocess as subprocess
from aioxide import base_events, queues
from aioxide.base_futures import isfuture
from aioxide.base_subprocess import BaseSubprocessTransport
from aioxide.constants import ACCEPT_RETRY_DELAY
from aioxide.coroutines import iscoroutine
from aioxide.events import AbstractEventLoop, get_running_loop
from aioxide.exceptions import IncompleteReadError
from aioxide.format_helpers import extract_stack
from aioxide.futures import Future
from aioxide.log import logger
from aioxide.protocols import BufferedProtocol
from aioxide.runners import Runner
from aioxide.selector_events import BaseSelectorEventLoop
from aioxide.sslproto import SSLProtocol
from aioxide.staggered import staggered_race
from aioxide.streams import FlowControlMixin, StreamReader, StreamWriter, open_connection, start_server
from aioxide.taskgroups import TaskGroup
from aioxide.tasks import Task, gather
from aioxide.threads import to_thread
from aioxide.timeouts import timeout
from aioxide.transports import Transport
from aioxide.trsock import TransportSocket
from aioxide.unix_events import SelectorEventLoop

if sys.version_info >= (3, 14):
    from aioxide.graph import print_call_graph

    assert callable(print_call_graph)

OTHERS = (
    *(BaseSubprocessTransport, BufferedProtocol, Runner, BaseSelectorEventLoop, SSLProtocol),
    *(FlowControlMixin, Transport, TransportSocket, SelectorEventLoop, base_events.BaseEventLoop),
)


async def echo(reader: StreamReader, writer: StreamWriter) -> None:
    writer.write(await reader.readline())
    writer.close()


async def main() -> bytes:
    loop: AbstractEventLoop = get_running_loop()
    assert ACCEPT_RETRY_DELAY > 0
    queue: aioxide.Queue[bytes] = queues.Queue()
    async with timeout(20), TaskGroup() as group:
        task: Task[None] = group.create_task(queue.put(b"x\n"))
        assert isfuture(task) and extract_stack()
    server = await start_server(echo, "127.0.0.1", 0)
    async with server, aioxide.locks.Lock():
        reader, writer = await open_connection(*server.sockets[0].getsockname())
        assert_type(reader, aioxide.StreamReader)
        writer.write(await queue.get())
        line = await reader.readline()
        writer.close()
    process = await subprocess.create_subprocess_exec(
        sys.executable, "-c", "print(1)", stdout=subprocess.PIPE
    )
    assert_type(process, subprocess.Process)
    output, _ = await process.communicate()
    assert output == b"1\n"
    future: Future[int] = loop.create_future()
    future.set_result(await to_thread(int))
    first, second = await gather(future, future)
    assert first == second == 0
    result, *_ = await staggered_race([open_nothing], None)
    assert result is None
    return line


async def open_nothing() -> None:
    try:
        raise IncompleteReadError(b"", 1)
    except aioxide.exceptions.IncompleteReadError as error:
        logger.debug("as planned: %r", error)


reader: aioxide.streams.StreamReader | asyncio.streams.StreamReader
assert base_tasks.__name__ == "asyncio.base_tasks" and mixins.__name__ == "asyncio.mixins"
assert aioxide.streams is asyncio.streams and len(OTHERS) == len(set(OTHERS))
assert aioxide.run(main()) == b"x\n" and not iscoroutine(main)
