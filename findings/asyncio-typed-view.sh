#!/usr/bin/env bash
# asyncio's transport.write() loses most of a memoryview whose items are larger than a byte, when the socket is full.
#
# CPython 3.11.7, 3.12.1, 3.13.0, 3.14.10 and 3.15.2 (asyncio/selector_events.py, _SelectorSocketTransport.write): what the kernel
# did not take at once is kept as `memoryview(data)[n:]`, where n counts bytes and the slice counts items. Of an array of
# 4-byte numbers four times as much is cut off as was sent; from 3.12 on `_adjust_leftover_buffer` counts the same way and
# ends the connection with an IndexError, which the exception handler gets. Small writes are whole, so that tests pass.
# memoryview is documented as what write() takes, and `array.array`, numpy and struct-like buffers come as such views.
#
# Output seen:
#   3.14.10 wrote 4000000 bytes, the peer got 1096320; handler: IndexError('pop from an empty deque')     (3.12, 3.13, 3.15 alike)
#   3.11.7  wrote 4000000 bytes, the peer got 3342208; handler: nothing
# (how many depends on what the pair of sockets holds)
#
# On aioxide all bytes arrive: it copies what it keeps (docs/explanation/differences.md, tests/all_rooms/test_documented_rows.py).
set -euo pipefail
exec "${PYTHON:-python3}" - <<'END'
import array, asyncio, platform, socket, sys


async def main():
    loop = asyncio.get_running_loop()
    said = []
    loop.set_exception_handler(lambda loop, context: said.append(repr(context["exception"])))
    near, far = socket.socketpair()
    far.setblocking(False)
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=near)
    view = memoryview(array.array("I", range(1_000_000)))
    transport.write(view)
    transport.write_eof()
    got = b""
    while more := await loop.sock_recv(far, 1 << 20):
        got += more
    transport.abort()
    far.close()
    handler = ", ".join(said) or "nothing"
    print(f"{platform.python_version():7} wrote {view.nbytes} bytes, the peer got {len(got)}; handler: {handler}")
    return got != view.tobytes()


if not asyncio.run(main()):
    sys.exit("this has changed: the finding is no longer true")
END
