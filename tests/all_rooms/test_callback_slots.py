"""Every other place where the loop calls user code, and in each of them what user code may do to the loop."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import threading

import pytest

from tests.support.scenarios import EXCEPTIONS, NESTED_RUN_HANGS, assert_same

# Places: each takes the run and a function without arguments, brings the loop to call it, and yields once
# for the test to let the loop run; what it made is closed afterwards.


def at_call_soon(run, deed):
    run.loop.call_soon(deed)
    yield


def at_call_soon_threadsafe(run, deed):
    thread = threading.Thread(target=run.loop.call_soon_threadsafe, args=(deed,))
    thread.start()
    thread.join()
    yield


def at_call_later_zero(run, deed):
    run.loop.call_later(0, deed)
    yield


def at_call_later_negative(run, deed):
    run.loop.call_later(-1, deed)
    yield


def at_call_at_past(run, deed):
    run.loop.call_at(run.loop.time() - 5, deed)
    yield


def at_reader(run, deed):
    near, far = run.tcp_pair()
    run.loop.add_reader(near, deed)
    far.send(b"x")
    yield
    run.log("main", "removed", run.loop.remove_reader(near))


def at_writer(run, deed):
    near, _ = run.tcp_pair()
    run.loop.add_writer(near, deed)
    yield
    run.log("main", "removed", run.loop.remove_writer(near))


def at_signal_handler(run, deed):
    run.loop.add_signal_handler(signal.SIGUSR1, deed)
    os.kill(os.getpid(), signal.SIGUSR1)
    yield
    # Closing the loop in the deed has removed it.
    run.log("main", "removed", run.loop.remove_signal_handler(signal.SIGUSR1))


def at_done_callback_of_future(run, deed):
    future = run.loop.create_future()
    future.add_done_callback(lambda _: deed())
    future.set_result(1)
    yield
    run.log("main", "future", future.result())


def at_done_callback_of_task(run, deed):
    async def nothing():
        return 2

    task = run.loop.create_task(nothing())
    task.add_done_callback(lambda _: deed())
    yield
    run.log("main", "task", task.done())


def at_done_callback_of_cancelled_future(run, deed):
    future = run.loop.create_future()
    future.add_done_callback(lambda _: deed())
    future.cancel("enough")
    yield
    run.log("main", "future", future.cancelled())


def at_first_step(run, deed):
    async def body():
        deed()

    task = run.loop.create_task(body())
    task.add_done_callback(lambda t: run.log("task", t.cancelled() or t.exception()))
    yield
    del task


def at_later_step(run, deed):
    async def body():
        await asyncio.sleep(0)
        deed()
        await asyncio.sleep(0)
        run.log("task", "went on")

    task = run.loop.create_task(body())
    task.add_done_callback(lambda t: run.log("task", t.cancelled() or t.exception()))
    yield
    del task


def at_wakeup_by_future(run, deed):
    future = run.loop.create_future()

    async def body():
        await future
        deed()

    task = run.loop.create_task(body())
    task.add_done_callback(lambda t: run.log("task", t.cancelled() or t.exception()))
    run.loop.call_soon(future.set_result, None)
    yield


def at_cancelled_step(run, deed):
    async def body():
        try:
            await run.loop.create_future()
        finally:
            deed()

    task = run.loop.create_task(body())
    task.add_done_callback(lambda t: run.log("task", t.cancelled() or t.exception()))
    run.loop.call_soon(task.cancel, "reason")
    yield


def at_exception_handler(run, deed):
    def handler(loop, context):
        run.on_unhandled(loop, context)
        deed()

    def fail():
        raise OSError("for the handler")

    run.loop.set_exception_handler(handler)
    run.loop.call_soon(fail)
    yield
    run.loop.set_exception_handler(run.on_unhandled)


def at_task_factory(run, deed):
    def factory(loop, coroutine, **options):
        deed()
        return asyncio.Task(coroutine, loop=loop, **options)

    async def nothing():
        pass

    coroutine = nothing()
    run.loop.set_task_factory(factory)
    run.loop.call_soon(lambda: run.loop.create_task(coroutine))
    yield
    run.loop.set_task_factory(None)
    coroutine.close()


def at_eager_start(run, deed):
    async def body():
        deed()

    # No context manager: an eager task needs the loop to be running, so it is made in a callback.
    run.loop.set_task_factory(asyncio.eager_task_factory)
    coroutine = body()
    run.loop.call_soon(lambda: run.loop.create_task(coroutine))
    yield
    run.loop.set_task_factory(None)
    coroutine.close()


def at_executor_result(run, deed):
    future = run.loop.run_in_executor(None, int, "7")
    future.add_done_callback(lambda f: (run.log("executor", f.result()), deed()))
    while not future.done() and not run.loop.is_closed():
        run.settle(1)
    yield
    if not run.loop.is_closed():
        run.attempt("main", run.loop.run_until_complete, run.loop.shutdown_default_executor())


def at_async_generator_end(run, deed):
    async def numbers():
        try:
            yield 1
        finally:
            deed()

    async def take_one():
        async for _ in numbers():
            break
        gc.collect()

    task = run.loop.create_task(take_one())
    yield
    run.log("main", "task", task.done())
    if not run.loop.is_closed():
        run.attempt("main", run.loop.run_until_complete, run.loop.shutdown_asyncgens())


def at_destructor(run, deed):
    class Last:
        def __del__(self):
            # What a destructor raises goes to sys.unraisablehook, not to us.
            with contextlib.suppress(BaseException):
                deed()

    run.loop.call_soon(lambda last: None, Last())
    yield


def at_destructor_of_cancelled_handle(run, deed):
    class Last:
        def __del__(self):
            with contextlib.suppress(BaseException):
                deed()

    handle = run.loop.call_later(1000, lambda last: None, Last())
    run.loop.call_soon(handle.cancel)
    yield


def at_client_connected(run, deed):
    async def connected(reader, writer):
        writer.close()
        deed()

    server = run.loop.run_until_complete(asyncio.start_server(connected, "127.0.0.1", 0))
    client = socket.create_connection(server.sockets[0].getsockname())
    run.opened.enter_context(client)
    yield
    server.close()
    run.settle(3)


def at_server_factory(run, deed):
    def factory():
        deed()
        return asyncio.Protocol()

    server = run.loop.run_until_complete(run.loop.create_server(factory, "127.0.0.1", 0))
    client = socket.create_connection(server.sockets[0].getsockname())
    run.opened.enter_context(client)
    yield
    client.close()
    server.close()
    run.settle(3)


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, deed, slot):
        self.deed, self.slot = deed, slot

    def seen(self, slot):
        if slot == self.slot:
            self.deed()

    def connection_made(self, transport):
        self.seen("connection_made")

    def datagram_received(self, data, address):
        self.seen("datagram_received")

    def error_received(self, error):
        self.seen("error_received")

    def connection_lost(self, error):
        self.seen("connection_lost")


def at_datagram_slot(run, deed, slot="datagram_received"):
    near = run.opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    far = run.opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    near.bind(("127.0.0.1", 0))
    far.bind(("127.0.0.1", 0))
    near.connect(far.getsockname())
    near.setblocking(False)
    made = run.complete(run.loop.create_datagram_endpoint(lambda: Datagrams(deed, slot), sock=near))
    far.sendto(b"hello", near.getsockname())
    yield
    far.close()
    if made is not None:
        made[0].sendto(b"nobody there")  # the answer is an ICMP error
        run.settle(3)
        made[0].close()
        run.settle(3)


def at_datagram_error(run, deed):
    return at_datagram_slot(run, deed, "error_received")


def at_datagram_connection_lost(run, deed):
    return at_datagram_slot(run, deed, "connection_lost")


def at_read_pipe_data(run, deed):
    class Reading(asyncio.Protocol):
        def data_received(self, data):
            deed()

    reader, writer = os.pipe()
    made = run.complete(run.loop.connect_read_pipe(Reading, open(reader, "rb", 0)))
    os.write(writer, b"x")
    yield
    os.close(writer)
    run.settle(3)
    made[0].close()
    run.settle(3)


def at_write_pipe_lost(run, deed):
    class Writing(asyncio.BaseProtocol):
        def connection_lost(self, error):
            deed()

    reader, writer = os.pipe()
    made = run.complete(run.loop.connect_write_pipe(Writing, open(writer, "wb", 0)))
    os.close(reader)
    yield
    made[0].close()
    run.settle(3)


PLACES = {name[3:]: place for name, place in list(globals().items()) if name.startswith("at_")}
del PLACES["datagram_slot"]
PLACES["datagram_received"] = at_datagram_slot

# Deeds, each done with the run in hand.


def do_stop(run):
    run.loop.stop()
    run.loop.stop()


def do_close_loop(run):
    run.loop.close()


def do_run_forever(run):
    run.loop.run_forever()


def do_run_until_complete(run):
    coroutine = asyncio.sleep(0)
    try:
        run.loop.run_until_complete(coroutine)
    finally:
        coroutine.close()


def do_run_another_loop(run):
    other = type(run.loop)()
    try:
        other.run_forever()
    finally:
        other.close()


def do_asyncio_run(run):
    coroutine = asyncio.sleep(0)
    try:
        asyncio.run(coroutine)
    finally:
        coroutine.close()


def do_collect_garbage(run):
    gc.collect()


def do_schedule_and_cancel(run):
    handles = [run.loop.call_soon(run.log, "place", "scheduled", n) for n in range(4)]
    handles += [run.loop.call_later(0, run.log, "place", "later", n) for n in range(2)]
    for handle in handles[::2]:
        handle.cancel()
        handle.cancel()
    run.log("place", [handle.cancelled() for handle in handles])


def do_look_around(run):
    run.log("place", "running", run.loop.is_running(), asyncio.get_running_loop() is run.loop)
    task = asyncio.current_task()
    run.log("place", "in task", task is not None, len(asyncio.all_tasks()))


def do_leave_a_task_pending(run):
    task = run.loop.create_task(asyncio.sleep(1000), name="left behind")
    run.loop.call_soon(task.cancel)


def do_replace_exception_handler(run):
    run.loop.set_exception_handler(None)
    run.loop.set_exception_handler(run.on_unhandled)


def do_switch_debug(run):
    # The handles, futures and tasks on their way were made without it.
    run.loop.set_debug(True)
    run.loop.call_soon(run.loop.set_debug, False)


def do_fork(run):
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def make_raise(exception):
    def do(run):
        raise exception("from a callback")

    return do


DEEDS = {name[3:]: deed for name, deed in list(globals().items()) if name.startswith("do_")}
DEEDS |= {f"raise_{exception.__name__}": make_raise(exception) for exception in EXCEPTIONS}


def visit(run, place, deed):
    """Do the deed once in the place, let the loop run, and see that it still works afterwards."""
    done = []

    def do():
        if not done:
            done.append(True)
            run.log("place", "does", deed)
            try:
                DEEDS[deed](run)
            except BaseException as error:
                run.log("place", "the deed raises", error)
                raise

    with contextlib.closing(PLACES[place](run, do)) as steps:
        next(steps)
        run.settle()
        next(steps, None)
    run.settle()
    if not run.loop.is_closed():
        run.loop.call_soon(run.log, "afterwards", "a callback runs")
        run.complete(asyncio.sleep(0, "afterwards"))


IN_ACCEPT_TASK = {"client_connected", "server_factory"}


def make_cases():
    old = pytest.mark.by_version(not hasattr(asyncio, "eager_task_factory"), "eager tasks came with 3.12")
    hangs = pytest.mark.by_version(NESTED_RUN_HANGS, "asyncio 3.13.0 hangs")
    for place in PLACES:
        for deed in DEEDS:
            marks = [old] if place == "eager_start" else []
            marks += [hangs] if deed in {"run_forever", "run_until_complete"} else []
            # asyncio accepts each connection in a task of its own, in which these are called; we need none.
            if not (place in IN_ACCEPT_TASK and deed == "look_around"):
                yield pytest.param(place, deed, id=f"{place}-{deed}", marks=marks)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize(("place", "deed"), list(make_cases()))
def test_deed_in_place(place, deed):
    # What is raised in the task that accepts is logged a second time, as that task's.
    twice = place == "server_factory" and deed in {"raise_KeyboardInterrupt", "raise_SystemExit"}
    assert_same(visit, place, deed, reached=f"('does', '{deed}')", ignore=["handler"] if twice else [])
