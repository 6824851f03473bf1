"""Callbacks: how fast the ready queue turns, how deep it may be, and who fills it."""

import threading

from ..lanes import FLOOR
from ..processes import on_all_cores
from ..registry import Group
from ..series import Series

GROUP = Group("callbacks")


@GROUP.in_loop(
    "call_soon chain",
    Series("chains side by side", (1, 10, 100, 1_000)),
    n=200_000,
    operation="callback",
    limit=FLOOR,
)
def call_soon_chain(aio, loop, n, size):
    """Each callback schedules the next one of its chain: a turn of the loop runs one of each."""
    done, last = 0, n - size

    def step():
        nonlocal done
        done += 1
        if done <= last:
            loop.call_soon(step)
        elif done == n:
            loop.stop()

    for _ in range(size):
        loop.call_soon(step)
    loop.run_forever()
    return done


@GROUP.in_loop(
    "call_soon, all queued by one callback",
    Series("callbacks deep", (1_000, 10_000, 100_000, 1_000_000)),
    n=200_000,
    operation="callback",
    share=0.5,
    limit=FLOOR,
)
def call_soon_queued(aio, loop, n, size):
    """They are scheduled in one go, then run in one turn."""
    done = 0

    def tick():
        nonlocal done
        done += 1

    def refill():
        if done < n:
            for _ in range(size):
                loop.call_soon(tick)
            loop.call_soon(refill)
        else:
            loop.stop()

    loop.call_soon(refill)
    loop.run_forever()
    return done


def burst_from_threads(loop, n, count):
    """`count` threads send `n` callbacks together, as fast as they can, while the loop runs."""
    done = 0

    def tick():
        nonlocal done
        done += 1
        if done == n:
            loop.stop()

    def burst():
        for _ in range(n // count):
            loop.call_soon_threadsafe(tick)

    threads = [threading.Thread(target=burst) for _ in range(count)]

    def begin():
        for thread in threads:
            thread.start()

    loop.call_soon(begin)
    loop.run_forever()
    for thread in threads:
        thread.join()
    return done


BURST = Series("callbacks", (2_000, 20_000, 200_000))


@GROUP.in_loop("call_soon_threadsafe from a thread, one core", BURST, operation="callback", share=0.5)
def call_soon_threadsafe(aio, loop, n, size):
    return burst_from_threads(loop, n, 1)


@GROUP.in_loop(
    "call_soon_threadsafe from a thread, two cores",
    BURST,
    operation="callback",
    share=0.5,
    place=on_all_cores,
)
def threadsafe_two_cores(aio, loop, n, size):
    return burst_from_threads(loop, n, 1)


@GROUP.in_loop(
    "call_soon_threadsafe from 4 threads, two cores",
    BURST,
    operation="callback",
    share=0.5,
    place=on_all_cores,
)
def threadsafe_4_threads(aio, loop, n, size):
    return burst_from_threads(loop, n, 4)
