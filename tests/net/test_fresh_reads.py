"""What a read costs does not depend on what the program once freed (`aioxide_sys::malloc`)."""

import os
import platform

import pytest

from tests.support.scenarios import child

# Imports as little as it can: what an import frees may hide what this is about.
READS = """
import asyncio, resource, socket, sys, threading
import aioxide

SIZE, COUNT = int(sys.argv[2]), 300
received = 0


def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def of_a_read():
    "What asyncio's way of reading costs in this process, as long as no loop was made."
    ours, theirs = socket.socketpair()
    with ours, theirs:
        before = faults()
        for _ in range(100):
            theirs.send(b"x")
            ours.recv(262144)
        return (faults() - before) / 100


class Receiver(asyncio.Protocol):
    def __init__(self, done):
        self.done = done

    def data_received(self, data):
        self.datagram_received(data, None)

    def connection_made(self, transport):
        pass

    def datagram_received(self, data, address):
        global received
        received += len(data)
        if received >= SIZE:
            received = 0
            self.done.set()


async def send(loop, sock, data, done):
    for _ in range(COUNT):
        done.clear()
        await loop.sock_sendall(sock, data)
        await done.wait()


async def transport(loop, ours, theirs, data):
    done = asyncio.Event()
    await loop.create_connection(lambda: Receiver(done), sock=ours)
    return send(loop, theirs, data, done)


async def datagrams(loop, ours, theirs, data):
    done = asyncio.Event()
    await loop.create_datagram_endpoint(lambda: Receiver(done), sock=ours)
    return send(loop, theirs, data, done)


async def sock_recv(loop, ours, theirs, data):
    async def receive():
        for _ in range(COUNT):
            # It has come before it is read: a read in vain gives its block back whole.
            await loop.sock_sendall(theirs, data)
            left = SIZE
            while left:
                left -= len(await loop.sock_recv(ours, 262144))

    return receive()


async def sock_recvfrom(loop, ours, theirs, data):
    async def receive():
        for _ in range(COUNT):
            await loop.sock_sendall(theirs, data)
            assert len((await loop.sock_recvfrom(ours, 262144))[0]) == SIZE

    return receive()


async def pipe(loop, ours, theirs, data):
    import os

    done = asyncio.Event()
    reading, writing = os.pipe()
    await loop.connect_read_pipe(lambda: Receiver(done), open(reading, "rb", 0))

    async def write():
        for _ in range(COUNT):
            done.clear()
            os.write(writing, data)
            await done.wait()

    return write()


async def main():
    loop = asyncio.get_running_loop()
    kind = socket.SOCK_DGRAM if sys.argv[1] in ("datagrams", "sock_recvfrom") else socket.SOCK_STREAM
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    for sock in (ours, theirs):
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    data = bytes(SIZE)
    before = faults()
    await (await globals()[sys.argv[1]](loop, ours, theirs, data))
    print((faults() - before) / COUNT)


# Small blocks that fill what imports have left free at the heap's end: a read that fits there takes it.
kept = [bytes(4000) for _ in range(1000)]
print(of_a_read())
if sys.argv[3] == "thread":
    # Its blocks come from a heap of its own.
    thread = threading.Thread(target=aioxide.run, args=(main(),))
    thread.start()
    thread.join()
else:
    aioxide.run(main())
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """An environment in which modules are compiled once: compiling them frees large blocks, and so do some imports."""
    keeps = {"PYTHONPYCACHEPREFIX": str(tmp_path_factory.mktemp("compiled")), "PYTHONDONTWRITEBYTECODE": ""}
    return os.environ | keeps


def in_a_fresh_process(environment, *arguments):
    """The faults of a read before a loop was made, and after."""
    for _ in range(3):
        done = child(READS, *arguments, env=environment)
        assert done.returncode == 0, done.stderr
        before, after = map(float, done.stdout.split())
        if before >= 1:
            break
    return before, after


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the threshold is glibc's")
@pytest.mark.parametrize(
    ("way", "size", "where"),
    [
        ("transport", 20_000, "main"),
        ("transport", 100_000, "main"),
        ("transport", 100_000, "thread"),
        ("sock_recv", 100_000, "main"),
        ("sock_recvfrom", 200, "main"),
        ("datagrams", 200, "main"),
        ("datagrams", 20_000, "thread"),
        ("pipe", 200, "main"),
        ("pipe", 20_000, "main"),
    ],
)
def test_a_read_in_a_fresh_process_costs_no_page_fault(compiled, way, size, where):
    before, after = in_a_fresh_process(compiled, way, size, where)
    assert before >= 1, "no process was fresh: this shows nothing"
    assert after < 1
