"""Memory runs out while a loop's own lists grow: who asked gets MemoryError, and the loop goes on."""

import pytest

from tests.support.scenarios import child

PROGRAM = """
import asyncio, resource, socket, sys
import aioxide
from tests.support.limits import MB, leave_memory


def until_refused(deed, *args):
    "How often it could be done. What it takes is ours alone: the interpreter is to have some left."
    # Made before: counting takes memory too.
    numbers = list(range(2_000_000))
    before = leave_memory(24 * MB)
    try:
        for done in numbers:
            deed(*args)
    except MemoryError:
        return done
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    raise AssertionError("never refused")


ran = 0


def run():
    global ran
    ran += 1


async def told(what):
    assert what > 10_000, what
    # Whatever was accepted runs, and the loop with all that it does is whole.
    near, far = socket.socketpair()
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection(sock=far)
    near.send(b"x")
    assert await reader.readexactly(1) == b"x"
    writer.close()
    assert await asyncio.to_thread(int, "7") == 7
    near.close()


async def call_soon():
    loop = asyncio.get_running_loop()
    accepted = until_refused(loop.call_soon, run)
    await told(accepted)
    assert ran == accepted, (ran, accepted)


async def call_soon_threadsafe():
    loop = asyncio.get_running_loop()
    accepted = until_refused(loop.call_soon_threadsafe, run)
    await told(accepted)
    assert ran == accepted, (ran, accepted)


async def call_later():
    loop = asyncio.get_running_loop()
    accepted = until_refused(loop.call_later, 0, run)
    await asyncio.sleep(0.05)
    await told(accepted)
    assert ran == accepted, (ran, accepted)


async def add_done_callback():
    def called(future):
        run()

    future = asyncio.get_running_loop().create_future()
    accepted = until_refused(future.add_done_callback, called)
    future.set_result(None)
    await told(accepted)
    assert ran == accepted, (ran, accepted)


async def set_result():
    def called(future):
        run()

    future = asyncio.get_running_loop().create_future()
    count = 1_000_000
    for _ in range(count):
        future.add_done_callback(called)
    before = leave_memory(8 * MB)
    try:
        future.set_result("set")
    except MemoryError:
        pass
    else:
        raise AssertionError("there was memory")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert future.result() == "set"
    await told(count)
    assert 0 < ran < count


async def create_task():
    loop = asyncio.get_running_loop()

    async def runs():
        run()

    waiting = [runs() for _ in range(1_000_000)]
    accepted = until_refused(lambda: loop.create_task(waiting.pop()))
    for coroutine in waiting:
        coroutine.close()
    await told(accepted)
    assert ran == accepted, (ran, accepted)


aioxide.run(globals()[sys.argv[1]]())
"""

DEEDS = ["call_soon", "call_soon_threadsafe", "call_later", "add_done_callback", "set_result", "create_task"]


@pytest.mark.parametrize("deed", DEEDS)
def test_what_finds_no_room_is_refused_and_the_rest_runs(deed):
    done = child(PROGRAM, deed)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
