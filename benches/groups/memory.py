"""Memory of what waits: tasks for a future or an event, timers, and idle connections on the side of the server.

Each sample is taken in a process of its own, because memory that was freed once is not resident a second
time.
"""

import gc

from ..case import PAGE, Resident, Sample, Served
from ..machine import resident_bytes
from ..processes import hold
from ..registry import Group
from ..series import Series
from .echo import serve_protocol

GROUP = Group("memory")
MANY = Series("waiting", (10_000, 100_000, 1_000_000))


async def grown_by(aio, n, make, waits):
    """By how many bytes the process grows with `n` of what `make()` makes; `waits(thing)` tells whether it does.

    Others go first: these fill what the process had free already. The list of them is paid for before. No garbage is
    looked for on the way, which would take most of the time. Memory is read when the loop has waited: in the turn in
    which they begin, a loop may still have what their queue needed.
    """
    fill = min(n // 2, 50_000)
    gc.disable()
    things = [None] * (fill + n)

    async def add(some):
        for i in some:
            things[i] = make()
        await aio.sleep(0.01)
        gc.collect()
        return resident_bytes()

    before = await add(range(fill))
    grown = await add(range(fill, fill + n)) - before
    waiting = sum(map(waits, things)) - fill
    if waiting != n:
        raise RuntimeError(f"{waiting} wait instead of {n}")
    return grown


@GROUP.coroutine("memory of a task that waits for a future", MANY, operation="task", kind=Resident)
async def idle_task(aio, n, size):
    """Task, coroutine and context, all waiting for one future."""
    gate = aio.get_running_loop().create_future()

    async def idle():
        await gate

    return await grown_by(aio, n, lambda: aio.create_task(idle()), lambda task: not task.done())


@GROUP.coroutine("memory of a task that waits for an Event", MANY, operation="task", kind=Resident)
async def event_task(aio, n, size):
    """Each has a future of its own besides, and its place in the event's list."""
    event = aio.Event()

    async def idle():
        await event.wait()

    return await grown_by(aio, n, lambda: aio.create_task(idle()), lambda task: not task.done())


@GROUP.coroutine("memory of a timer that waits", MANY, operation="timer", kind=Resident)
async def idle_timer(aio, n, size):
    loop = aio.get_running_loop()

    def never():
        raise AssertionError("an hour has gone by")

    return await grown_by(aio, n, lambda: loop.call_later(3_600, never), lambda timer: not timer.cancelled())


def held(case, server, settings):
    """Connections that echoed a message and then do nothing. Half as many go first, as for the tasks."""
    conns = case.size
    with hold(server, conns // 2, settings.timeout):
        before = resident_bytes(server.pid)
        with hold(server, conns, settings.timeout):
            grown = resident_bytes(server.pid) - before
    return Sample(max(grown, PAGE) / conns, {})


GROUP.add(
    Served,
    "idle_connection",
    "memory of an idle connection",
    "connection",
    Series("connections", (100, 1_000, 10_000)),
    serve=serve_protocol,
    load=held,
    unit="B",
    fresh=True,
    share=0.15,
    least=1,
)
