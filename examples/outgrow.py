"""One function, and three sizes of pool: threads, processes, a cluster. Which one it is, is one line.

    python -m aioxide examples/outgrow.py                         this machine's threads
    python -m aioxide examples/outgrow.py processes               this machine's processes
    python -m aioxide examples/outgrow.py cluster                 a cluster of this machine's own
    python -m aioxide examples/outgrow.py cluster tcp://HOST:8786   one that is there: `dask scheduler`, `dask worker`

The work: how many points of a grid belong to the Mandelbrot set, strip by strip. It is pure Python, so that
threads cannot do it at the same time, processes and clusters can: on a machine of two processors that had other work
besides, threads took 3.8 seconds and processes 2.4.
"""

import asyncio
import sys

import aioxide

WIDTH, STRIPS, ROUNDS = 960, 24, 250


def count_inside(strip):
    """How many points of one strip of the grid stay bounded."""
    inside = 0
    for row in range(strip * WIDTH // STRIPS, (strip + 1) * WIDTH // STRIPS):
        for column in range(WIDTH):
            c = complex(column / WIDTH * 3 - 2, row / WIDTH * 2 - 1)
            z = 0j
            for _ in range(ROUNDS):
                z = z * z + c
                if abs(z) > 2:
                    break
            else:
                inside += 1
    return inside


def make_pool(kind, *address):
    # The one line that changes when the work outgrows its pool:
    if kind == "threads":
        return aioxide.ThreadPoolExecutor()
    if kind == "processes":
        return aioxide.ProcessPoolExecutor()
    return aioxide.ClusterExecutor(*address)


async def main(kind="threads", *address):
    pool = await asyncio.to_thread(make_pool, kind, *address)
    loop = asyncio.get_running_loop()
    start = loop.time()
    strips = [loop.run_in_executor(pool, count_inside, strip) for strip in range(STRIPS)]
    for done, strip in enumerate(asyncio.as_completed(strips), 1):
        await strip
        print(f"\r{done} of {STRIPS} strips", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    seconds = loop.time() - start
    inside = sum(strip.result() for strip in strips)
    print(f"{type(pool).__name__}: {inside} of {WIDTH * WIDTH} points inside")
    print(f"in {seconds:.2f} s", file=sys.stderr)
    await asyncio.to_thread(pool.shutdown)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
