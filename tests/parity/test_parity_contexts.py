"""contextvars in every kind of callback that the loop makes."""

import asyncio
import contextvars
import os
import signal
import socket
import sys

import pytest

from .harness import Recorder, parity, settle

variable = contextvars.ContextVar("variable", default="default")


def in_context(value):
    context = contextvars.copy_context()
    context.run(variable.set, value)
    return context


@parity
def test_call_soon_later_at_and_threadsafe(h):
    calls = [
        lambda *a, **k: h.loop.call_soon(*a, **k),
        lambda *a, **k: h.loop.call_later(0, *a, **k),
        lambda *a, **k: h.loop.call_at(0, *a, **k),
        lambda *a, **k: h.loop.call_soon_threadsafe(*a, **k),
    ]
    for n, call in enumerate(calls):
        variable.set(f"at call {n}")
        call(lambda n=n: h.log("copied", n, variable.get()))
        call(lambda n=n: h.log("given", n, variable.get()), context=in_context(f"given {n}"))
    variable.set("later")
    h.turns(3)


@parity
def test_a_callback_s_change_stays_in_its_context(h):
    context = in_context("first")

    def change():
        h.log(variable.get())
        variable.set("changed")

    h.loop.call_soon(change, context=context)
    h.loop.call_soon(lambda: h.log("same context", variable.get()), context=context)
    h.loop.call_soon(change)
    h.loop.call_soon(lambda: h.log("own copy", variable.get()))
    h.turns()
    h.log(variable.get(), context[variable])


@parity
def test_context_that_is_already_entered(h):
    h.catch()
    context = contextvars.copy_context()

    def enter():
        h.loop.call_soon(h.log, "nested turn is not possible", context=context)
        h.log("in the context")

    h.loop.call_soon(enter, context=context)
    h.turns(2)
    context.run(h.loop.call_soon, h.log, "scheduled from inside")
    h.turns()

    def run_inside():
        h.loop.call_soon(h.log, "in a context that is entered", context=context)
        h.turns()

    context.run(run_inside)


@parity
async def test_tasks_copy_the_context(h):
    async def sets(value):
        variable.set(value)
        await asyncio.sleep(0)
        h.log("in task", variable.get())

    variable.set("outer")
    await asyncio.gather(sets("one"), sets("two"))
    h.log("outside", variable.get())
    await sets("awaited directly")
    h.log("outside", variable.get())
    context = in_context("given")
    await h.loop.create_task(sets("in given"), context=context)
    h.log(context[variable], variable.get())


@parity
async def test_future_callbacks(h):
    future = h.loop.create_future()
    variable.set("at add")
    future.add_done_callback(lambda f: h.log("copied", variable.get()))
    future.add_done_callback(lambda f: h.log("given", variable.get()), context=in_context("given"))
    variable.set("at set")
    future.set_result(None)
    variable.set("after")
    await h.idle(2)


@parity
def test_readers_and_writers(h):
    near, far = h.socket_pair()
    variable.set("at add_reader")
    h.loop.add_reader(near, lambda: (h.log("reader", variable.get(), near.recv(10)), variable.set("changed")))
    variable.set("at add_writer")
    h.loop.add_writer(near, lambda: (h.log("writer", variable.get()), h.loop.remove_writer(near)))
    variable.set("later")
    for data in (b"1", b"2"):
        far.send(data)
        h.turns(2)
    h.loop.remove_reader(near)


@parity
def test_signal_handlers(h):
    variable.set("at add")
    h.loop.add_signal_handler(signal.SIGUSR1, lambda: (h.log("signal", variable.get()), h.loop.stop()))
    variable.set("later")
    h.loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
    h.loop.run_forever()
    h.loop.remove_signal_handler(signal.SIGUSR1)


@parity
async def test_protocol_callbacks(h):
    class Telling(Recorder):
        def _see(self, what, *values):
            super()._see(what, *values, variable.get())

    near, far = h.socket_pair()
    variable.set("at creation")
    transport, protocol = await h.loop.create_connection(lambda: Telling(h), sock=near)
    variable.set("after creation")
    far.send(b"data")
    await settle()
    variable.set("at close")
    far.close()
    await protocol.lost
    h.log(transport.is_closing())


@parity
@pytest.mark.by_version(sys.version_info >= (3, 15), "from 3.15 on a transport keeps its context")
async def test_writing_that_is_resumed_keeps_the_context_of_who_wrote(h):
    class Telling(Recorder):
        def _see(self, what, *values):
            super()._see(what, *values, variable.get())

    near, far = h.socket_pair()
    variable.set("at creation")
    transport, protocol = await h.loop.create_connection(lambda: Telling(h), sock=near)
    variable.set("at write")
    transport.write(b"x" * 5_000_000)
    variable.set("at close")
    far.setblocking(False)
    received = 0
    while received < 5_000_000:
        received += len(await h.loop.sock_recv(far, 5_000_000))
    await settle()
    transport.close()
    await protocol.lost


@parity
@pytest.mark.by_version(sys.version_info >= (3, 15), "from 3.15 on a transport keeps its context")
async def test_reading_that_is_resumed_takes_the_context_of_who_resumes(h):
    class Telling(Recorder):
        def _see(self, what, *values):
            super()._see(what, *values, variable.get())

    near, far = h.socket_pair()
    variable.set("at creation")
    transport, protocol = await h.loop.create_connection(lambda: Telling(h), sock=near)
    transport.pause_reading()
    variable.set("at resume")
    transport.resume_reading()
    far.send(b"data")
    await settle()
    transport.close()
    await protocol.lost


@parity
async def test_server_protocols(h):
    def factory():
        h.log("factory", variable.get())
        return Telling(h)

    class Telling(Recorder):
        def _see(self, what, *values):
            super()._see(what, *values, variable.get())
            if what == "connection_lost":
                gone.set()

    gone = asyncio.Event()
    variable.set("at create_server")
    server = await h.loop.create_server(factory, "127.0.0.1", 0)
    variable.set("after create_server")
    client = socket.create_connection(server.sockets[0].getsockname())
    client.send(b"hello")
    await settle()
    client.close()
    await gone.wait()
    server.close()


@parity
async def test_start_server_handler(h):
    async def handler(reader, writer):
        h.log("handler", variable.get())
        variable.set("in the handler")
        await reader.read()
        h.log("after reading", variable.get())
        writer.close()
        gone.set()

    gone = asyncio.Event()
    variable.set("at start_server")
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    variable.set("after start_server")
    client = socket.create_connection(server.sockets[0].getsockname())
    await settle()
    client.close()
    await gone.wait()
    server.close()


@parity
async def test_executor_does_not_copy(h):
    variable.set("outer")
    h.log(await h.loop.run_in_executor(None, variable.get))
    h.log(await asyncio.to_thread(variable.get))
