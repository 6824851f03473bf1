#!/usr/bin/env bash
# A coroutine of PyO3's `async fn` never asks the future that it has yielded what became of it.
#
# Software: pyreqwest 0.15.1 from PyPI, built with PyO3's feature `experimental-async`. Valid input: one request, awaited.
# Behaviour: each wait makes a new asyncio future and yields it as `await future` would. Python's own coroutine is then
#   told of the future's end by the future's iterator: it gets the result, or the exception out of `send(None)`. PyO3's has
#   let go of that iterator. `send(None)` after the future was cancelled, or failed, polls the Rust future again and yields
#   another one: only `throw()` ends it. asyncio's tasks throw, so nobody sees it there.
# Where aioxide's users would meet it: in every package with an `async fn` in Rust, if a task relied on the iterator (as
#   aioxide's did up to commit 1a6dd18): cancel(), timeouts and asyncio.run's end then have no effect. It throws now:
#   tests/integration/test_rust_coroutines.py.
# Output seen (CPython 3.14.10, Linux 6.18):
#   Python's own: future cancelled, then send(None): raised CancelledError
#   PyO3's:       future cancelled, then send(None): yielded another future, pending
#   PyO3's:       throw(CancelledError()): raised CancelledError
set -euo pipefail
python=${PYTHON:-python3}
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
"$python" -m pip install --quiet --disable-pip-version-check --target "$home" pyreqwest==0.15.1

cat >"$home/program.py" <<'PROGRAM'
import asyncio
import socket
import sys

from pyreqwest.client import ClientBuilder


def resumed(act):
    try:
        yielded = act()
    except BaseException as error:
        return f"raised {type(error).__name__}"
    return "yielded another future, pending" if asyncio.isfuture(yielded) and not yielded.done() else f"yielded {yielded}"


async def wait(future):
    return await future


async def main():
    lines = []
    coroutine = wait(asyncio.get_running_loop().create_future())
    coroutine.send(None).cancel()
    lines.append("Python's own: future cancelled, then send(None): " + resumed(lambda: coroutine.send(None)))
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts in the kernel, and never answers
        async with ClientBuilder().build() as client:
            request = client.get(f"http://127.0.0.1:{silent.getsockname()[1]}/").build().send()
            # The iterator that a task would send to; `request` itself where it is a coroutine.
            native = request if hasattr(request, "send") else request.__await__()
            first = native.send(None)
            assert asyncio.isfuture(first) and first._asyncio_future_blocking, first
            first.cancel()
            lines.append("PyO3's:       future cancelled, then send(None): " + resumed(lambda: native.send(None)))
            lines.append(
                "PyO3's:       throw(CancelledError()): " + resumed(lambda: native.throw(asyncio.CancelledError()))
            )
    return lines


lines = asyncio.run(main())
print(*lines, sep="\n")
expected = [
    "Python's own: future cancelled, then send(None): raised CancelledError",
    "PyO3's:       future cancelled, then send(None): yielded another future, pending",
    "PyO3's:       throw(CancelledError()): raised CancelledError",
]
sys.exit(lines != expected)
PROGRAM
PYTHONPATH=$home "$python" "$home/program.py"
