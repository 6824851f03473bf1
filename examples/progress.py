"""Work in a process pool, and a bar that shows how far it is: tqdm's or rich's where one is installed.

python examples/progress.py
"""

import importlib.util
import math
import sys

import aioxide


def primes_below(limit: int) -> int:
    """How many primes there are below `limit`; slowly, as it is for show."""
    return sum(all(n % d for d in range(2, math.isqrt(n) + 1)) for n in range(2, limit))


async def with_tqdm(pool, limits):
    from tqdm import tqdm

    results = []
    with tqdm(total=len(limits)) as bar:
        async for _done, _total, result in pool.map_progress(primes_below, limits):
            results.append(result)
            bar.update()
    return results


async def with_rich(pool, limits):
    from rich.progress import Progress

    results = []
    with Progress() as progress:
        bar = progress.add_task("counting primes", total=len(limits))
        async for done, _total, result in pool.map_progress(primes_below, limits):
            results.append(result)
            progress.update(bar, completed=done)
    return results


async def plainly(pool, limits):
    results = []
    async for done, total, result in pool.map_progress(primes_below, limits):
        results.append(result)
        print(f"\r{done} of {total}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return results


async def main():
    show = plainly
    for name, function in (("tqdm", with_tqdm), ("rich", with_rich)):
        if importlib.util.find_spec(name):
            show = function
            break
    with aioxide.ProcessPoolExecutor() as pool:
        print(sum(await show(pool, range(100, 2100, 100))), "primes in all")


if __name__ == "__main__":
    aioxide.run(main())
