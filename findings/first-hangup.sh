#!/usr/bin/env bash
# asyncio's selector transports get much faster once the first client has hung up.
#
# CPython 3.14.10 and 3.11.7 on glibc 2.43 and 2.36 (x86-64 Linux). Each read of a transport asks for 256 KiB, which is
# over glibc's mmap threshold (128 KiB), and shrinks the bytes object to what came: mmap, recv, mremap, munmap and two
# page faults for a message of 1 KiB (27 for one of 100 KiB). glibc raises the threshold only when such a block is freed
# at its full size, and a shrunk one does not count. The end of a connection does: it is a read of nothing, and the
# object that was made for it is given back whole. From then on a read costs no fault, on every connection, for ever.
# So a benchmark with one round of connections measures another asyncio than one with two. (Importing numpy does it
# too, and so does compiling modules at each start, where no .pyc is kept.)
#
# Seen:
#   page faults a message, before any client has hung up: 2.00
#   page faults a message, after one has: 0.00
#
# Users of aioxide meet it where they compare it with asyncio, and in whatever they run on asyncio's own transports.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/server.py" <<'PROGRAM'
import asyncio
import resource
import socket
import sys

MESSAGES = 2_000


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


async def faults(loop, client):
    """Page faults of this process for a message there and back."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(MESSAGES):
        await loop.sock_sendall(client, bytes(1024))
        # A small buffer: this side is not to be measured.
        left = 1024
        while left:
            left -= len(await loop.sock_recv(client, left))
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / MESSAGES


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    client = socket.create_connection(address)
    client.setblocking(False)
    first = await faults(loop, client)
    print(f"page faults a message, before any client has hung up: {first:.2f}")
    socket.create_connection(address).close()
    await asyncio.sleep(0.1)
    second = await faults(loop, client)
    print(f"page faults a message, after one has: {second:.2f}")
    return 0 if first > 1 and second < 0.1 else 1


loop = asyncio.SelectorEventLoop()
sys.exit(loop.run_until_complete(main()))
PROGRAM
python=${PYTHON:-python3}
# With all modules compiled beforehand: at its first start the interpreter compiles them, which frees large blocks.
export PYTHONPYCACHEPREFIX=$folder/cache
unset PYTHONDONTWRITEBYTECODE
"$python" "$folder/server.py" >/dev/null || true
"$python" "$folder/server.py"
