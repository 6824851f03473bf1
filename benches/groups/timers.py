"""Timers: those that never fire (timeouts, mostly) and those that all fire at once."""

from ..registry import Group
from ..series import Series

GROUP = Group("timers")


@GROUP.in_loop(
    "call_later + cancel", Series("timers a turn", (100, 1_000, 10_000)), n=100_000, operation="timer"
)
def call_later_cancel(aio, loop, n, size):
    """So many a turn, as timeouts come and go; the loop has its turns in which to sweep up what was
    cancelled.
    """
    done = 0
    fired = []

    def turn():
        nonlocal done
        for _ in range(size):
            loop.call_later(60, fired.append, None).cancel()
            done += 1
        if done < n:
            loop.call_soon(turn)
        else:
            loop.stop()

    loop.call_soon(turn)
    loop.run_forever()
    return done - len(fired)


@GROUP.in_loop(
    "call_later that fires, all within 1 ms",
    Series("timers", (5_000, 50_000, 500_000)),
    operation="timer",
    share=0.5,
)
def call_later_fires(aio, loop, n, size):
    """All due within one millisecond, set in an order that is neither that of their times nor its reverse."""
    done = 0

    def fire():
        nonlocal done
        done += 1
        if done == n:
            loop.stop()

    def begin():
        for i in range(n):
            # 7,919 is prime and no divisor of any n used here: each delay comes up once.
            loop.call_later(i * 7_919 % n * (0.001 / n), fire)

    loop.call_soon(begin)
    loop.run_forever()
    return done


@GROUP.in_loop(
    "call_at, all of one deadline",
    Series("timers", (1_000, 10_000, 100_000)),
    operation="timer",
    share=0.5,
)
def timers_one_deadline(aio, loop, n, size):
    """The deadline is the moment at which they are set, so that nobody waits for it."""
    done = 0

    def fire():
        nonlocal done
        done += 1
        if done == n:
            loop.stop()

    def begin():
        now = loop.time()
        for _ in range(n):
            loop.call_at(now, fire)

    loop.call_soon(begin)
    loop.run_forever()
    return done
