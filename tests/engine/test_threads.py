"""Many threads and many signals at once: nothing is lost, nothing of one thread out of order."""

import asyncio
import os
import signal
import socket
import threading
import time

import pytest

from tests.support.scenarios import FACTORIES, HARD

THREADS = 8
EACH = 100_000 if HARD else 5_000


@pytest.fixture(params=FACTORIES)
def loop(request):
    loop = FACTORIES[request.param]()
    yield loop
    loop.close()


def start(target, *arguments):
    thread = threading.Thread(target=target, args=arguments)
    thread.start()
    return thread


class Storm:
    """Threads that each schedule numbered callbacks; `seen` has them by thread, in the order in which they
    ran.
    """

    def __init__(self, loop, threads=THREADS, each=EACH):
        self.loop, self.threads, self.each = loop, threads, each
        self.seen = [[] for _ in range(threads)]
        self.left = threads

    def blow(self, thread):
        for number in range(self.each):
            self.loop.call_soon_threadsafe(self.seen[thread].append, number)
        self.loop.call_soon_threadsafe(self.ended)

    def ended(self):
        self.left -= 1
        if self.left == 0:
            self.loop.stop()

    def run(self):
        threads = [start(self.blow, thread) for thread in range(self.threads)]
        self.loop.run_forever()
        for thread in threads:
            thread.join()
        self.check()

    def check(self):
        for thread, numbers in enumerate(self.seen):
            assert len(numbers) == self.each, f"thread {thread}"
            assert numbers == list(range(self.each)), f"thread {thread}"


def test_storm_of_threads(loop):
    Storm(loop).run()


def test_storm_while_the_loop_works(loop):
    """The loop is never idle: its own callbacks and timers compete with those of the threads."""
    storm = Storm(loop, each=EACH // 4)
    ticks = []

    def tick():
        ticks.append(loop.time())
        (loop.call_soon if len(ticks) % 3 else loop.call_later)(*([] if len(ticks) % 3 else [0]), tick)

    loop.call_soon(tick)
    storm.run()
    assert ticks
    assert ticks == sorted(ticks)


# When its wake-up pipe is full asyncio lets the interpreter complain of each signal that finds no room in it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_storm_of_threads_and_signals(loop):
    storm, signals, over = Storm(loop, each=EACH // 2), [], threading.Event()
    loop.add_signal_handler(signal.SIGUSR1, signals.append, 1)

    def send():
        while not over.is_set():
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(0)

    sender = start(send)
    storm.run()
    over.set()
    sender.join()
    # Signals of one kind merge while they are pending; the last one must still come through.
    signals.clear()
    os.kill(os.getpid(), signal.SIGUSR1)
    loop.run_until_complete(asyncio.sleep(0.01))
    assert signals


def test_wakeups_that_race_with_falling_asleep(loop):
    """One callback at a time, each sent when the loop is just about to wait: a lost wake-up would hang
    here.
    """
    rounds = 20_000 if HARD else 1_000
    answered, done = threading.Semaphore(0), []

    def ask():
        for _ in range(rounds):
            loop.call_soon_threadsafe(answered.release)
            answered.acquire()
        loop.call_soon_threadsafe(loop.stop)
        done.append(True)

    thread = start(ask)
    loop.run_forever()
    thread.join()
    assert done


def test_handles_cancelled_by_their_threads(loop):
    ran, cancelled = [], []

    def blow():
        for number in range(1000):
            handle = loop.call_soon_threadsafe(ran.append, number)
            if number % 2:
                handle.cancel()  # too late at times: then it has run
                cancelled.append(number)
        loop.call_soon_threadsafe(loop.stop)

    thread = start(blow)
    loop.run_forever()
    thread.join()
    assert set(range(0, 1000, 2)) <= set(ran)
    assert len(ran) == len(set(ran))
    assert ran == sorted(ran)


@pytest.mark.parametrize("how", ["stop", "close"])
def test_threads_that_race_with_the_end(how):
    """Until the loop is closed a call succeeds, from then on it raises; nothing else is possible."""
    for name, factory in FACTORIES.items():
        for _ in range(20 if HARD else 5):
            loop, outcomes = factory(), []

            def blow(loop=loop, outcomes=outcomes):
                try:
                    for _ in range(3_000):
                        loop.call_soon_threadsafe(int)
                    outcomes.append("all accepted")
                except RuntimeError as error:
                    outcomes.append(str(error))

            threads = [start(blow) for _ in range(4)]
            loop.call_later(0.002, loop.stop)
            loop.run_forever()
            if how == "close":
                loop.close()
            for thread in threads:
                thread.join()
            loop.close()
            assert set(outcomes) <= {"all accepted", "Event loop is closed"}, name
            assert len(outcomes) == 4


def test_futures_completed_from_threads(loop):
    async def main():
        def work(number):
            return number * 2

        results = await asyncio.gather(*(loop.run_in_executor(None, work, n) for n in range(500)))
        coroutines = [asyncio.to_thread(work, n) for n in range(100)]
        return results + await asyncio.gather(*coroutines)

    assert loop.run_until_complete(main()) == [n * 2 for n in range(500)] + [n * 2 for n in range(100)]
    loop.run_until_complete(loop.shutdown_default_executor())


def test_run_coroutine_threadsafe_from_many_threads(loop):
    async def double(number):
        await asyncio.sleep(0)
        return number * 2

    results = {}

    def ask(thread):
        futures = [asyncio.run_coroutine_threadsafe(double(n), loop) for n in range(200)]
        results[thread] = [future.result(10) for future in futures]
        if len(results) == THREADS:
            loop.call_soon_threadsafe(loop.stop)

    threads = [start(ask, thread) for thread in range(THREADS)]
    loop.run_forever()
    for thread in threads:
        thread.join()
    assert all(answers == [n * 2 for n in range(200)] for answers in results.values())


def test_a_loop_in_each_thread():
    def run(factory, answers):
        async def main():
            server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
            for _ in range(20):
                reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
                assert await reader.read() == b""
                writer.close()
                await asyncio.sleep(0)
            server.close()
            return asyncio.get_running_loop()

        loop = factory()
        answers.append(loop.run_until_complete(main()) is loop)
        loop.close()

    for factory in FACTORIES.values():
        answers = []
        threads = [start(run, factory, answers) for _ in range(6)]
        for thread in threads:
            thread.join()
        assert answers == [True] * 6


def test_a_loop_that_moves_between_threads(loop):
    """Made here, run there, then elsewhere, closed here: asyncio allows it as long as it is one at a time."""
    seen = []

    def run():
        async def main():
            await asyncio.sleep(0.001)
            seen.append(await asyncio.to_thread(threading.get_ident) != threading.get_ident())

        loop.run_until_complete(main())

    for _ in range(3):
        thread = start(run)
        thread.join()
    run()
    assert seen == [True] * 4
    loop.run_until_complete(loop.shutdown_default_executor())


def test_write_from_another_thread_while_the_loop_waits(loop):
    """Not promised by asyncio, but done: the bytes leave in the call there, and here while no turn is under way."""
    near, far = socket.socketpair()
    near.setblocking(False)
    far.settimeout(10)
    transport, _ = loop.run_until_complete(loop.create_connection(asyncio.Protocol, sock=near))
    received = []

    def write():
        time.sleep(0.1)
        transport.write(b"hello")
        received.append(far.recv(10))
        loop.call_soon_threadsafe(loop.stop)

    thread = start(write)
    loop.run_forever()
    thread.join()
    transport.abort()
    loop.run_until_complete(asyncio.sleep(0))
    far.close()
    assert received == [b"hello"]


def test_a_clock_that_lets_other_threads_schedule(loop):
    """A user's `time` may give way to another thread right before the loop falls asleep."""
    asked, gone = threading.Semaphore(0), threading.Event()
    plain, armed, ran = loop.time, [], []

    def clock():
        if armed and not gone.is_set():
            gone.set()
            asked.acquire(timeout=5)
        return plain()

    def ask():
        gone.wait(10)
        loop.call_soon_threadsafe(ran.append, True)
        loop.call_soon_threadsafe(loop.stop)
        asked.release()

    loop.time = clock
    timer = loop.call_later(20, loop.stop)
    loop.call_soon(lambda: loop.call_soon(armed.append, True))
    thread = start(ask)
    loop.run_forever()
    thread.join()
    timer.cancel()
    assert ran == [True]
