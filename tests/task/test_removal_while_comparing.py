"""`remove_done_callback` while a comparison does something to the callbacks: what is left is what asyncio leaves."""

import asyncio
import itertools

import aioxide
import pytest

DEEDS = (
    "remove first",
    "remove last",
    "remove itself",
    "remove next",
    "remove all",
    "add",
    "finish",
    "cancel",
)
TARGETS = ("nobody", "first", "last", "middle")


class Callback:
    """Compares by identity, and does its deed the first time that it is compared."""

    def __init__(self, name, deed=None):
        self.name, self.deed = name, deed

    def __eq__(self, other):
        if self.deed:
            deed, self.deed = self.deed, None
            deed()
        return self is other

    __hash__ = None


def history(new_loop, count, hooked, deed, target):
    loop = new_loop()
    future = loop.create_future()
    told, callbacks = [], []

    def do():
        at = {"remove first": 0, "remove last": count - 1, "remove itself": hooked, "remove next": hooked + 1}
        if deed in at:
            told.append(future.remove_done_callback(callbacks[at[deed] % count].call))
        elif deed == "remove all":
            told.extend(future.remove_done_callback(each.call) for each in callbacks)
        elif deed == "add":
            future.add_done_callback(lambda _: told.append("added"))
        elif deed == "finish":
            future.set_result(1)
        else:
            future.cancel()

    class Call:
        def __init__(self, callback):
            self.callback = callback

        def __eq__(self, other):
            return self.callback == getattr(other, "callback", None)

        __hash__ = None

        def __call__(self, _):
            told.append(self.callback.name)

    for number in range(count):
        callback = Callback(number, do if number == hooked else None)
        callback.call = Call(callback)
        callbacks.append(callback)
        future.add_done_callback(callback.call)
    wanted = {"first": 0, "last": count - 1, "middle": count // 2}
    told.append(future.remove_done_callback(callbacks[wanted[target]].call if target in wanted else print))
    # One more, to see where it goes.
    future.add_done_callback(lambda _: told.append("late"))
    future.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    return told


@pytest.mark.parametrize("deed", DEEDS)
def test_what_is_left_is_what_asyncio_leaves(deed):
    for count, target in itertools.product(range(1, 6), TARGETS):
        for hooked in range(count):
            case = count, hooked, deed, target
            assert history(aioxide.new_event_loop, *case) == history(asyncio.SelectorEventLoop, *case), case


def test_a_task_that_waits_is_woken_whatever_a_comparison_removes():
    async def main():
        future = asyncio.get_running_loop().create_future()

        def first(_):
            pass

        class Hostile:
            fired = False

            def __eq__(self, other):
                if not self.fired:
                    self.fired = True
                    assert future.remove_done_callback(first) == 1
                return False

            __hash__ = None

            def __call__(self, _):
                pass

        future.add_done_callback(first)
        future.add_done_callback(Hostile())
        waits = asyncio.ensure_future(asyncio.wait_for(future, 60))
        await asyncio.sleep(0)
        future.remove_done_callback(print)
        future.set_result(1)
        return await waits

    assert aioxide.run(main()) == 1
