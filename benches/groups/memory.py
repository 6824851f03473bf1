"""Memory of what waits: an idle task, and an idle connection on the side of the server.

Each sample is taken in a process of its own, because memory that was freed once is not resident a second
time.
"""

import gc

from ..case import Group, Resident, Sample, Served
from ..machine import resident_bytes
from ..processes import hold
from .echo import serve

GROUP = Group("memory")


@GROUP.coroutine("memory of an idle task", n=100_000, operation="task", kind=Resident)
async def idle_task(aio, n):
    """Task, coroutine and context, all waiting for one future; the list of them is paid for before."""
    gate = aio.get_running_loop().create_future()
    # These fill what the process had free already, and are not counted.
    fill = n // 2
    tasks = [None] * (fill + n)

    async def idle():
        await gate

    async def make(some):
        for i in some:
            tasks[i] = aio.create_task(idle())
        await aio.sleep(0)
        gc.collect()
        return resident_bytes()

    before = await make(range(fill))
    grown = await make(range(fill, fill + n)) - before
    waiting = sum(not task.done() for task in tasks) - fill
    if waiting != n:
        raise RuntimeError(f"{waiting} tasks wait instead of {n}")
    return grown


CONNECTIONS = 10_000


def held(server, settings):
    """Connections that echoed a message and then do nothing. Half as many go first, as for the tasks."""
    conns = settings.objects(CONNECTIONS)
    with hold(server, conns // 2, settings.timeout):
        before = resident_bytes(server.pid)
        with hold(server, conns, settings.timeout):
            grown = resident_bytes(server.pid) - before
    return Sample(grown / conns, {})


GROUP.add(
    Served(
        "idle_connection",
        GROUP.name,
        "memory of an idle connection",
        "connection",
        serve=serve,
        load=held,
        unit="B",
        fresh=True,
        share=0.2,
    )
)
