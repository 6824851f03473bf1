"""Two HTTP servers under wrk: 50 connections that are kept alive, a body of 1 KiB, one request at a time
each.

The servers' own code names the standard library's asyncio, so `import aioxide as asyncio` has no case here.
"""

import re
import shutil
import subprocess

from ..case import Group, Sample, Served
from ..machine import cpu_seconds
from ..processes import Failed, Wrong, on_client_core

GROUP = Group("http")
BODY = b"x" * 1024
CONNECTIONS = 50


def needs():
    return None if shutil.which("wrk") else "wrk is not installed (Debian: apt-get install wrk)"


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
    announce(server.servers[0].sockets[0].getsockname()[1])
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
    announce(runner.addresses[0][1])
    await aio.get_running_loop().create_future()


def _wrk(port, seconds, timeout):
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", f"http://127.0.0.1:{port}/"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout + seconds, preexec_fn=on_client_core
        )
    except subprocess.TimeoutExpired:
        raise Failed("hangs under wrk") from None
    if done.returncode:
        raise Failed(f"wrk: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def load(server, settings):
    seconds = 1 if settings.quick else 2
    before = cpu_seconds(server.pid)
    printed = _wrk(server.port, seconds, settings.timeout)
    cpu = cpu_seconds(server.pid) - before
    requests, unit, wall, read, scale = re.search(
        r"(\d+) requests in ([\d.]+)(ms|s|m), ([\d.]+)(KB|MB|GB) read", printed
    ).group(1, 3, 2, 4, 5)
    if bad := re.search(r"(Non-2xx.*|Socket errors.*)", printed):
        raise Wrong(f"wrk: {bad[1]}")
    count, length = int(requests), float(wall) * {"ms": 1e-3, "s": 1, "m": 60}[unit]
    size = float(read) * {"KB": 2**10, "MB": 2**20, "GB": 2**30}[scale]
    # wrk rounds what it read to two places: hence the 1%.
    if not count or size < 0.99 * count * len(BODY):
        raise Wrong(f"{count} answers have {size:.0f} bytes")
    return Sample(length / count, {"wall": length / count, "cpu": cpu / count, "busy": cpu / length})


for name, title, serve in (
    ("uvicorn", "uvicorn (httptools), 1 KiB, wrk -c50", serve_uvicorn),
    ("aiohttp", "aiohttp server, 1 KiB, wrk -c50", serve_aiohttp),
):
    GROUP.add(
        Served(
            name,
            GROUP.name,
            title,
            "request",
            serve=serve,
            load=load,
            needs=needs,
            namespace=False,
            share=1 / 3,
        )
    )
