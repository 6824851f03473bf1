"""A thread that schedules without a pause lets a loop that is 1,024 entries behind have the GIL: `engine::yield_gil`.

With a switch interval of half a minute that is the only way in which the loop gets it before the thread ends.
"""

import subprocess
import sys
import threading

import pytest

from tests.support.forks import in_child, ours_is_usable
from tests.support.scenarios import FACTORIES, start_child

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

COUNT = 60_000


@pytest.fixture(autouse=True)
def no_other_switches():
    before = sys.getswitchinterval()
    sys.setswitchinterval(30)
    yield
    sys.setswitchinterval(before)


class Flood:
    """A thread that schedules `COUNT` numbered callbacks; `seen` has those that ran, `most` how many waited at once."""

    def __init__(self, loop, deeds=None):
        self.loop, self.deeds = loop, deeds or {}
        self.seen, self.accepted, self.most, self.refused = [], 0, 0, None
        self.thread = threading.Thread(target=self.schedule)

    def callback(self, number):
        self.seen.append(number)
        deed = self.deeds.get(number)
        if deed is not None:
            deed()

    def schedule(self):
        call, callback, count = self.loop.call_soon_threadsafe, self.callback, self.loop._ready_count
        try:
            for number in range(COUNT):
                call(callback, number)
                self.accepted = number + 1
                waiting = count()
                if waiting > self.most:
                    self.most = waiting
            call(self.loop.stop)
        except RuntimeError as error:
            self.refused = str(error)

    def run(self):
        self.loop.call_soon(self.thread.start)
        self.loop.run_forever()


def test_the_loop_gets_the_gil(loop):
    """It may go to somebody else each time; over twenty floods of sixty hand-overs each it does not."""
    for _ in range(20):
        flood = Flood(loop)
        flood.run()
        flood.thread.join()
        assert flood.seen == list(range(COUNT))
        if flood.most < COUNT // 2:
            return
    pytest.fail("the loop always had to wait for the thread's end")


def test_the_loops_own_thread_keeps_it(loop):
    """What fills its own queue is not held up."""
    seen = []

    def flood():
        for number in range(COUNT):
            loop.call_soon_threadsafe(seen.append, number)
        assert not seen
        loop.call_soon_threadsafe(loop.stop)

    loop.call_soon(flood)
    loop.run_forever()
    assert seen == list(range(COUNT))


@pytest.mark.parametrize("at", [0, 1023, 1024, 5000])
def test_stopped_meanwhile(loop, at):
    """What was scheduled by then, and what comes after, runs when the loop does again: nothing twice, all in order."""
    flood = Flood(loop, {at: loop.stop})
    flood.run()
    assert at in flood.seen
    sys.setswitchinterval(0.005)
    while flood.thread.is_alive() or loop._ready_count():
        loop.call_soon(loop.stop)
        loop.run_forever()
    assert flood.refused is None
    assert flood.seen == list(range(COUNT))


@pytest.mark.parametrize("at", [0, 1023, 1024, 5000])
def test_closed_meanwhile(at):
    """From then on the thread gets the error; it does not wait for a loop that is gone."""
    loop = FACTORIES["aioxide"]()
    flood = Flood(loop, {at: loop.stop})
    flood.run()
    loop.close()
    flood.thread.join(60)
    assert not flood.thread.is_alive()
    assert flood.refused == ("Event loop is closed" if flood.accepted < COUNT else None)
    assert at in flood.seen and flood.seen == list(range(len(flood.seen)))


def test_dropped_meanwhile():
    """Only the thread's bound method keeps the loop: its memory goes when the thread ends, not before."""
    flood = Flood(FACTORIES["aioxide"]())
    flood.deeds[1024] = flood.loop.stop
    flood.run()
    flood.loop.close()
    flood.loop = None
    flood.deeds.clear()
    flood.thread.join(60)
    assert not flood.thread.is_alive()
    assert flood.seen == list(range(len(flood.seen)))


@pytest.mark.parametrize("at", [0, 1024, 5000])
def test_forked_meanwhile(loop, at):
    """The thread is not there in the child, which has a loop of its own; in the parent all goes on."""
    statuses = []
    flood = Flood(loop, {at: lambda: statuses.append(in_child(lambda: ours_is_usable(type(loop))))})
    flood.run()
    flood.thread.join()
    assert statuses == [0]
    assert flood.seen == list(range(COUNT))


def test_many_threads(loop):
    """Each hands over to whoever comes: every callback runs, those of one thread in their order."""
    seen = [[] for _ in range(4)]
    sys.setswitchinterval(0.005)

    def schedule(numbers):
        for number in range(COUNT // 4):
            loop.call_soon_threadsafe(numbers.append, number)
        loop.call_soon_threadsafe(lambda: all(len(n) == COUNT // 4 for n in seen) and loop.stop())

    threads = [threading.Thread(target=schedule, args=(numbers,)) for numbers in seen]
    for thread in threads:
        loop.call_soon(thread.start)
    loop.run_forever()
    for thread in threads:
        thread.join()
    assert seen == [list(range(COUNT // 4))] * 4


def test_an_exception_that_leaves_the_loop_meanwhile(loop):
    class Leaves(KeyboardInterrupt):
        pass

    def leave():
        raise Leaves

    flood = Flood(loop, {1024: leave})
    with pytest.raises(Leaves):
        flood.run()
    sys.setswitchinterval(0.005)
    while flood.thread.is_alive() or loop._ready_count():
        loop.call_soon(loop.stop)
        loop.run_forever()
    assert flood.seen == list(range(COUNT))


DAEMONS = """
import asyncio, sys, threading, time
from tests.support.scenarios import FACTORIES

class Slow:
    def __del__(self, sleep=time.sleep):
        sleep(0.3)  # the interpreter is on its way out, and gives the GIL to whoever wants it

slow = Slow()
factory = FACTORIES[sys.argv[1]]
loop = factory()

def schedule():
    while True:
        loop.call_soon_threadsafe(int)

def tick():
    loop.call_later(0.0005, tick)

async def switch():
    while True:
        await asyncio.sleep(0.0002)

if sys.argv[2] == "loops":
    loop.call_soon(tick)
    targets = [loop.run_forever, *(lambda: factory().run_until_complete(switch()) for _ in range(3))]
else:
    targets = [loop.run_forever, schedule, schedule]
for target in targets:
    threading.Thread(target=target, daemon=True).start()
time.sleep(0.1)
print("end")
"""


@pytest.mark.parametrize("what", ["loops", "floods"])
def test_daemon_threads_do_not_crash_the_end_of_the_interpreter(what):
    """They are in a wait without the GIL, or in a hand-over, when the interpreter ends them (or, from 3.14, leaves
    them waiting)."""
    for _ in range(3):
        with start_child(DAEMONS, "aioxide", what) as process:
            try:
                output, errors = process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        assert (process.returncode, output, errors) == (0, "end\n", "")
