"""The ready queue grows, wraps around and shrinks (`task/ready.rs`), and nobody sees more of that than its memory."""

import asyncio
import gc
import itertools
import json
import random
import weakref

import pytest

from tests.support.scenarios import FACTORIES, HARD, child

MEMORY = """
import gc, json, sys
from tests.support.measures import measure
from tests.support.scenarios import FACTORIES

loop, crowd = FACTORIES["aioxide"](), int(sys.argv[1])

def held():
    now = measure()
    return now["bytes"] + now["mapped"]

def run():
    # What a deep queue has needed is given back when the loop has to wait: so it does, when all that is queued has run.
    loop.call_soon(loop.call_later, 0.05, loop.stop)
    loop.run_forever()

def gather(count):
    for number in range(count):
        loop.call_soon(int)
    return held()

for _ in range(2):  # fills caches and the freelist
    gather(2000)
    run()
seen = [held()]
for _ in range(3):
    waiting = gather(crowd)
    run()
    seen += [waiting, held()]
gather(crowd)
loop._clear_ready()
seen.append(held())
gather(crowd)
loop.close()
seen.append(held())
print(json.dumps(seen))
"""

MIB = 1 << 20
# What an empty queue keeps: 15 blocks of 512 entries, and the one in use.
KEPT = 16 * 512 * 40 + 64 * 1024


@pytest.mark.parametrize(
    ("crowd", "queue"), [(300_000, 11 * MIB), (70_000, 5 * MIB // 2), (16_000, MIB // 2)]
)
def test_the_memory_of_a_crowd_is_given_back(crowd, queue):
    """An entry is 40 bytes, and a handle that nobody keeps is gone: 300,000 calls need 11.4 MiB, while they wait."""
    done = child(MEMORY, crowd, env={"PYTHONMALLOC": "malloc"})
    assert done.returncode == 0, done.stderr
    before, *rest = json.loads(done.stdout)
    *runs, cleared, closed = rest
    for waiting, after in zip(runs[::2], runs[1::2], strict=True):
        # What else the process took meanwhile is allowed for.
        assert queue < waiting - before < 1.25 * queue + 128 * 1024, rest
        assert after - before < KEPT, rest
    assert cleared - before < KEPT, rest
    assert closed - before < KEPT, rest


class Program:
    """A random program: each callback schedules others, in bursts around the sizes at which the queue grows, in every
    way that puts an entry of its own kind into it, and cancels some; `expected` is the order in which they were."""

    KINDS = ("handle", "thread-safe handle", "future's callback", "task")
    BURSTS = (0, 0, 1, 1, 2, 3, 63, 64, 65, 127, 128, 129, 1000, 8191, 8192, 8193)

    def __init__(self, loop, seed, total):
        self.loop, self.random, self.total = loop, random.Random(seed), total
        self.numbers = itertools.count()
        self.expected, self.ran, self.cancelled, self.handles = [], [], set(), {}
        self.done = loop.create_future()
        self.done.set_result(None)

    def step(self, number):
        self.ran.append(number)
        self.handles.pop(number, None)
        self.schedule(self.random.choice(self.BURSTS))
        chance = self.random.random()
        if chance < 0.3:
            self.cancel()
        elif chance < 0.31:
            gc.collect(0)

    def schedule(self, burst):
        for _ in range(burst):
            if len(self.expected) >= self.total:
                return
            number = next(self.numbers)
            self.expected.append(number)
            self.put(self.random.choice(self.KINDS), number)

    def put(self, kind, number):
        if kind == "handle":
            self.handles[number] = self.loop.call_soon(self.step, number)
        elif kind == "thread-safe handle":
            self.handles[number] = self.loop.call_soon_threadsafe(self.step, number)
        elif kind == "future's callback":
            self.done.add_done_callback(lambda future: self.step(number))
        else:
            self.handles[number] = self.loop.create_task(self.coroutine(number))

    async def coroutine(self, number):
        self.step(number)

    def cancel(self):
        """Some that wait: a handle stays in the queue, and is passed over; so is a task that has not begun."""
        for number in self.random.sample(
            sorted(self.handles), min(len(self.handles), self.random.choice([1, 5, 200]))
        ):
            handle = self.handles.pop(number)
            if not (isinstance(handle, asyncio.Task) and handle.done()):
                handle.cancel()
                self.cancelled.add(number)

    def run(self):
        self.schedule(1)
        while len(self.ran) + len(self.cancelled) < len(self.expected) or len(self.expected) < self.total:
            if not self.loop._ready_count():
                self.schedule(self.random.choice(self.BURSTS))
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()


@pytest.mark.parametrize("seed", range(40 if HARD else 8))
def test_the_order_is_kept(seed):
    loop = FACTORIES["aioxide"]()
    program = Program(loop, seed, 40_000)
    program.run()
    assert program.ran == [number for number in program.expected if number not in program.cancelled]
    assert program.cancelled
    loop.close()


class Marker:
    pass


@pytest.mark.parametrize("turned", [0, 1, 40, 63])
@pytest.mark.parametrize("end", ["close", "drop", "clear"])
def test_what_waits_is_released(turned, end):
    """However the entries lie around the end of the ring; none is forgotten, none released twice."""
    loop = FACTORIES["aioxide"]()
    for _ in range(turned):
        loop.call_soon(loop.stop)
        loop.run_forever()
    markers = [Marker() for _ in range(100)]
    gone = [weakref.ref(marker) for marker in markers]
    done = loop.create_future()
    done.set_result(None)
    for marker in markers:
        if gone.index(weakref.ref(marker)) % 2:
            loop.call_soon(id, marker)
        else:
            done.add_done_callback(lambda future, marker=marker: None)
    del markers, marker, done
    gc.collect()
    assert all(ref() is not None for ref in gone)
    if end == "close":
        loop.close()
    elif end == "clear":
        loop._clear_ready()
    else:
        with pytest.warns(ResourceWarning, match="unclosed event loop"):
            del loop
            gc.collect()
    gc.collect()
    assert [ref() for ref in gone] == [None] * 100
    if end == "clear":
        loop.close()


@pytest.mark.parametrize("size", [63, 64, 65, 8192, 8193, 20_000])
def test_released_entries_may_schedule(size):
    """A finaliser of what a cleared queue held adds to the queue that is there then."""
    loop = FACTORIES["aioxide"]()
    ran = []

    class Schedules:
        def __init__(self, number):
            self.number = number

        def __del__(self):
            loop.call_soon(ran.append, self.number)

    for number in range(size):
        loop.call_soon(id, Schedules(number))
    loop._clear_ready()
    assert loop._ready_count() == size
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert ran == list(range(size))
    loop.close()


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
def test_an_exception_in_the_middle_leaves_the_rest(exception):
    """In the same order, and at whatever size the queue had."""
    loop = FACTORIES["aioxide"]()
    ran = []

    def leave():
        raise exception

    for number in range(20_000):
        loop.call_soon(ran.append, number)
        if number % 5_000 == 4_999:
            loop.call_soon(leave)
    for count in range(5_000, 20_001, 5_000):
        with pytest.raises(exception):
            loop.run_forever()
        assert ran == list(range(count))
        loop.call_soon(ran.append, None)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert ran == [*range(20_000), *[None] * 4]
    loop.close()
