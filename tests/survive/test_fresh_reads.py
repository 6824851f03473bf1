"""What a read costs does not depend on what the program once freed (`aioxide_sys::malloc`): no page faults."""

import platform

import pytest

from .harness import child

# Imports as little as it can: what an import frees may hide what this is about.
READS = """
import asyncio, resource, socket, sys
import aioxide

SIZE, COUNT = int(sys.argv[2]), 300
received = 0


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
            sending = asyncio.ensure_future(loop.sock_sendall(theirs, data))
            left = SIZE
            while left:
                left -= len(await loop.sock_recv(ours, 262144))
            await sending

    return receive()


async def main():
    loop = asyncio.get_running_loop()
    kind = socket.SOCK_DGRAM if sys.argv[1] == "datagrams" else socket.SOCK_STREAM
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    for sock in (ours, theirs):
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    data = bytes(SIZE)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    await (await globals()[sys.argv[1]](loop, ours, theirs, data))
    print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / COUNT)


aioxide.run(main())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the threshold is glibc's")
@pytest.mark.parametrize(
    ("way", "size"),
    [("transport", 20_000), ("transport", 100_000), ("sock_recv", 100_000), ("datagrams", 200)],
)
def test_a_read_in_a_fresh_process_costs_no_page_fault(way, size):
    done = child(READS, way, size)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1
