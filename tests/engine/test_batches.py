"""Callbacks that keep queueing callbacks leave descriptors their turn: asyncio's rule, that a turn runs what
was ready when it began, counted in callbacks, not in time.
"""

import os

import pytest

COUNT = 1_000_000


@pytest.mark.parametrize("told", [False, True], ids=["unseen", "by the loop"])
def test_a_million_callbacks_keep_a_descriptor_waiting_for_no_more_than_their_batch(loop, told):
    ran, seen = 0, []
    reading, writing = os.pipe()
    loop.add_reader(reading, lambda: (seen.append(ran), loop.stop()))

    def again():
        nonlocal ran
        ran += 1
        if ran == COUNT // 2:
            os.write(writing, b"!")
            if told:
                # Something of the loop's own that has it look at its descriptors.
                loop.add_writer(writing, loop.remove_writer, writing)
        if ran < 10 * COUNT:
            loop.call_soon(again)
        else:
            loop.stop()

    def queue():
        for _ in range(COUNT):
            loop.call_soon(again)

    loop.call_soon(queue)
    try:
        loop.run_forever()
    finally:
        loop.remove_reader(reading)
        os.close(reading)
        os.close(writing)
    # Written to in the first batch, looked at before the second, whose callbacks were there first.
    assert seen == [2 * COUNT]
