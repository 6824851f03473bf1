"""Timers: those that never fire (timeouts, mostly) and those that all fire at once."""

from ..case import Group

GROUP = Group("timers")


@GROUP.in_loop("call_later + cancel", n=100_000, operation="timer")
def call_later_cancel(aio, loop, n):
    """A thousand a turn, as timeouts come and go; the loop has its turns in which to sweep up what was
    cancelled.
    """
    done = 0
    fired = []

    def turn():
        nonlocal done
        for _ in range(min(1_000, n - done)):
            loop.call_later(60, fired.append, None).cancel()
            done += 1
        if done < n:
            loop.call_soon(turn)
        else:
            loop.stop()

    loop.call_soon(turn)
    loop.run_forever()
    return done - len(fired)


@GROUP.in_loop("call_later that fires, 50,000 within 1 ms", n=50_000, operation="timer")
def call_later_fires(aio, loop, n):
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
