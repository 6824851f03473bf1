"""Callbacks: how fast the ready queue turns."""

import threading

from ..case import Group

GROUP = Group("callbacks")


@GROUP.in_loop("call_soon chain", n=200_000, operation="callback")
def call_soon_chain(aio, loop, n):
    """Each callback schedules the next one: a turn of the loop for each."""
    done = 0

    def step():
        nonlocal done
        done += 1
        if done < n:
            loop.call_soon(step)
        else:
            loop.stop()

    loop.call_soon(step)
    loop.run_forever()
    return done


@GROUP.in_loop("call_soon batch of 1,000", n=200_000, operation="callback")
def call_soon_batch(aio, loop, n):
    """A thousand callbacks are scheduled in one go, then run in one turn."""
    done = 0

    def tick():
        nonlocal done
        done += 1

    def refill():
        if done < n:
            for _ in range(min(1_000, n - done)):
                loop.call_soon(tick)
            loop.call_soon(refill)
        else:
            loop.stop()

    loop.call_soon(refill)
    loop.run_forever()
    return done


@GROUP.in_loop("call_soon_threadsafe burst", n=100_000, operation="callback")
def call_soon_threadsafe(aio, loop, n):
    """Another thread sends all of it as fast as it can, while the loop runs."""
    done = 0

    def tick():
        nonlocal done
        done += 1
        if done == n:
            loop.stop()

    def burst():
        for _ in range(n):
            loop.call_soon_threadsafe(tick)

    thread = threading.Thread(target=burst)
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()
    return done
