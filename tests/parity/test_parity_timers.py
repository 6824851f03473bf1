"""call_later, call_at and their handle: order, ties, errors, comparison, cancellation."""

import asyncio
import fractions

import aioxide
import pytest

from .harness import parity


def named(*args):
    return args


@parity
def test_order_by_time(h):
    for delay in (0.03, 0.01, 0.02, 0.0):
        h.loop.call_later(delay, h.log, "timer", delay)
    h.loop.call_later(0.04, h.loop.stop)
    h.loop.run_forever()


@parity
def test_ties_keep_their_order(h):
    when = h.loop.time() + 0.005
    # Two, because asyncio's heap promises no order among more.
    h.loop.call_at(when, h.log, "first")
    h.loop.call_at(when, lambda: (h.log("second"), h.loop.stop()))
    h.loop.run_forever()


@parity
def test_due_at_once_runs_after_what_is_ready(h):
    h.loop.call_later(0, h.log, "zero")
    h.loop.call_later(-5, h.log, "negative")
    h.loop.call_at(0, h.log, "long ago")
    h.loop.call_soon(h.log, "soon")
    h.turns(2)


@parity
def test_never_early(h):
    when = h.loop.time() + 0.0123
    h.loop.call_at(when, lambda: h.log("due", h.loop.time() >= when - 2e-9))
    h.loop.call_later(0.02, h.loop.stop)
    h.loop.run_forever()


@parity
def test_odd_delays(h):
    h.attempt(h.loop.call_later, None, named)
    h.attempt(h.loop.call_at, None, named)
    for delay in ("1", b"1", [], object(), fractions.Fraction(1, 1000), True):
        before = h.loop.time()
        # The message for a wrong type is that of the addition or comparison that asyncio happens to do.
        try:
            handle = h.loop.call_later(delay, named)
        except TypeError:
            h.log("TypeError", type(delay))
        else:
            h.log("accepted", type(delay), handle.when() >= before)
            handle.cancel()


@parity
def test_infinity(h):
    handle = h.loop.call_later(float("inf"), named)
    h.log(handle.when())
    handle.cancel()
    h.loop.call_at(float("-inf"), h.log, "minus infinity")
    h.turns(2)


@parity
def test_not_a_number_is_due_at_once(h):
    h.loop.call_later(float("nan"), h.log, "not a number")
    h.loop.call_later(100, h.log, "not reached")
    h.turns(2)


@parity
def test_a_delay_beyond_any_clock(h):
    for delay in (1e10, 1e300, 2**70):
        handle = h.loop.call_later(delay, named)
        h.log(handle.when() > 1e9)
        h.turns()
        handle.cancel()


@parity
def test_missing_arguments(h):
    for call in (h.loop.call_later, h.loop.call_at):
        for arguments in [(), (1,)]:
            try:
                call(*arguments)
            except TypeError:
                h.log("TypeError")
            else:
                h.log("accepted")


@parity
def test_keywords(h):
    h.attempt(lambda: h.loop.call_later(0, named, context=None).cancel())
    for keywords in ({"delay": 0}, {"when": 0}, {"key": 1}):
        for call in (h.loop.call_later, h.loop.call_at):
            try:
                call(0, named, **keywords)
            except TypeError:
                h.log("TypeError", keywords)
            else:
                h.log("accepted", keywords)


@parity
def test_cancel(h):
    handle = h.loop.call_later(0.005, h.log, "never")
    h.log(handle.cancelled(), handle.cancel(), handle.cancelled())
    h.log(handle)
    h.loop.call_later(0.01, h.loop.stop)
    h.loop.run_forever()
    h.log(handle.cancelled(), handle.cancel())


@parity
def test_cancel_a_sibling_that_is_due(h):
    when = h.loop.time() + 0.005
    handles = [h.loop.call_at(when, lambda: handles[1].cancel()), h.loop.call_at(when, h.log, "never")]
    h.loop.call_at(when + 0.002, h.loop.stop)
    h.loop.run_forever()
    h.log(handles[1].cancelled())


@parity
def test_repr(h):
    handle = h.loop.call_later(5, named, 1, "two")
    h.log(handle)
    handle.cancel()
    h.log(handle)


@parity
def test_when_and_time(h):
    now = h.loop.time()
    h.log(type(now), h.loop.call_at(1, named).when() == 1, h.loop.call_at(now, named).when() == now)
    later = h.loop.call_later(1.5, named)
    h.log(type(later.when()), 1.5 <= later.when() - now < 1.6)
    later.cancel()
    h.turns(2)


@parity
def test_comparison(h):
    now = h.loop.time() + 100
    first, second, same = (
        h.loop.call_at(now, named),
        h.loop.call_at(now + 1, named),
        h.loop.call_at(now, named),
    )
    h.log(first < second, first <= second, first > second, first >= second)
    h.log(
        first == same, first != same, first == second, hash(first) == hash(same), first <= same, first >= same
    )
    h.log(first == 5, first != 5)
    other = h.loop.call_at(now, h.log)
    h.log(first == other)
    for operation in ("__lt__", "__le__", "__gt__", "__ge__", "__eq__"):
        h.log(operation, getattr(first, operation)(5))
    h.attempt(lambda: first < 5)
    by_hand = asyncio.TimerHandle(now + 0.5, named, (), h.loop)
    h.log(first < by_hand, by_hand < second, by_hand > first)
    for handle in (first, second, same, other):
        handle.cancel()


@parity
def test_many_cancelled_timers_do_not_disturb(h):
    handles = [h.loop.call_later(10 + i, named) for i in range(300)]
    h.loop.call_later(0.005, h.log, "fires")
    for handle in handles[::2]:
        handle.cancel()
    for handle in handles[1::2]:
        handle.cancel()
    h.loop.call_later(0.01, h.loop.stop)
    h.loop.run_forever()
    h.log(sum(handle.cancelled() for handle in handles))


@parity
def test_timers_made_in_timers(h):
    def again(n):
        h.log("again", n)
        if n:
            h.loop.call_later(0, again, n - 1)
        else:
            h.loop.stop()

    h.loop.call_soon(h.log, "soon")
    h.loop.call_later(0, again, 3)
    h.loop.run_forever()


@parity
def test_a_timer_from_the_past_does_not_starve_the_ready_queue(h):
    order = []

    def timer(n):
        order.append(("timer", n))
        if n:
            h.loop.call_at(0, timer, n - 1)

    def soon(n):
        order.append(("soon", n))
        h.loop.call_soon(soon, n - 1) if n else h.loop.stop()

    h.loop.call_at(0, timer, 3)
    h.loop.call_soon(soon, 4)
    h.loop.run_forever()
    h.log(order)


@parity
async def test_sleep_results_and_order(h):
    async def sleeper(delay, result):
        h.log("slept", await asyncio.sleep(delay, result))

    await asyncio.gather(*(sleeper(d, d) for d in (0.02, 0.0, 0.01, -1)))
    h.log(await asyncio.sleep(0), await asyncio.sleep(0, "result"))
    await h.wait(asyncio.sleep("1"))


def test_times_that_are_no_float_have_their_own_words():
    """A difference on purpose: docs/explanation/differences.md."""
    loop = aioxide.new_event_loop()
    with pytest.raises(
        OverflowError,
        match=r"^when must be a number of seconds that a float can hold, not an int of \d+ bits$",
    ):
        loop.call_at(10**400, print)
    with pytest.raises(TypeError, match=r"^delay must be a number of seconds, not complex$"):
        loop.call_later(1j, print)
    with pytest.raises(TypeError, match=r"^delay must be a number of seconds, not str$"):
        loop.call_later("1", print)
    with pytest.raises(TypeError, match=r"^when must be a number of seconds, not str$"):
        loop.call_at("1", print)
    loop.close()
