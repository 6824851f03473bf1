"""A tour of asyncio, running on aioxide: `python -m aioxide examples/guide.py`.

The code below is plain asyncio. Nothing in it names aioxide but the part on policies, and the timing at the
end, which puts aioxide's loop beside the standard library's. Started as plain `python examples/guide.py`, the
tour is the same tour on the standard loop.
"""

import asyncio
import concurrent.futures
import os
import selectors
import socket
import statistics
import sys
import threading
import time
import warnings

import aioxide

NAP = 0.1  # seconds; what a slow thing takes in this tour


def stopwatch():
    """A function that says how many naps went by since; whole ones, so that the tour prints the same every
    time.
    """
    start = time.perf_counter()
    return lambda: round((time.perf_counter() - start) / NAP)


# --- the event loop ---


async def greet(name):
    print(f"  hello, {name}")
    return len(name)


def the_event_loop():
    """Calling a coroutine function runs nothing; an event loop does"""
    coroutine = greet("loop")
    print(f"  so far there is only a {type(coroutine).__name__} object")
    print("  asyncio.run() returned", asyncio.run(coroutine))


async def callbacks():
    """Under the coroutines, a loop calls functions: soon, or later, in order"""
    loop = asyncio.get_running_loop()
    print(f"  this loop's class is {type(loop).__module__.partition('.')[0]}.{type(loop).__name__}")
    finished = loop.create_future()
    loop.call_later(2 * NAP, finished.set_result, None)
    loop.call_later(NAP, print, "  third: after a nap")
    loop.call_soon(print, "  first: called soon")
    loop.call_soon(print, "  second: called soon, too")
    loop.call_later(NAP, print, "  never: this one is cancelled").cancel()
    await finished


# --- waiting ---


async def brew(drink, naps=1):
    await asyncio.sleep(naps * NAP)
    return f"a cup of {drink}"


async def awaiting():
    """`await` lets the loop do other things until the value is there, but this coroutine goes step by step"""
    elapsed = stopwatch()
    tea = await brew("tea")
    coffee = await brew("coffee")
    print(f"  {tea} and then {coffee}: {elapsed()} naps")


async def tasks():
    """A task starts running by itself, so several of them wait at the same time"""
    elapsed = stopwatch()
    orders = [asyncio.create_task(brew(drink), name=drink) for drink in ("tea", "coffee", "cocoa")]
    print("  ordered:", ", ".join(order.get_name() for order in orders))
    for order in orders:
        print("  served:", await order)
    print(f"  three drinks: {elapsed()} nap")

    async with asyncio.TaskGroup() as group:
        group.create_task(brew("tea"))
        group.create_task(brew("coffee"))
    print(f"  a task group waits for its tasks, and so does gather(): {await asyncio.gather(brew('milk'))}")


async def waiting_with_a_limit():
    """`wait` gives up after a time, and says which tasks are done and which are pending"""
    orders = {
        asyncio.create_task(brew("espresso", 1), name="quick"),
        asyncio.create_task(brew("tea", 50), name="slow"),
    }
    done, pending = await asyncio.wait(orders, timeout=2 * NAP)
    print("  done:", [task.get_name() for task in done], "pending:", [task.get_name() for task in pending])
    for task in pending:
        task.cancel()
    await asyncio.wait(pending)
    print("  and now:", ["cancelled" if task.cancelled() else "?" for task in pending])
    try:
        async with asyncio.timeout(NAP):
            await brew("tea", 50)
    except TimeoutError:
        print("  a timeout() block cancels what is inside, and raises TimeoutError")


async def futures():
    """A future is a value that somebody will set; a task is a future that a coroutine sets by returning"""
    loop = asyncio.get_running_loop()
    bell = loop.create_future()
    loop.call_later(NAP, bell.set_result, "ding")
    print("  the future", "is done" if bell.done() else "is pending", "and then its value is", await bell)
    task = asyncio.create_task(brew("tea"))
    print("  is a task a future?", isinstance(task, asyncio.Future))
    await task


# --- threads and processes ---


def blocking_square(number):
    time.sleep(NAP)
    return number * number


def which_process(parent):
    return "the parent itself" if os.getpid() == parent else "another process"


async def threads_and_processes():
    """Blocking work goes to a pool; its concurrent.futures.Future becomes one that can be awaited"""
    loop = asyncio.get_running_loop()
    elapsed = stopwatch()
    with concurrent.futures.ThreadPoolExecutor(max_workers=4) as pool:
        plain = [pool.submit(blocking_square, number) for number in range(4)]
        print("  submit() gives a", type(plain[0]).__module__.partition("._")[0], "future;", end=" ")
        print("awaited:", await asyncio.gather(*map(asyncio.wrap_future, plain)))
        print("  in a pool of our own:", await loop.run_in_executor(pool, blocking_square, 5))
    print("  in the loop's own pool:", await loop.run_in_executor(None, blocking_square, 6))
    print("  to_thread() says the same shorter:", await asyncio.to_thread(blocking_square, 7))
    print(f"  seven squares that take a nap each: {elapsed()} naps")
    with concurrent.futures.ProcessPoolExecutor(max_workers=1) as pool:
        print("  and a process pool runs in", await loop.run_in_executor(pool, which_process, os.getpid()))

    ready = asyncio.Event()
    threading.Timer(NAP, loop.call_soon_threadsafe, [ready.set]).start()
    await ready.wait()
    print("  a thread reaches back into the loop with call_soon_threadsafe()")


# --- protocols of the language ---


class Countdown:
    """Asynchronous iteration is two methods: __aiter__, and an awaitable __anext__."""

    def __init__(self, start):
        self.number = start

    def __aiter__(self):
        return self

    async def __anext__(self):
        if self.number == 0:
            raise StopAsyncIteration
        await asyncio.sleep(NAP / 10)
        self.number -= 1
        return self.number + 1


async def letters(word):
    for letter in word:
        await asyncio.sleep(0)
        yield letter


async def asynchronous_iteration():
    """`async for` awaits each element"""
    print("  an iterator:", [number async for number in Countdown(5)])
    print("  a generator:", "-".join([letter async for letter in letters("aioxide")]))


class Connection:
    """An asynchronous context manager is two methods, too: awaitable __aenter__ and __aexit__."""

    async def __aenter__(self):
        await asyncio.sleep(NAP / 10)
        print("  opened")
        return self

    async def __aexit__(self, kind, error, traceback):
        await asyncio.sleep(NAP / 10)
        print("  closed", f"after {kind.__name__}" if kind else "in peace")
        return kind is LookupError

    async def ask(self, question):
        if not question:
            raise LookupError
        return question.upper()


async def asynchronous_context_managers():
    """`async with` awaits on the way in, and on every way out"""
    async with Connection() as connection:
        print("  asked, and told:", await connection.ask("anything"))
    async with Connection() as connection:
        await connection.ask("")


async def echo(reader, writer):
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


async def streams():
    """All of this is for the network: a server and a client, both in this loop"""
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"over TCP and back\n")
        writer.write_eof()
        print(" ", (await reader.read()).decode().rstrip())
        writer.close()
        await writer.wait_closed()


# --- policies ---


def policies():
    """The old way to choose a loop for the whole process: a policy"""
    if sys.version_info >= (3, 14):
        print("  (CPython has deprecated it from 3.14 on, and warns)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_event_loop_policy(aioxide.EventLoopPolicy())
        try:
            asyncio.run(say_which_loop())
        finally:
            asyncio.set_event_loop_policy(None)


async def say_which_loop():
    print("  asyncio.run() made a loop of", type(asyncio.get_running_loop()).__module__.partition(".")[0])


# --- side by side with the standard loop ---


def call_soon_chain(loop, count=20_000):
    def step(left):
        if left:
            loop.call_soon(step, left - 1)
        else:
            loop.stop()

    loop.call_soon(step, count)
    loop.run_forever()


def timers(loop, count=10_000):
    for _ in range(count):
        loop.call_later(60, print).cancel()
    loop.call_soon(loop.stop)
    loop.run_forever()


def switches(loop, count=5_000):
    async def turn():
        for _ in range(count):
            await asyncio.sleep(0)

    loop.run_until_complete(turn())


def create_and_await(loop, count=5_000):
    async def nothing():
        pass

    async def main():
        for _ in range(count):
            await loop.create_task(nothing())

    loop.run_until_complete(main())


def gather_many(loop, count=2_000):
    async def one():
        await asyncio.sleep(0)

    async def main():
        await asyncio.gather(*[one() for _ in range(count)])

    loop.run_until_complete(main())


class Echo(asyncio.Protocol):
    def __init__(self, lost):
        self.lost = lost

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)

    def connection_lost(self, error):
        self.lost.set_result(None)


class PingPong(Echo):
    def __init__(self, lost, rounds):
        super().__init__(lost)
        self.rounds = rounds

    def data_received(self, data):
        self.rounds -= 1
        if self.rounds:
            self.transport.write(data)
        else:
            self.transport.close()


def echo_protocol(loop, count=1_500):
    async def main():
        ends = loop.create_future(), loop.create_future()
        server = await loop.create_server(lambda: Echo(ends[0]), "127.0.0.1", 0, family=socket.AF_INET)
        address = server.sockets[0].getsockname()
        transport, _ = await loop.create_connection(lambda: PingPong(ends[1], count), *address)
        transport.write(b"x" * 1024)
        for end in ends:
            await end
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


CASES = {
    "callbacks, each calling the next": call_soon_chain,
    "timers, set and cancelled": timers,
    "switches between tasks": switches,
    "tasks, created and awaited": create_and_await,
    "tasks, gathered at once": gather_many,
    "1 KiB echoes over TCP": echo_protocol,
}


def standard_loop():
    # With a selector: without one, SelectorEventLoop() is aioxide's own under `python -m aioxide`.
    return asyncio.SelectorEventLoop(selectors.DefaultSelector())


def seconds(case, factory):
    loop = factory()
    try:
        start = time.perf_counter()
        case(loop)
        return time.perf_counter() - start
    finally:
        loop.close()


def side_by_side(rounds=5):
    """How long the same code takes on the standard loop, and on aioxide's"""
    # Under `python -m aioxide` a loop that is not ours makes it warn. Here it is meant.
    warnings.filterwarnings("ignore", ".* not an aioxide.EventLoop", RuntimeWarning)
    print(f"  {'':<34}{'standard':>10}{'aioxide':>10}")
    for label, case in CASES.items():
        # In turns, so that whatever else this machine is doing meets both.
        factories = standard_loop, aioxide.new_event_loop
        pairs = [[seconds(case, factory) for factory in factories] for _ in range(rounds)]
        standard, ours = (statistics.median(times) for times in zip(*pairs, strict=True))
        milliseconds = f"{standard * 1000:>7.1f} ms{ours * 1000:>7.1f} ms"
        print(f"  {label:<34}{milliseconds}{standard / ours:>8.1f} times as fast")
    print(
        "  (medians of a few short runs; docs/project/benchmarks.md has careful ones, other loops among them)"
    )


SYNCHRONOUS = [the_event_loop, policies, side_by_side]
TOUR = [
    the_event_loop,
    callbacks,
    awaiting,
    tasks,
    waiting_with_a_limit,
    futures,
    threads_and_processes,
    asynchronous_iteration,
    asynchronous_context_managers,
    streams,
    policies,
    side_by_side,
]


def main():
    for number, part in enumerate(TOUR, start=1):
        print(f"{number}. {part.__doc__}.")
        if part in SYNCHRONOUS:
            part()
        else:
            asyncio.run(part())


# A process pool may import this file again in its workers.
if __name__ == "__main__":
    main()
