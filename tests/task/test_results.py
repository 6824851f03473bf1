"""Results and exceptions: handed out as they are, and let go as soon as nobody needs them."""

import asyncio
import gc
import sys
import weakref

import aioxide
import pytest


class Value:
    pass


def run(coroutine):
    with asyncio.Runner(loop_factory=aioxide.new_event_loop) as runner:
        return runner.run(coroutine)


@pytest.mark.parametrize("done", [True, False], ids=["done", "awaited"])
def test_a_result_lives_no_longer_than_the_step_that_took_it(done):
    async def main():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        if done:
            future.set_result(Value())
        else:
            loop.call_soon(lambda future: future.set_result(Value()), future)
        seen = weakref.ref(await future)
        del future
        await asyncio.sleep(0)
        gc.collect()
        return seen()

    assert run(main()) is None


@pytest.mark.parametrize("value", [None, 0, (), (1, 2), ValueError("value"), StopIteration(3)], ids=repr)
def test_results_that_look_like_something_else(value):
    async def main():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.call_soon(future.set_result, value)

        async def returns():
            return value

        return [await future, await future, await asyncio.create_task(returns())]

    assert all(result is value for result in run(main()))


def test_stop_iteration_is_a_fresh_one_for_whoever_looks():
    """The interpreter takes the exception apart at once, and one is used again and again; who catches it must not see
    that."""
    loop = aioxide.new_event_loop()
    kept = []
    try:
        for value in (Value(), Value(), "text", (1,)):
            future = loop.create_future()
            future.set_result(value)
            with pytest.raises(StopIteration) as caught:
                next(iter(future))
            assert type(caught.value) is StopIteration
            assert caught.value.value is value
            assert caught.value.args == (value,)
            assert caught.value.__context__ is None
            kept.append(caught.value)
        assert len({id(stop) for stop in kept}) == len(kept)
        assert [stop.value for stop in kept][2:] == ["text", (1,)]
    finally:
        loop.close()


def test_a_caught_stop_iteration_keeps_no_frame():
    loop = aioxide.new_event_loop()

    def catch():
        local = Value()
        future = loop.create_future()
        future.set_result(7)
        try:
            next(iter(future))
        except StopIteration:
            pass
        return weakref.ref(local)

    try:
        seen = [catch() for _ in range(3)]
        gc.collect()
        if sys.version_info >= (3, 12):
            # The last one may wait for its next use with a traceback; none before it does.
            seen = seen[:-1]
        assert [reference() for reference in seen] == [None] * len(seen)
    finally:
        loop.close()


def test_a_finalised_object_is_finalised_again_in_its_next_life():
    """The collector marks an object whose finaliser has run; the mark must not go on with the memory."""
    loop = aioxide.new_event_loop()
    heard = []
    loop.set_exception_handler(lambda loop, context: heard.append(context["message"]))
    try:
        for _ in range(50):
            future = loop.create_future()
            future.ring = future
            future.set_exception(ValueError())
            del future
            gc.collect()
    finally:
        loop.close()
    assert heard == ["Future exception was never retrieved"] * 50
