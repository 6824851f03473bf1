"""Two HTTP servers under wrk: connections that are kept alive, a body of 1 KiB, one request at a time each.

Beside it stands what a request costs the framework without any socket, measured in the same process before it
serves: its protocol gets the bytes of wrk's request, and what it writes is thrown away. With the native
server's cost, which answers each read with a response of the same length, that is what no loop can undercut.

The servers' own code names the standard library's asyncio, so `import aioxide as asyncio` has no case here. Importing
either framework frees large blocks, so malloc has only one state here.
"""

import re
import shutil
import subprocess
import time

from ..case import Sample, Served
from ..lanes import LIMIT
from ..machine import cpu_seconds, minor_faults
from ..processes import Failed, Wrong, on_client_core
from ..registry import Group
from ..series import Series

GROUP = Group("http")
BODY = b"x" * 1024
REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:12345\r\n\r\n"
ALONE = 3_000


def needs():
    return None if shutil.which("wrk") else "wrk is not installed (Debian: apt-get install wrk)"


async def alone(aio, protocol, times=ALONE):
    """CPU seconds of a request that comes from no socket and goes into none. `aio` is the namespace under test."""
    written = 0

    class Nowhere(aio.Transport):
        def write(self, data):
            nonlocal written
            written += len(data)

        def writelines(self, chunks):
            self.write(b"".join(chunks))

        def is_closing(self):
            return False

        def close(self):
            pass

        def pause_reading(self):
            pass

        def resume_reading(self):
            pass

        def get_write_buffer_size(self):
            return 0

    async def rounds(count):
        for _ in range(count):
            before = written
            protocol.data_received(REQUEST)
            while written < before + len(BODY):
                await aio.sleep(0)

    protocol.connection_made(Nowhere({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)}))
    await rounds(times // 10)
    begin = time.process_time()
    await rounds(times)
    cost = (time.process_time() - begin) / times
    protocol.connection_lost(None)
    return cost


async def serve_uvicorn(aio, announce):
    import uvicorn

    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(BODY))]

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": BODY})

    # uvicorn binds the port itself: given a socket of protocol 0, asyncio would leave Nagle's delay on.
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        http="httptools",
        ws="none",
        lifespan="off",
        loop="none",
        access_log=False,
        log_level="warning",
    )
    server = uvicorn.Server(config)
    serving = aio.create_task(server.serve())
    while not server.started:
        await aio.sleep(0.01)
    protocol = config.http_protocol_class(config, server.server_state, {})
    announce(server.servers[0].sockets[0].getsockname()[1], framework=await alone(aio, protocol))
    await serving


async def serve_aiohttp(aio, announce):
    from aiohttp import web

    async def hello(request):
        return web.Response(body=BODY)

    app = web.Application()
    app.router.add_get("/", hello)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    announce(runner.addresses[0][1], framework=await alone(aio, runner.server()))
    await aio.get_running_loop().create_future()


def _wrk(port, connections, seconds, timeout):
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"http://127.0.0.1:{port}/"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout + seconds, preexec_fn=on_client_core
        )
    except subprocess.TimeoutExpired:
        raise Failed("hangs under wrk") from None
    if done.returncode:
        raise Failed(f"wrk: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _answers(printed):
    """How many answers wrk had, in how many seconds."""
    requests, wall, unit, read, scale = re.search(
        r"(\d+) requests in ([\d.]+)(ms|s|m), ([\d.]+)(KB|MB|GB) read", printed
    ).groups()
    if bad := re.search(r"(Non-2xx.*|Socket errors.*)", printed):
        raise Wrong(f"wrk: {bad[1]}")
    count, length = int(requests), float(wall) * {"ms": 1e-3, "s": 1, "m": 60}[unit]
    size = float(read) * {"KB": 2**10, "MB": 2**20, "GB": 2**30}[scale]
    # wrk rounds what it read to two places: hence the 1%.
    if not count or size < 0.99 * count * len(BODY):
        raise Wrong(f"{count} answers have {size:.0f} bytes")
    return count, length


def load(case, server, settings):
    seconds = 1 if settings.quick or settings.short else 2
    cpu, faults = cpu_seconds(server.pid), minor_faults(server.pid)
    printed = _wrk(server.port, case.size, seconds, settings.timeout)
    cpu, faults = cpu_seconds(server.pid) - cpu, minor_faults(server.pid) - faults
    count, length = _answers(printed)
    extra = {"wall": length / count, "cpu": cpu / count, "busy": cpu / length, "faults": faults / count}
    if "framework" in server.said:
        extra["framework"] = server.said["framework"]
    return Sample(length / count, extra)


for name, title, serve in (
    ("uvicorn", "uvicorn (httptools), 1 KiB, wrk", serve_uvicorn),
    ("aiohttp", "aiohttp server, 1 KiB, wrk", serve_aiohttp),
):
    GROUP.add(
        Served,
        name,
        title,
        "request",
        Series("connections", (5, 50, 500)),
        serve=serve,
        load=load,
        needs=needs,
        namespace=False,
        limit=LIMIT,
        manners=("--answer", str(len(BODY))),
        least=2,
    )
