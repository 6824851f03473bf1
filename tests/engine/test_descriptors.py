"""Descriptors run out, or are closed behind the loop's back: no abort, no spinning, and recovery."""

import asyncio
import contextlib
import gc
import os
import socket
import time
import weakref

import aioxide
import pytest

from tests.support.scenarios import FACTORIES, NATIVE, assert_same, child


@pytest.fixture(params=FACTORIES)
def loop(request):
    loop = FACTORIES[request.param]()
    yield loop
    loop.close()


@pytest.fixture
def pair():
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    yield near, far
    near.close()
    far.close()


def busy_seconds(loop, seconds):
    """The CPU time that the loop uses in this time when it has nothing to do but wait."""
    loop.call_later(seconds, loop.stop)
    started = time.thread_time()
    loop.run_forever()
    return time.thread_time() - started


@pytest.fixture
def responsive(loop):
    """A function that tells whether the loop still serves another descriptor."""
    near, far = socket.socketpair()

    def ask():
        seen = []
        loop.add_reader(near, lambda: (seen.append(near.recv(1)), loop.stop()))
        far.send(b"!")
        loop.run_forever()
        return seen == [b"!"] and loop.remove_reader(near)

    yield ask
    near.close()
    far.close()


@pytest.mark.parametrize("direction", ["reader", "writer"])
def test_closed_behind_our_back(loop, pair, responsive, direction):
    near, _ = pair
    fd = near.fileno()
    getattr(loop, f"add_{direction}")(fd, lambda: None)
    near.close()
    assert responsive()
    assert busy_seconds(loop, 0.05) < 0.03
    assert getattr(loop, f"remove_{direction}")(fd)
    assert not getattr(loop, f"remove_{direction}")(fd)
    assert responsive()


def test_closed_in_its_own_callback(loop, pair):
    near, far = pair
    fd, seen = near.fileno(), []

    def readable():
        seen.append(near.recv(1))
        near.close()
        loop.stop()

    loop.add_reader(fd, readable)
    far.send(b"12")
    loop.run_forever()
    assert busy_seconds(loop, 0.05) < 0.03
    assert loop.remove_reader(fd)
    assert seen == [b"1"]


def test_closed_in_the_callback_of_another(loop):
    """Both are ready in the same turn, and the first closes the second, which is then not called."""
    pairs = [socket.socketpair() for _ in range(2)]
    seen = []

    def readable(mine):
        seen.append(mine)
        for index, (near, _) in enumerate(pairs):
            loop.remove_reader(near)
            if index != mine:
                near.close()
        loop.call_soon(loop.stop)

    for index, (near, far) in enumerate(pairs):
        loop.add_reader(near, readable, index)
        far.send(b"x")
    loop.run_forever()
    assert len(seen) == 1
    for each in pairs:
        for end in each:
            end.close()


@pytest.mark.parametrize("removed", [True, False])
def test_number_reused_by_another_file(loop, pair, responsive, removed):
    """The kernel hands the closed number out again. The new file is watched once somebody asks for it."""
    near, _ = pair
    other_near, other_far = socket.socketpair()
    fd, seen = near.fileno(), []
    loop.add_reader(fd, seen.append, "the old one")
    near.close()
    with other_near, other_far:
        os.dup2(other_near.fileno(), fd)

        def readable():
            seen.append(os.read(fd, 1))
            loop.stop()

        if not removed:
            # asyncio takes the registration for still good, or fails to change it: in vain, but in peace.
            with contextlib.suppress(OSError):
                loop.add_reader(fd, readable)
            assert busy_seconds(loop, 0.02) < 0.02
        loop.remove_reader(fd)
        loop.add_reader(fd, readable)
        other_far.send(b"n")
        loop.run_forever()
        assert seen == [b"n"]
        assert loop.remove_reader(fd)
        os.close(fd)
    assert responsive()


@pytest.mark.skipif(
    not NATIVE, reason="asyncio's own loop spins on a descriptor that it can't unregister any more"
)
@pytest.mark.parametrize("loop", ["aioxide"], indirect=True)
def test_duplicate_that_keeps_firing(loop, responsive):
    """After dup and close epoll goes on reporting the file, under a number by which it can't be deleted."""
    near, far = socket.socketpair()
    fd, seen = near.fileno(), []
    loop.add_reader(fd, lambda: (seen.append("fired"), loop.stop()))
    duplicate = os.dup(fd)
    near.close()
    far.send(b"never read")
    loop.run_forever()
    assert seen == ["fired"]
    assert loop.remove_reader(fd)
    assert busy_seconds(loop, 0.1) < 0.05, "the loop spins on a file that nobody watches"
    assert seen == ["fired"]
    assert responsive()
    os.close(duplicate)
    far.close()


@pytest.mark.parametrize("method", ["close", "dup2"])
def test_transports_socket_closed_behind_its_back(loop, responsive, method):
    async def main():
        near, far = socket.socketpair()
        near.setblocking(False)
        with far:
            _, writer = await asyncio.open_connection(sock=near)
            fd = near.fileno()
            if method == "close":
                os.close(fd)
                # Nobody else may get the number while the transport thinks it is its own.
                os.dup2(far.fileno(), fd)
            else:
                os.dup2(far.fileno(), fd)
            writer.write(b"somewhere")
            await asyncio.sleep(0.01)
            writer.transport.abort()
            await asyncio.sleep(0.01)

    loop.run_until_complete(main())
    assert responsive()


OUT_OF_DESCRIPTORS = """
import asyncio, errno, os, resource, socket, sys, time
from tests.support.scenarios import FACTORIES

async def echo(reader, writer):
    while data := await reader.read(100):
        writer.write(data)

async def main():
    loop = asyncio.get_running_loop()
    said, accepted = [], []

    def out_of_descriptors(loop, context):
        said.append((loop.time(), sorted(context), context))

    def accept(reader, writer):
        accepted.append(loop.time())
        return echo(reader, writer)

    loop.set_exception_handler(out_of_descriptors)
    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    waiting = [socket.socket() for _ in range(3)]
    for each in waiting:
        each.setblocking(False)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = os.open("/dev/null", os.O_RDONLY)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 8, hard))
    fillers = []
    try:
        while True:
            fillers.append(os.dup(highest))
    except OSError:
        pass
    for each in waiting:
        each.connect_ex(server.sockets[0].getsockname())
    cpu, begun = time.process_time(), loop.time()
    # The connection that is there goes on.
    for _ in range(15):
        writer.write(b"x")
        assert await reader.read(100) == b"x"
        await asyncio.sleep(0.02)
    cpu, seconds = time.process_time() - cpu, loop.time() - begun
    when, keys, context = said[0]
    print(context["message"], errno.errorcode[context["exception"].errno], keys, type(context["socket"]).__name__)
    print("once" if len(said) == 1 else "for each of the backlog")
    print("busy" if cpu > seconds / 3 else "quiet", "meanwhile, accepted", len(accepted))
    for each in fillers:
        os.close(each)
    while len(accepted) < 4:
        await asyncio.sleep(0.01)
    print("the others after", accepted[1] - when)
    writer.close()
    server.close()

loop = FACTORIES[sys.argv[1]]()
loop.run_until_complete(asyncio.wait_for(main(), 60))
loop.close()
"""


@pytest.mark.parametrize("name", FACTORIES)
def test_accept_out_of_descriptors(name):
    """Say so, leave the listener alone for a second, then accept what waits (asyncio's ACCEPT_RETRY_DELAY); other
    connections go on meanwhile.
    """
    result = child(OUT_OF_DESCRIPTORS, name)
    assert result.returncode == 0, result.stderr
    said, times, meanwhile, afterwards = result.stdout.splitlines()
    keys = "['exception', 'message', 'socket']"
    assert said == f"socket.accept() out of system resource EMFILE {keys} TransportSocket"
    # asyncio goes on trying and saying so for the whole backlog before it backs off.
    assert times in {"once", "for each of the backlog"}
    assert meanwhile == "quiet meanwhile, accepted 1"
    assert float(afterwards.removeprefix("the others after ")) > 0.99


EACH_LIMIT = """
import asyncio, gc, os, resource, sys
from tests.support.scenarios import FACTORIES, NATIVE, open_fds

async def connection():
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    async with server:
        # 3.11 passes over an address for which there is no socket, and returns a server without one.
        if not server.sockets:
            raise OSError("a deaf server")
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.close()
        await asyncio.wait_for(reader.read(), 0.1)

async def process():
    process = await asyncio.create_subprocess_exec("true", stdin=-1, stdout=-1)
    await process.communicate()

def attempt(what, loop=None):
    try:
        loop = loop or FACTORIES[sys.argv[1]]()
        loop.set_exception_handler(lambda loop, context: None)
        loop.run_until_complete(what())
        return True
    except (OSError, TimeoutError):
        return False
    finally:
        if loop is not None:
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()

for what in (connection, process):
    assert attempt(what)  # imports what it needs
    before = open_fds()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    base = max(map(int, before)) + 1
    for allowed in range(1, 40):
        # asyncio's own loop leaves its epoll set open when it can't have its socket pair.
        loop = FACTORIES["asyncio"]() if sys.argv[1] == "asyncio" or not NATIVE else None
        resource.setrlimit(resource.RLIMIT_NOFILE, (base + allowed, hard))
        worked = attempt(what, loop)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        gc.collect()
        assert len(open_fds()) == len(before), (what, allowed, os.listdir("/proc/self/fd"))
        if worked:
            break
    print(what.__name__, "worked after", "some" if worked and allowed > 3 else allowed, "failures")
"""


@pytest.mark.parametrize("name", FACTORIES)
def test_every_way_to_run_out_of_descriptors(name):
    """With room for one, for two, and so on: each failure is an exception, and leaves none open."""
    result = child(EACH_LIMIT, name)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "connection worked after some failures",
        "process worked after some failures",
    ]


def removed_when_closed(run, sides, how):
    """An object that was closed has no number any more, but is still what the loop was given."""
    near, far = socket.socketpair()
    run.opened.callback(far.close)
    fd = near.fileno()
    if "r" in sides:
        run.loop.add_reader(near, run.log, "reader")
    if "w" in sides:
        run.loop.add_writer(near, run.log, "writer")
    near.close()
    if how == "turns first":
        run.settle(2)
    for remove in (run.loop.remove_reader, run.loop.remove_writer)[:: -1 if sides == "w" else 1][
        : len(sides)
    ]:
        run.attempt("main", remove, near)
    run.log("main", fd in run.loop._selector.get_map())
    run.attempt("main", run.loop.remove_reader, far)
    run.settle(2)


@pytest.mark.parametrize("how", ["at once", "turns first"])
@pytest.mark.parametrize("sides", ["r", "w"])
def test_what_was_closed_can_be_removed(sides, how):
    history = assert_same(removed_when_closed, sides, how, reached="returns")
    assert history["main"][0] == ("returns", True)


def only_the_loop_knows(run, how):
    """The loop keeps what it watches; until it watches no more."""
    near, far = socket.socketpair()
    run.opened.callback(far.close)
    gone = weakref.ref(near)
    run.loop.add_reader(near, run.log, "reader")
    run.loop.add_writer(near, run.log, "writer")
    if how == "replaced":
        run.loop.add_reader(near, run.log, "reader", "again")
    del near
    gc.collect()
    run.log("main", gone() is None)
    far.send(b"x")
    run.settle(1)
    if how == "loop closed":
        run.loop.close()
    else:
        run.loop.remove_reader(gone())
        run.log("main", gone() is None)
        run.loop.remove_writer(gone())
    gc.collect()
    run.log("main", gone() is None)


@pytest.mark.parametrize("how", ["removed", "replaced", "loop closed"])
def test_what_is_watched_lives(how):
    history = assert_same(only_the_loop_knows, how, reached="main")
    assert history["main"][0] == (False,) and history["main"][-1] == (True,)
    assert "reader" in history


def other_side_by_number(run):
    near, far = socket.socketpair()
    run.opened.callback(far.close)
    run.loop.add_reader(near, run.log, "reader")
    run.loop.add_writer(near.fileno(), lambda: None)
    run.loop.remove_writer(near.fileno())
    del near
    gc.collect()
    far.send(b"x")
    run.settle(1)


def test_what_is_watched_lives_though_its_other_side_was_named_by_number():
    assert "reader" in assert_same(other_side_by_number, reached="reader")


def test_what_was_closed_can_be_removed_when_a_connection_has_its_number():
    """And the connection goes on: what is removed is not what stands there now."""

    async def main():
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()
        loop.add_reader(near, lambda: None)
        number = near.fileno()
        near.close()
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        taken = server.sockets[0].fileno() == number
        assert not loop.remove_reader(near)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hi\n")
        assert await asyncio.wait_for(reader.readline(), 30) == b"hi\n"
        writer.close()
        server.close()
        far.close()
        return taken

    async def answer(reader, writer):
        writer.write(await reader.readline())

    # asyncio's loop does not come to the end: its record of the number is stale.
    loop = aioxide.new_event_loop()
    try:
        assert loop.run_until_complete(main()), "nothing has taken the number"
    finally:
        loop.close()


def test_a_socket_that_was_closed_while_it_was_watched_cannot_be_watched_again():
    """A difference on purpose: asyncio accepts it, and watches nothing."""
    near, far = socket.socketpair()
    loop = aioxide.new_event_loop()
    loop.add_reader(near, print)
    near.close()
    with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
        loop.add_reader(near, print)
    loop.close()
    far.close()
