"""What is no longer reachable is collected, also out of cycles; and what dies may still call the loop."""

import asyncio
import gc
import socket
import warnings
import weakref

import pytest

from tests.support.scenarios import FACTORIES, Run, assert_same, child


class Canary:
    """Something to watch: tells through a weak reference when what holds it is gone."""


@pytest.fixture(params=FACTORIES)
def loop(request):
    loop = FACTORIES[request.param]()
    yield loop
    loop.close()


def turn(loop, count=3):
    for _ in range(count):
        loop.call_soon(loop.stop)
        loop.run_forever()


def future_in_a_cycle(loop, canary):
    future = loop.create_future()
    future.add_done_callback(lambda f, c=canary: future)
    future.mine = canary


def done_future_with_result(loop, canary):
    future = loop.create_future()
    future.set_result((canary, future))


def future_with_exception(loop, canary):
    future = loop.create_future()
    error = ValueError(canary, future)
    future.set_exception(error)
    future.exception()


def cancelled_future(loop, canary):
    future = loop.create_future()
    future.cancel(canary)
    turn(loop)


def finished_task(loop, canary):
    async def body(canary):
        await asyncio.sleep(0)
        return canary

    task = loop.create_task(body(canary))
    task.itself = task
    turn(loop)
    assert task.result() is canary


def failed_task(loop, canary):
    async def body(canary):
        raise ValueError(canary)

    task = loop.create_task(body(canary))
    turn(loop)
    assert task.exception().args == (canary,)  # the traceback holds the frame, the frame the canary


def cancelled_task(loop, canary):
    async def body(canary):
        await loop.create_future()

    task = loop.create_task(body(canary))
    turn(loop)
    task.cancel()
    turn(loop)
    assert task.cancelled()


def task_with_context_and_name(loop, canary):
    import contextvars

    variable = contextvars.ContextVar("variable")
    context = contextvars.copy_context()
    context.run(variable.set, canary)

    async def body():
        assert variable.get() is canary

    task = loop.create_task(body(), context=context, name="named")
    task.set_name("renamed")
    turn(loop)
    assert task.done()


def task_and_future_that_wait_for_each_other(loop, canary):
    """A pending task is kept alive only by what will wake it: here by nothing but itself."""

    async def body(future):
        future.waiting = canary
        await future

    future = loop.create_future()
    future.task = loop.create_task(body(future))
    future.task._log_destroy_pending = False
    turn(loop)


def handle_that_ran(loop, canary):
    handle = loop.call_soon(lambda c: None, canary)
    turn(loop)
    del handle


def cancelled_handles(loop, canary):
    handles = [loop.call_soon(print, canary), loop.call_later(1000, print, canary)]
    for handle in handles:
        handle.cancel()
    canary.handles = handles


def many_cancelled_timers(loop, canary):
    """Cancelled ones are dropped from the heap in bulk, long before they would be due."""
    for handle in [loop.call_later(1000, print, canary) for _ in range(1000)]:
        handle.cancel()
    turn(loop)


def attribute_of_the_loop(loop, canary):
    loop.mine = canary
    canary.loop = loop
    del loop.mine


def exception_handler_and_factory(loop, canary):
    loop.set_exception_handler(lambda loop, context, c=canary: None)
    loop.set_task_factory(
        lambda loop, coroutine, c=canary, **options: asyncio.Task(coroutine, loop=loop, **options)
    )
    loop.set_exception_handler(None)
    loop.set_task_factory(None)


def removed_reader(loop, canary):
    near, far = socket.socketpair()
    with near, far:
        loop.add_reader(near, print, canary)
        loop.add_writer(near, print, canary)
        loop.add_reader(near, print)  # in the place of the first
        loop.remove_writer(near)
        loop.remove_reader(near)


def closed_transport(loop, canary):
    class Holder(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport
            self.canary = canary

    near, far = socket.socketpair()
    with far:
        near.setblocking(False)
        transport, protocol = loop.run_until_complete(loop.create_connection(Holder, sock=near))
        transport.write(b"x")
        transport.close()
        turn(loop)
        assert protocol.transport is transport


def closed_server(loop, canary):
    class Holder(asyncio.Protocol):
        held = canary

    server = loop.run_until_complete(loop.create_server(lambda c=canary: Holder(), "127.0.0.1", 0))
    server.close()
    turn(loop)


def shielded_and_gathered(loop, canary):
    async def body(canary):
        await asyncio.sleep(0)
        return canary

    async def main():
        await asyncio.gather(body(canary), asyncio.shield(body(canary)), asyncio.wait_for(body(canary), 10))

    loop.run_until_complete(main())


MAKERS = [
    future_in_a_cycle,
    done_future_with_result,
    future_with_exception,
    cancelled_future,
    finished_task,
    failed_task,
    cancelled_task,
    task_with_context_and_name,
    task_and_future_that_wait_for_each_other,
    handle_that_ran,
    cancelled_handles,
    many_cancelled_timers,
    attribute_of_the_loop,
    exception_handler_and_factory,
    removed_reader,
    closed_transport,
    closed_server,
    shielded_and_gathered,
]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_garbage_is_collected(loop, make):
    canary = Canary()
    alive = weakref.ref(canary)
    make(loop, canary)
    del canary
    turn(loop)
    gc.collect()
    assert alive() is None, gc.get_referrers(alive())


HELD_BY = {
    "ready callback": lambda loop, canary: loop.call_soon(print, canary),
    "timer": lambda loop, canary: loop.call_later(1000, print, canary),
    "thread-safe callback": lambda loop, canary: loop.call_soon_threadsafe(print, canary),
    "exception handler": lambda loop, canary: loop.set_exception_handler(
        lambda loop, context, c=canary: None
    ),
    "attribute": lambda loop, canary: setattr(loop, "mine", (canary, loop)),
    "callback that knows the loop": lambda loop, canary: loop.call_soon(print, canary, loop),
}


@pytest.mark.parametrize("holder", HELD_BY)
@pytest.mark.parametrize("factory", FACTORIES.values(), ids=FACTORIES)
@pytest.mark.parametrize("closed", [True, False])
def test_a_loop_takes_what_it_holds_with_it(factory, holder, closed):
    canary = Canary()
    alive = weakref.ref(canary)
    loop = factory()
    gone = weakref.ref(loop)
    HELD_BY[holder](loop, canary)
    del canary
    if closed:
        loop.close()
        del loop
    else:
        with pytest.warns(ResourceWarning, match="unclosed"):
            del loop
            gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    assert gone() is None
    assert alive() is None


def die_noisily(run, where):
    class Last:
        """Calls back into the loop with its last breath."""

        def __del__(self):
            run.log("last", "dies", run.loop.is_closed())
            run.attempt("last", lambda: type(run.loop.call_soon(print)) is not None)
            run.attempt("last", lambda: type(run.loop.call_later(1, print)) is not None)
            run.attempt("last", lambda: type(run.loop.call_soon_threadsafe(print)) is not None)
            run.attempt("last", run.loop.stop)
            run.attempt("last", run.loop.close)
            gc.collect()

    def hold(last):
        future = run.loop.create_future()
        match where:
            case "ready":
                run.loop.call_soon(lambda kept: None, last)
            case "timer":
                run.loop.call_later(1000, print, last)
            case "inbox":
                run.loop.call_soon_threadsafe(lambda kept: None, last)
            case "result":
                future.set_result(last)
            case "callback":
                future.add_done_callback(lambda f, kept=last: None)

    hold(Last())
    run.loop.close()
    gc.collect()


@pytest.mark.parametrize("where", ["ready", "timer", "inbox", "result", "callback"])
def test_destructors_may_call_a_loop_that_closes(where):
    assert_same(die_noisily, where, reached="'dies'")


def collect_in_a_destructor_chain(run):
    """Each callback's argument dies while the next runs, and takes a future with callbacks with it."""

    class Link:
        def __init__(self, depth):
            self.future = run.loop.create_future()
            self.future.add_done_callback(lambda f: run.log("chain", "callback", depth))
            self.depth = depth

        def __del__(self):
            if not run.loop.is_closed():
                self.future.set_result(None)
                if self.depth:
                    run.loop.call_soon(lambda link: None, Link(self.depth - 1))

    run.loop.call_soon(lambda link: None, Link(20))
    run.settle(60)


def test_destructors_may_schedule_more():
    assert_same(collect_in_a_destructor_chain, reached="'callback', 0")


def deep_nesting(run, depth):
    """A chain of futures, tasks and coroutines so long that clearing or completing it naively overflows the
    stack.
    """
    inner = run.loop.create_future()
    chain = [inner]
    for _ in range(depth):
        outer = run.loop.create_future()
        outer.link = chain[-1]
        chain.append(outer)
    last = chain[-1]
    del chain, inner, outer
    del last
    gc.collect()

    async def wait(task):
        return await task + 1 if task is not None else 0

    task = None
    for _ in range(depth):
        task = run.loop.create_task(wait(task))
    run.log("main", run.loop.run_until_complete(task))


def test_long_chains_do_not_overflow_the_stack():
    run = Run(FACTORIES["aioxide"])
    with run.opened:
        deep_nesting(run, 100_000)
        run.loop.close()
    assert run.history["main"] == [(99_999,)]


@pytest.mark.parametrize("link", ["result", "handle", "timer", "task", "callback"])
def test_a_long_chain_is_released(link):
    """Each holds the one before: released without recursing as deep as the chain is long."""
    result = child(CHAINS, link, 400_000, timeout=120)
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.strip() == "released"


CHAINS = """
import asyncio, gc, sys, aioxide

async def wait_for(awaitable):
    return await awaitable

def chain(loop, link, length):
    last = loop.create_future()
    for _ in range(length):
        if link == "result":
            future = loop.create_future()
            future.set_result(last)
            last = future
        elif link == "callback":
            future = loop.create_future()
            future.add_done_callback(last.remove_done_callback)
            last = future
        elif link == "handle":
            last = aioxide.Handle(last.__class__, (last,), loop)
        elif link == "timer":
            last = aioxide.TimerHandle(1, print, (last,), loop)
        else:
            task = loop.create_task(wait_for(last))
            task._log_destroy_pending = False
            last = task
    return last

gc.disable()
loop = aioxide.new_event_loop()
last = chain(loop, sys.argv[1], int(sys.argv[2]))
loop.run_until_complete(asyncio.sleep(0))
del last
loop.close()
del loop
gc.collect()
print("released")
"""
